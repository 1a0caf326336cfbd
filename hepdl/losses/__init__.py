"""What training minimises, one file each.

Every loss is a ``torch.nn.Module`` with
``forward(logits, label, nuisance, event_weight, mask) -> Tensor ()``:

* ``logits``, ``label``, ``event_weight``: ``(n_events,)``; ``nuisance``: ``(n_events, n_nuisances)``
  or None; ``mask``: ``(n_events,)`` bool, True where the event takes part in the penalty.
* the result is a weighted mean: it does not change when all weights are scaled by one factor.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

__all__ = ["Loss"]


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
