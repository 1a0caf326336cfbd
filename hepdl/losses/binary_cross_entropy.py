"""Binary cross-entropy of logits, weighted.

Reference: C. M. Bishop, "Pattern Recognition and Machine Learning", Springer 2006, equation 4.90.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

__all__ = ["BinaryCrossEntropy"]


class BinaryCrossEntropy(nn.Module):
    """The weighted mean of ``-y log p - (1 - y) log(1 - p)``, with p the sigmoid of the logit.

    Normalised by the sum of the *absolute* weights: with negative weights a sum of weights can
    come close to zero in a small minibatch and would blow its step up, while sum |w| keeps every
    minibatch on one scale and leaves the direction of the expected gradient as it is.
    A minibatch whose weights are all zero has loss zero.
    """

    def forward(
        self,
        logits: Tensor,
        label: Tensor,
        nuisance: Tensor | None,
        event_weight: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a minibatch.

        Shapes:
            logits, label, event_weight, mask ``(n_events,)``; nuisance is not used.
        """
        if mask is not None:
            logits, label, event_weight = logits[mask], label[mask], event_weight[mask]
        losses = binary_cross_entropy_with_logits(
            logits, label.to(logits.dtype), weight=event_weight, reduction="sum"
        )
        return losses / event_weight.abs().sum().clamp_min(torch.finfo(logits.dtype).tiny)
