"""Tools that look into a network: how values and gradients flow, and which learning rate it takes.

`measure` looks at one forward and backward pass and changes nothing; `judge` says in words what is
wrong, if anything; `find_learning_rate` tries learning rates on a copy.
"""

from __future__ import annotations

from hepdl.diagnose.flow import Flow, InputColumn, LayerFlow, with_updates
from hepdl.diagnose.learning_rate import RateScan, find_learning_rate
from hepdl.diagnose.measuring import measure
from hepdl.diagnose.verdict import Finding, judge, summarise

__all__ = [
    "Finding",
    "Flow",
    "InputColumn",
    "LayerFlow",
    "RateScan",
    "find_learning_rate",
    "judge",
    "measure",
    "summarise",
    "with_updates",
]
