"""Bins of a nuisance with equal weight in each; one bin a value where there are only a few."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bin_numbers", "quantile_edges"]


def quantile_edges(values: Tensor, event_weight: Tensor, *, n_bins: int) -> Tensor:
    """Return the inner edges of bins that hold equal sums of |w|.

    A nuisance with at most ``n_bins`` different values (a switch, a variation, a category) has one
    bin for each of them, with edges halfway; edges that are not needed are infinite, and the bins
    above them stay empty.

    Args:
        values: Finite numbers.
        event_weight: Of either sign, at least one not zero.
        n_bins: Number of bins.

    Shapes:
        values, event_weight ``(n_events,)`` → ``(n_bins - 1,)`` on the CPU.

    >>> quantile_edges(torch.arange(8.0), torch.ones(8), n_bins=4).tolist()
    [1.0, 3.0, 5.0]
    >>> quantile_edges(torch.tensor([0.0, 1.0, 0.0]), torch.ones(3), n_bins=3).tolist()
    [0.5, inf]
    """
    values = values.detach().cpu()
    different = torch.unique(values)
    if len(different) <= n_bins:
        edges = torch.full((n_bins - 1,), torch.inf, dtype=values.dtype)
        edges[: len(different) - 1] = (different[:-1] + different[1:]) / 2
        return edges
    order = torch.argsort(values, stable=True)
    # In double precision: a float32 sum over millions of weights loses the last quantiles.
    total = torch.cumsum(event_weight.detach().cpu().double().abs()[order], 0)
    wanted = torch.arange(1, n_bins, dtype=torch.float64) / n_bins
    position = torch.searchsorted(total, wanted * total[-1]).clamp_max(len(values) - 1)
    found: Tensor = values[order[position]]
    return found


def bin_numbers(nuisance: Tensor, edges: Tensor) -> Tensor:
    """Return the bin of each nuisance of each event.

    Shapes:
        nuisance ``(n_events, n_nuisances)``, edges ``(n_nuisances, n_bins - 1)`` →
        ``(n_nuisances, n_events)`` int64.
    """
    return torch.searchsorted(edges, nuisance.T.contiguous())
