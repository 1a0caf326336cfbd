"""Distribution functions of the score in bins of a nuisance, at the score of every event."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Local", "local_distributions"]


@dataclass(frozen=True)
class Local:
    """Distribution functions at every score, in rising order of the scores.

    Attributes:
        order: Positions of the events in that order.
        local: In each bin; 0 in bins without weight.
        overall: Of all bins together.
        share: Of the weight of each bin in the whole.
        squares: Sum of the squared shares of each bin's events within the bin; 0 without weight.

    Shapes:
        order, overall ``(n_events,)``; local ``(n_events, n_bins)``; share, squares ``(n_bins,)``.
    """

    order: Tensor
    local: Tensor
    overall: Tensor
    share: Tensor
    squares: Tensor


@torch.no_grad()
def local_distributions(
    scores: Tensor, bins: Tensor, weight: Tensor, *, n_bins: int, half: bool = False
) -> Local:
    """Return the weighted distribution function of each bin, events at the score included.

    Args:
        scores: Of any scale.
        bins: Bin of each event.
        weight: Shares, not negative, with sum 1 (or all 0).
        n_bins: Number of bins.
        half: Count events of exactly that score half, and give all of them the same value; else
            those later in the order do not count.

    Shapes:
        scores, bins, weight ``(n_events,)``.
    """
    order = torch.argsort(scores.detach(), stable=True)
    # In double precision: running sums over many events.
    sorted_weight = weight.detach()[order].double()
    columns = torch.zeros(len(scores), n_bins, dtype=torch.float64, device=scores.device)
    columns[torch.arange(len(scores), device=scores.device), bins[order]] = sorted_weight
    reached = columns.cumsum(dim=0)
    if half and len(scores):
        values = scores.detach()[order]
        _, place, counts = torch.unique_consecutive(values, return_inverse=True, return_counts=True)
        last = counts.cumsum(0) - 1
        after = reached[last]
        before = torch.cat([torch.zeros_like(after[:1]), after[:-1]])
        reached = (0.5 * (before + after))[place]
    share = columns.sum(dim=0)
    tiny = torch.finfo(torch.float64).tiny
    return Local(
        order=order,
        local=reached / share.clamp_min(tiny),
        overall=reached.sum(dim=1) / share.sum().clamp_min(tiny),
        share=share,
        squares=columns.square().sum(dim=0) / share.square().clamp_min(tiny),
    )
