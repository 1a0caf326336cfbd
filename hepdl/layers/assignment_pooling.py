"""From several candidate assignments of an event to one vector, or one number.

Each assignment k has an embedding ``h_k`` and a score ``s_k`` by which it was ranked. Its weight is

    a_k = softmax_k(v · h_k + c s_k)

over the assignments that there are. ``AssignmentPooling`` takes the mean ``Σ a_k h_k``;
``log_mean_exp`` takes the logits ``l_k`` of the assignments and gives ``log Σ a_k exp(l_k)``: if
``a_k`` is the probability that assignment k is the right one, and ``exp(l_k)`` the ratio of the
likelihoods of signal and background if it is, this is the logarithm of the ratio of the event.

An event without any assignment has an embedding of its own, which is learnt.

Reference:
    D. Bahdanau, K. Cho, Y. Bengio, "Neural machine translation by jointly learning to align and
    translate", arXiv:1409.0473 (attention as softmax of learnt logits); M. Ilse, J. Tomczak,
    M. Welling, "Attention-based deep multiple instance learning", arXiv:1802.04712.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["AssignmentLogits", "AssignmentPooling", "log_mean_exp", "masked_softmax"]


class AssignmentLogits(nn.Module):
    """The logit of each assignment: linear in its embedding, and a multiple of its score.

    Args:
        hidden: Size of the embeddings.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, 1, bias=False)
        self.score_factor = nn.Parameter(torch.ones(()))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew; the score counts as it is."""
        nn.init.xavier_uniform_(self.linear.weight, generator=generator)
        nn.init.ones_(self.score_factor)

    def forward(self, embeddings: Tensor, score: Tensor) -> Tensor:
        """Map ``(n_events, n_assignments, hidden)`` and ``(n_events, n_assignments)`` to logits."""
        logits: Tensor = self.linear(embeddings).squeeze(-1) + self.score_factor * score
        return logits


class AssignmentPooling(nn.Module):
    """Weights of the assignments of an event, and what stands in for none.

    Args:
        hidden: Size of the embeddings.
        has_weights: Whether assignments are weighed; otherwise only the default is used.
        learns_default: Whether the embedding of an event without assignments is learnt; else 0.

    Attributes:
        logits: Gives ``(n_events, n_assignments)`` once a pass, masked assignments included.
        default: The embedding of an event without assignments.
    """

    def __init__(
        self, hidden: int, *, has_weights: bool = True, learns_default: bool = True
    ) -> None:
        super().__init__()
        self.logits = AssignmentLogits(hidden) if has_weights else None
        self.default: Tensor
        if learns_default:
            self.default = nn.Parameter(torch.zeros(hidden))
        else:
            self.register_buffer("default", torch.zeros(hidden), persistent=False)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew; the default is of the size of a state."""
        if self.logits is not None:
            self.logits.reset_parameters(generator)
        if isinstance(self.default, nn.Parameter):
            # At 0 every rectifier after it would be off, and the default never learn.
            nn.init.normal_(self.default, generator=generator)

    def filled(self, embeddings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give events without an assignment one: the default, in the first place.

        Shapes:
            ``(n_events, n_assignments, hidden)``, mask ``(n_events, n_assignments)`` → the same.
        """
        first = torch.zeros_like(mask)
        first[:, :1] = ~mask.any(dim=1, keepdim=True)
        default = self.default.to(embeddings.dtype)
        return torch.where(first[..., None], default, embeddings), mask | first

    def weights(self, embeddings: Tensor, score: Tensor, mask: Tensor) -> Tensor:
        """Return the weight of each assignment; 0 for masked ones, 1 in sum.

        Shapes:
            as ``filled``, score ``(n_events, n_assignments)`` → ``(n_events, n_assignments)``.
        """
        assert self.logits is not None
        return masked_softmax(self.logits(embeddings, score), mask)

    def forward(self, embeddings: Tensor, score: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted mean of the embeddings, ``(n_events, hidden)``."""
        weights = self.weights(embeddings, score, mask).to(embeddings.dtype)
        return torch.einsum("nk,nkh->nh", weights, embeddings)


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the softmax over the assignments that there are, at least one of each event."""
    return logits.masked_fill(~mask, float("-inf")).softmax(dim=1)


def log_mean_exp(values: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    """Return ``log Σ a exp(values)`` with ``a`` the softmax of the logits.

    Args:
        values: What is averaged.
        logits: Of the weights.
        mask: True for the assignments that there are, at least one of each event.

    Shapes:
        each ``(n_events, n_assignments)`` → ``(n_events,)``.
    """
    left_out = ~mask
    logits = logits.masked_fill(left_out, float("-inf"))
    both = (logits + values).masked_fill(left_out, float("-inf"))
    return both.logsumexp(dim=1) - logits.logsumexp(dim=1)
