"""Where a fit stands: everything it remembers apart from parameters and random numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["EpochSums", "Progress"]


@dataclass
class EpochSums:
    """Sums over the minibatches of the epoch in progress.

    Losses and penalties are weighted by the sum of |w| of their minibatch, so that their means
    are those over the events.
    """

    loss: float = 0.0
    penalty: float = 0.0
    gradient_norm: float = 0.0
    weight: float = 0.0
    minibatches: int = 0
    seconds: float = 0.0

    def add(self, *, loss: float, penalty: float, gradient_norm: float, weight: float) -> None:
        """Count one minibatch."""
        self.loss += loss * weight
        self.penalty += penalty * weight
        self.weight += weight
        self.gradient_norm += gradient_norm
        self.minibatches += 1

    def means(self) -> dict[str, float]:
        """Return the means over the epoch."""
        weight = self.weight or 1.0
        return {
            "train_loss": self.loss / weight,
            "train_penalty": self.penalty / weight,
            "gradient_norm": self.gradient_norm / max(self.minibatches, 1),
        }


@dataclass
class Progress:
    """Where a fit stands.

    Attributes:
        epoch: The epoch in progress, from 0.
        step: Steps done since the first epoch.
        sums: Of the epoch in progress; ``sums.minibatches`` is the position in it.
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
