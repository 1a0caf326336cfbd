"""What training minimises, one file each.

Every loss is a ``torch.nn.Module`` with
``forward(logits, label, nuisance, event_weight, mask) -> Tensor ()``:

* ``logits``, ``label``, ``event_weight``: ``(n_events,)``; ``nuisance``: ``(n_events, n_nuisances)``
  or None; ``mask``: ``(n_events,)`` bool, True where the event takes part in the penalty.
* the result is a weighted mean: it does not change when all weights are scaled by one factor.

A `Penalty` is a loss against the dependence of the score on nuisances. It is added to the loss of
the classification; ``forward`` returns the term to be added, its strength included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from torch.nn import Parameter

__all__ = ["Loss", "Penalty"]


class Loss(Protocol):
    """The contract of every loss."""

    def __call__(
        self,
        logits: Tensor,
        label: Tensor,
        nuisance: Tensor | None,
        event_weight: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a minibatch, a scalar."""


@runtime_checkable
class Penalty(Loss, Protocol):
    """The contract of every decorrelation penalty; every one is also a ``torch.nn.Module``.

    A penalty with parameters of its own is an adversary: the loop trains these parameters to
    minimise the penalty with Adam at ``learning_rate``, ``inner_steps`` times for each step of the
    classifier. A penalty without parameters ignores both.

    Attributes:
        nuisances: Names of the nuisances it works on; empty means all that the events have.
        applies_to: Which events take part: ``"background"``, ``"signal"``, ``"all"``, or
            ``"each_class"``: the loop then gives each class a penalty of its own.
        strength: Factor of the penalty; the loop may put a scalar tensor in its place.
        warm_up: Epochs before the penalty sets in.
        learning_rate: Of the adversary's own optimiser.
        inner_steps: Updates of the adversary per step of the classifier, at least 1.
    """

    nuisances: tuple[str, ...]
    applies_to: str
    strength: float | Tensor
    warm_up: float
    learning_rate: float
    inner_steps: int

    def fit_nuisance(self, nuisance: Tensor, event_weight: Tensor) -> None:
        """Fix whatever depends on the nuisance's spectrum, from the training part only.

        Shapes:
            nuisance ``(n_events, n_nuisances)``, event_weight ``(n_events,)``: the events that
            take part.
        """

    def set_progress(self, epoch: float, n_epochs: int) -> None:
        """Set the strength for a position of the training, e.g. 2.5 = half of the third epoch."""

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Return the adversary's parameters, if it has any."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a checkpoint must hold."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take back what ``state_dict`` returned."""
