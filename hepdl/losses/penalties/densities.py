"""Densities of a nuisance given the score: what an adversary learns.

Reference: C. M. Bishop, "Mixture density networks", Aston University 1994; C. Durkan et al., arXiv:1906.04032 (splines).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from hepdl.layers.spline_flow import ConditionalSpline
from hepdl.losses.penalties.bins import quantile_edges

__all__ = ["DENSITIES", "Density"]

# Least width of a Gaussian, in standard deviations of the nuisance.
LEAST_WIDTH = 0.02
# Quantiles between which the rank of a nuisance is interpolated.
N_QUANTILES = 201


class Density(nn.Module):
    """The density of one nuisance, given what the adversary reads."""

    def fit_nuisance(self, nuisance: Tensor, event_weight: Tensor) -> None:
        """Learn the spectrum of the nuisance without the score.

        Shapes:
            Both ``(n_events,)``.
        """
        raise NotImplementedError

    def log_density(self, nuisance: Tensor, seen: Tensor) -> Tensor:
        """Return the logarithm of the density at each event.

        Shapes:
            nuisance ``(n_events,)``, seen ``(n_events, 1)`` → ``(n_events,)``.
        """
        raise NotImplementedError


class Mixture(Density):
    """A sum of Gaussians, in the unit of the nuisance.

    Args:
        hidden: Widths of the network's hidden layers.
        n_components: Number of Gaussians.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, *, hidden: Sequence[int], n_components: int = 5) -> None:
        super().__init__()
        self.n_components = n_components
        self.network = _dense(hidden, 3 * n_components)
        # Gaussians that are all alike would stay alike.
        with torch.no_grad():
            last = self.network[-1]
            assert isinstance(last, nn.Linear)
            last.bias[:n_components] = torch.linspace(-1.5, 1.5, n_components)
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def fit_nuisance(self, nuisance: Tensor, event_weight: Tensor) -> None:
        weight = event_weight.double().abs()
        weight = weight / weight.sum()
        mean = weight @ nuisance.double()
        self.centre = mean.to(nuisance)
        self.scale = (weight @ (nuisance.double() - mean).square()).sqrt().to(nuisance)

    def log_density(self, nuisance: Tensor, seen: Tensor) -> Tensor:
        z = (nuisance - self.centre) / self.scale
        mean, width, share = self.network(seen).chunk(3, dim=1)
        width = LEAST_WIDTH + softplus(width)
        logs = -0.5 * ((z[:, None] - mean) / width).square() - torch.log(width)
        logs = logs + torch.log_softmax(share, dim=1)
        constant = 0.5 * math.log(2 * math.pi) + torch.log(self.scale)
        return torch.logsumexp(logs, dim=1) - constant


class Flow(Density):
    """A monotone spline of the nuisance's rank; the density is relative to the spectrum without the score.

    Its mean logarithm is the mutual information that the adversary has found [nats].

    Args:
        hidden: Widths of the network's hidden layers.
        n_components: Knots of the spline.
    """

    quantiles: Tensor

    def __init__(self, *, hidden: Sequence[int], n_components: int = 10) -> None:
        super().__init__()
        self.spline = ConditionalSpline(1, n_knots=n_components, hidden=hidden)
        self.register_buffer("quantiles", torch.linspace(0, 1, N_QUANTILES))

    def fit_nuisance(self, nuisance: Tensor, event_weight: Tensor) -> None:
        inner = quantile_edges(nuisance, event_weight, n_bins=N_QUANTILES - 1).to(nuisance)
        inner = inner[torch.isfinite(inner)]
        ends = (nuisance.min()[None], inner, nuisance.max()[None])
        self.quantiles = torch.unique(torch.cat(ends))

    def log_density(self, nuisance: Tensor, seen: Tensor) -> Tensor:
        found: Tensor = self.spline(self._rank(nuisance), seen)[1]
        return found

    def _rank(self, nuisance: Tensor) -> Tensor:
        """Return the share of the training spectrum below each value, linear between quantiles."""
        last = len(self.quantiles) - 1
        upper = torch.searchsorted(self.quantiles, nuisance.contiguous()).clamp(1, last)
        low, high = self.quantiles[upper - 1], self.quantiles[upper]
        return ((upper - 1 + (nuisance - low) / (high - low)) / last).clamp(0, 1)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
        # The number of quantiles that differ belongs to the data.
        self.quantiles = torch.empty_like(state[f"{prefix}quantiles"], device=self.quantiles.device)
        super()._load_from_state_dict(state, prefix, *rest)


class Bins(Density):
    """Probabilities of bins of equal weight; the logarithm is that of the probability.

    Args:
        hidden: Widths of the network's hidden layers.
        n_components: Number of bins.
    """

    edges: Tensor

    def __init__(self, *, hidden: Sequence[int], n_components: int = 16) -> None:
        super().__init__()
        self.network = _dense(hidden, n_components)
        self.register_buffer("edges", torch.zeros(n_components - 1))

    def fit_nuisance(self, nuisance: Tensor, event_weight: Tensor) -> None:
        n_bins = len(self.edges) + 1
        self.edges = quantile_edges(nuisance, event_weight, n_bins=n_bins).to(nuisance)

    def log_density(self, nuisance: Tensor, seen: Tensor) -> Tensor:
        bins = torch.searchsorted(self.edges, nuisance.contiguous())
        logs = torch.log_softmax(self.network(seen), dim=1)
        return logs.gather(1, bins[:, None])[:, 0]


DENSITIES: dict[str, type[Density]] = {"bins": Bins, "flow": Flow, "mixture": Mixture}


def _dense(hidden: Sequence[int], n_out: int) -> nn.Sequential:
    widths = (1, *hidden)
    layers: list[nn.Module] = []
    for n_in, n_next in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_next), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], n_out))
