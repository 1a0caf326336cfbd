"""Decorrelation by flatness of the score's distribution in bins of the nuisance, made for boosted trees.

The penalty is the mean over the bins of the integral of ``|F_bin(s) - F(s)|^p dF(s)``: F is the distribution function of
the score, so that the penalty knows only the order of the scores. Cuts on a flat score keep the same share of the
background at every nuisance. Its gradient in the paper is that of moving one event alone, with F as it is:
``-p sign(F_bin - F) |F_bin - F|^(p - 1)`` times the event's share, at its own score: where too many events of a bin are below,
they are moved up. It is taken per unit of the centred and scaled score, so that the size of the scores
(margins of trees grow with each round) does not matter.

It has no parameters and looks at all events: boosted trees take it as the gradient of all training events in each round,
networks as that of their minibatch. Two binnings, shifted by half a bin, leave no edge for the score to hide at. Negative weights
count with their absolute value.

Reference: A. Rogozhnikov, A. Bukva, V. Gligorov, A. Ustyuzhanin and M. Williams, "New approaches for boosting to
uniformity", JINST 10 (2015) T03002, arXiv:1410.4140.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from hepdl.errors import DataError
from hepdl.losses.penalties.against import AgainstNuisances, standardised, taking_part
from hepdl.losses.penalties.bins import bin_numbers, quantile_edges
from hepdl.losses.penalties.distributions import local_distributions

__all__ = ["Flatness"]


class Flatness(AgainstNuisances):
    """Strength times the flatness integral, summed over the nuisances.

    Args:
        strength: Factor of the penalty.
        nuisances: Names of the nuisances; empty means all that the events have.
        applies_to: ``"background"``, ``"signal"``, ``"all"`` or ``"each_class"``.
        warm_up: Epochs (of boosted trees: rounds) before the penalty sets in.
        schedule: See `AgainstNuisances`.
        n_bins: Bins of each nuisance, of equal weight.
        power: The power p, above 1.
    """

    edges: Tensor
    shifted: Tensor

    def __init__(
        self,
        *,
        strength: float = 1.0,
        nuisances: Sequence[str] = (),
        applies_to: str = "background",
        warm_up: float = 0.0,
        schedule: str = "constant",
        n_bins: int = 10,
        power: float = 2.0,
    ) -> None:
        self.n_bins = n_bins
        self.power = float(power)
        super().__init__(
            strength=strength,
            nuisances=nuisances,
            applies_to=applies_to,
            warm_up=warm_up,
            schedule=schedule,
            problems=self._problems(),
        )
        n_nuisances = len(self.nuisances)
        self.register_buffer("edges", torch.zeros(n_nuisances, max(n_bins - 1, 0)))
        self.register_buffer("shifted", torch.zeros(n_nuisances, max(n_bins, 0)))

    def _problems(self) -> Iterator[str]:
        if self.n_bins < 2:
            yield f"n_bins must be at least 2, got {self.n_bins}"
        if not (math.isfinite(self.power) and self.power > 1):
            yield f"power must be a number above 1, got {self.power}"

    def options(self) -> dict[str, Any]:
        """Return every option by name."""
        return super().options() | {"n_bins": self.n_bins, "power": self.power}

    def fit_nuisance(self, nuisance: Tensor, event_weight: Tensor) -> None:
        """Set the edges of both binnings to quantiles of the training events, weighted by |w|.

        Shapes:
            nuisance ``(n_events, n_nuisances)``, event_weight ``(n_events,)``.

        Raises:
            DataError: There is no nuisance, no weight, or a value that is constant or not finite.
        """
        self.check_nuisance(nuisance, event_weight)
        edges, shifted = [], []
        for values in nuisance.T:
            edges.append(quantile_edges(values, event_weight, n_bins=self.n_bins))
            # Every second edge of twice as many bins: the first, the third, ...
            fine = quantile_edges(values, event_weight, n_bins=2 * self.n_bins)
            is_cut = len(torch.unique(values)) > 2 * self.n_bins
            shifted.append(fine[::2] if is_cut else fine[: self.n_bins])
        self.edges = torch.stack(edges).to(nuisance)
        self.shifted = torch.stack(shifted).to(nuisance)

    def forward(
        self,
        logits: Tensor,
        label: Tensor,
        nuisance: Tensor | None,
        event_weight: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return strength times the flatness integral, summed over the nuisances.

        Shapes:
            logits, event_weight, mask ``(n_events,)``; nuisance ``(n_events, n_nuisances)``;
            label is not used: the mask says who takes part.
        """
        if nuisance is None or not len(self.edges):
            message = "Flatness needs the nuisance, and fit_nuisance before the first step"
            raise DataError(message)
        logits, nuisance, weight = taking_part(logits, nuisance, event_weight, mask)
        seen = standardised(logits, weight)
        value, slope = torch.zeros_like(weight).sum(), torch.zeros_like(seen)
        for edges in (self.edges, self.shifted):
            for bins in bin_numbers(nuisance, edges):
                part, gradient = self._of_bins(seen, bins, weight, n_bins=edges.shape[1] + 1)
                value, slope = value + 0.5 * part, slope + 0.5 * gradient
        found: Tensor = _WithGradient.apply(seen, value, slope)  # type: ignore[no-untyped-call]
        return self.current_strength * found

    @torch.no_grad()
    def _of_bins(
        self, seen: Tensor, bins: Tensor, weight: Tensor, *, n_bins: int
    ) -> tuple[Tensor, Tensor]:
        """Return the integral over one binning, and its gradient at every event."""
        found = local_distributions(seen, bins, weight, n_bins=n_bins, half=True)
        apart = found.local - found.overall[:, None]
        sorted_weight = weight[found.order].double()
        value = sorted_weight @ (apart.abs().pow(self.power) @ found.share)
        own = apart.gather(1, bins[found.order][:, None])[:, 0]
        slope = -self.power * own.sign() * own.abs().pow(self.power - 1) * sorted_weight
        gradient = torch.zeros_like(slope)
        gradient[found.order] = slope
        return value.to(seen.dtype), gradient.to(seen.dtype)


class _WithGradient(torch.autograd.Function):
    """A value with a gradient that is not its derivative, but that of the paper."""

    @staticmethod
    def forward(ctx: Any, seen: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None, None
