"""Where a fit stands: everything it remembers apart from parameters and random numbers."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["EpochSums", "Progress"]


@dataclass
class EpochSums:
    """Sums over the minibatches of the epoch in progress.

    Losses and penalties are weighted by the sum of |w| of their minibatch, so that their means
    are those over the events.

    Attributes:
        losses: Sum of each loss times the weight, by the name under which it is observed.
        weight: Sum of |w|.
        gradient_norm: Sum of the norms that were taken, of ``norms`` steps.
        norms: Their number.
        minibatches: Those that are done.
        seconds: Wall time of the steps [s].
    """

    losses: dict[str, float] = field(default_factory=dict)
    weight: float = 0.0
    gradient_norm: float = 0.0
    norms: int = 0
    minibatches: int = 0
    seconds: float = 0.0

    def add(self, losses: dict[str, float], weight: float) -> None:
        """Count one minibatch."""
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + value * weight
        self.weight += weight
        self.minibatches += 1

    def add_norm(self, norm: float) -> None:
        """Count the norm of one step's gradient, unless it has overflowed in half precision."""
        if math.isfinite(norm):
            self.gradient_norm += norm
            self.norms += 1

    def means(self) -> dict[str, float]:
        """Return the means over the epoch."""
        weight = self.weight or 1.0
        means = {name: value / weight for name, value in self.losses.items()}
        return means | {"gradient_norm": self.gradient_norm / max(self.norms, 1)}


@dataclass
class Progress:
    """Where a fit stands.

    Attributes:
        epoch: The epoch in progress, from 0.
        step: Steps done since the first epoch.
        sums: Of the epoch in progress; ``sums.minibatches`` is the position in it.
        early_losses: Of the first hundred steps.
        history: What was observed of each finished epoch.
        best_epoch: The epoch with the best validation AUC so far, -1 before the first.
        best_auc: Its validation AUC.
        training_seconds: Wall time of the training steps, all resumes together [s].
        fit_seconds: Wall time of everything, all resumes together [s].
        n_trained: Training events seen so far, each epoch anew.
        is_finished: Nothing is left to do.
        stopped_early: ``patience`` ended the fit.
    """

    epoch: int = 0
    step: int = 0
    sums: EpochSums = field(default_factory=EpochSums)
    early_losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best_auc: float = float("-inf")
    training_seconds: float = 0.0
    fit_seconds: float = 0.0
    n_trained: int = 0
    is_finished: bool = False
    stopped_early: bool = False

    def next_epoch(self, n_events: int) -> None:
        """Close the books of an epoch in which ``n_events`` were seen."""
        self.training_seconds += self.sums.seconds
        self.n_trained += n_events
        self.epoch += 1
        self.sums = EpochSums()

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and dicts."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        """Return what ``as_dict`` wrote."""
        return cls(**{**values, "sums": EpochSums(**values["sums"])})
