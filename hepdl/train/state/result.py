"""What a loop hands out: the result of a fit, and the view that a hook gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from hepdl.events import Events

__all__ = ["FitResult", "Hook", "Observe", "StepView"]


@dataclass(frozen=True)
class StepView:
    """What a hook may look at after a step; it must change nothing and draw no random numbers.

    Attributes:
        step: Steps done since the first epoch, this one included.
        epoch: The epoch in progress, from 0.
        model: The network after its step; the gradients are still those of the step.
        minibatch: The events of the step.
    """

    step: int
    epoch: int
    model: nn.Module
    minibatch: Events


Hook = Callable[[StepView], None]
Observe = Callable[[dict[str, float], int], None]


@dataclass(frozen=True)
class FitResult:
    """What came out of a fit; the model itself holds the fitted parameters.

    Attributes:
        best_epoch: The epoch (boosted trees: round) whose parameters the model now has, from 0.
        best_validation_auc: Weighted area under the ROC curve of the validation part there.
        history: What was observed, one entry per epoch (boosted trees: round).
        fit_seconds: Wall time of training and validation, over all resumes [s].
        events_per_second: Training events per second of training, validation apart.
        n_parameters: Trainable parameters of a network, nodes of boosted trees.
        stopped_early: Whether ``patience`` ended the fit.
    """

    best_epoch: int
    best_validation_auc: float
    history: list[dict[str, float]]
    fit_seconds: float
    events_per_second: float
    n_parameters: int
    stopped_early: bool
