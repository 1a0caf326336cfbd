"""Decorrelation by moment decomposition: the distribution of the score may follow the nuisance flat, linearly, ...

In bins of the nuisance that hold equal weight, the distribution function of the score is fitted, at every score, by a
Legendre series of the given order in the position of the bin; the penalty is the mean square of what the fit leaves,
integrated over the score. Order 0 asks for a score that does not depend on the nuisance, order 1 allows its
distribution to change linearly, order 2 quadratically: selected background then is at most a parabola and no peak.

Choices, and why:

* The score is the logit, centred and scaled within the minibatch. A penalty with a fixed bandwidth was beaten on the toy of
  "Learning to pivot" by squeezing all scores together; here squeezing changes nothing.
* Distribution functions of a minibatch are steps, so that the integral over the score is a finite sum, and its exact gradient that of
  the distances between neighbouring scores: there is no bandwidth.
* Every event has its own weight; negative ones count with their absolute value.
* A bin of k events has a distribution function that is known to 1/sqrt(k): the penalty of independent numbers is about
  0.5 / k on average (``estimator: v``). A strong penalty then rewards scores of whatever shape makes that
  small: on the toy a strength of 100 at minibatches of 1024 ended with an AUC of 0.43. ``estimator: u`` subtracts it, and
  ends at 0.77 with nearly no dependence; it can be slightly negative.

Reference: O. Kitouni, B. Nachman, C. Weisser and M. Williams, "Enhancing searches for resonances with machine
learning and moment decomposition", JHEP 04 (2021) 070, arXiv:2010.09745.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from hepdl.errors import DataError, unknown_name
from hepdl.losses.penalties.against import AgainstNuisances, standardised, taking_part
from hepdl.losses.penalties.bins import bin_numbers, quantile_edges
from hepdl.losses.penalties.distributions import Local, local_distributions

__all__ = ["MomentDecomposition"]

ORDERS = (0, 1, 2)
ESTIMATORS = ("u", "v")


class MomentDecomposition(AgainstNuisances):
    """Strength times the integral of the squared residuals, between 0 and 0.5 for each nuisance.

    Args:
        strength: Factor of the penalty.
        nuisances: Names of the nuisances; empty means all that the events have.
        applies_to: ``"background"``, ``"signal"``, ``"all"`` or ``"each_class"``.
        warm_up: Epochs before the penalty sets in; may be a fraction.
        schedule: See `AgainstNuisances`.
        order: 0 (flat), 1 (linear) or 2 (quadratic).
        n_bins: Bins of each nuisance; more than the order has terms.
        estimator: ``"u"``, or ``"v"`` with the bias of small bins.
    """

    edges: Tensor
    n_used: Tensor

    def __init__(
        self,
        *,
        strength: float = 1.0,
        nuisances: Sequence[str] = (),
        applies_to: str = "background",
        warm_up: float = 0.0,
        schedule: str = "constant",
        order: int = 0,
        n_bins: int = 16,
        estimator: str = "u",
    ) -> None:
        self.order = order
        self.n_bins = n_bins
        self.estimator = estimator
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
        self.register_buffer("n_used", torch.full((n_nuisances,), n_bins))

    def _problems(self) -> Iterator[str]:
        if self.order not in ORDERS:
            yield f"order must be one of {', '.join(map(str, ORDERS))}, got {self.order}"
        elif self.n_bins < self.order + 2:
            yield f"n_bins must be at least {self.order + 2} for order {self.order}, got {self.n_bins}"
        if self.estimator not in ESTIMATORS:
            where = "decorrelation.options.estimator"
            yield unknown_name("estimator", self.estimator, ESTIMATORS, where=where)

    def options(self) -> dict[str, Any]:
        """Return every option by name."""
        own = ("order", "n_bins", "estimator")
        return super().options() | {key: getattr(self, key) for key in own}

    def fit_nuisance(self, nuisance: Tensor, event_weight: Tensor) -> None:
        """Set the edges of the bins to quantiles of the training events, weighted by |w|.

        Shapes:
            nuisance ``(n_events, n_nuisances)``, event_weight ``(n_events,)``.

        Raises:
            DataError: There is no nuisance, no weight, a value that is constant or not finite, or
                a nuisance with too few values for the order.
        """
        self.check_nuisance(nuisance, event_weight)
        edges = [quantile_edges(z, event_weight, n_bins=self.n_bins) for z in nuisance.T]
        self.edges = torch.stack(edges).to(nuisance)
        self.n_used = torch.isfinite(self.edges).sum(dim=1) + 1
        for column, used in enumerate(self.n_used.tolist()):
            if used < self.order + 2:
                message = (
                    f"{self._what}: nuisance {self._named(column)} has {used} different values, "
                )
                message += (
                    f"and order {self.order} needs {self.order + 2} at least; use a lower order"
                )
                raise DataError(message)

    def forward(
        self,
        logits: Tensor,
        label: Tensor,
        nuisance: Tensor | None,
        event_weight: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return strength times the integral, summed over the nuisances.

        Shapes:
            logits, event_weight, mask ``(n_events,)``; nuisance ``(n_events, n_nuisances)``;
            label is not used: the mask says who takes part.
        """
        if nuisance is None or not len(self.edges):
            message = (
                "MomentDecomposition needs the nuisance, and fit_nuisance before the first step"
            )
            raise DataError(message)
        logits, nuisance, weight = taking_part(logits, nuisance, event_weight, mask)
        seen = standardised(logits, weight)
        total = seen.sum() * 0.0
        for bins, n_used in zip(bin_numbers(nuisance, self.edges), self.n_used, strict=True):
            found = local_distributions(seen, bins, weight, n_bins=self.n_bins)
            heights = self._residuals(found, n_used).to(seen.dtype)
            total = total + (seen[found.order].diff() * heights[:-1]).sum()
        return self.current_strength * total

    @torch.no_grad()
    def _residuals(self, found: Local, n_used: Tensor) -> Tensor:
        """Return the mean square residual between each score and the next, ``(n_events,)``."""
        share = found.share
        # Bins hold equal weight, so that their numbers are their positions.
        number = torch.arange(self.n_bins, device=share.device, dtype=share.dtype)
        position = (2 * number + 1) / n_used - 1
        terms = torch.stack(_legendre(position)[: self.order + 1], dim=1)
        weighted = terms * share[:, None]
        # A minibatch may have fewer bins than terms.
        ridge = 1e-9 * torch.eye(self.order + 1, device=share.device, dtype=share.dtype)
        hat = terms @ torch.linalg.solve(terms.T @ weighted + ridge, weighted.T)
        left = torch.eye(self.n_bins, device=share.device, dtype=share.dtype) - hat
        squares: Tensor = (found.local @ left.T).square() @ share
        if self.estimator == "v":
            return squares
        bias: Tensor = share @ left.square() @ found.squares
        unbiased: Tensor = squares - bias * found.overall * (1 - found.overall)
        return unbiased


def _legendre(x: Tensor) -> list[Tensor]:
    return [torch.ones_like(x), x, 0.5 * (3 * x * x - 1)]
