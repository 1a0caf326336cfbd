"""The loops, one file each.

Every loop is a function ``fit(model, train, validation, *, options, observe, …) -> FitResult``
that fits the model in place, writes its checkpoint into a `CheckpointFolder`, continues from it
with ``resume=True``, and hears a `StopRequest`. ``observe(name -> value, epoch)`` knows nothing of
who listens; a hook gets a `StepView`.
"""

from __future__ import annotations

from hepdl.train.state.checkpoint import CheckpointFolder
from hepdl.train.state.device import choose_device
from hepdl.train.state.options import TrainOptions
from hepdl.train.state.result import FitResult, Hook, Observe, StepView
from hepdl.train.state.scoring import predict_scores
from hepdl.train.state.signals import StopRequest

__all__ = [
    "CheckpointFolder",
    "FitResult",
    "Hook",
    "Observe",
    "StepView",
    "StopRequest",
    "TrainOptions",
    "choose_device",
    "predict_scores",
]
