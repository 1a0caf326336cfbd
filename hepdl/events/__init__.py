"""Events in memory: flat values with offsets, weights, jet trees, splits and scalings."""

from __future__ import annotations

from hepdl.events.assigned import AssignedEvents
from hepdl.events.containers import Events, Jagged, JetTrees, gather_rows
from hepdl.events.features import flat_features, select_features
from hepdl.events.inputs import AssignmentInputs, Inputs, ParticleInputs, TreeInputs

__all__ = [
    "AssignedEvents",
    "AssignmentInputs",
    "Events",
    "Inputs",
    "Jagged",
    "JetTrees",
    "ParticleInputs",
    "TreeInputs",
    "flat_features",
    "gather_rows",
    "select_features",
]
