"""Events in memory: flat values with offsets, weights, jet trees, splits and scalings."""

from __future__ import annotations

from hepdl.events.containers import Events, Jagged, JetTrees, gather_rows
from hepdl.events.inputs import Inputs, TreeInputs

__all__ = ["Events", "Inputs", "Jagged", "JetTrees", "TreeInputs", "gather_rows"]
