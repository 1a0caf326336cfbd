"""The flow kind: a monotone spline whose knots a small network makes from the nuisances.

The rank of a score among all events goes through a rational-quadratic spline that rises at every value of
the nuisances; its derivative is the density, and what is maximised is the weighted likelihood of the
events. Ranks are stretched by the quantile function of a normal distribution first, and the result is
stretched back, so that the tails have knots of their own; before the fit the map is the rank itself.
Equal scores are spread over their step for the fit.

Adam with a rate that falls to zero along a cosine, and a network that is too small to learn single events:
parameters chosen on events aside would follow the noise of these. Nuisances are standardised, and outside of the fitted range they are those
of its edge. Weights of either sign enter the likelihood as they are.

Reference:
    S. Klein, T. Golling, "Decorrelation with conditional normalizing flows", arXiv:2211.02486;
    C. Durkan et al., "Neural spline flows", NeurIPS 2019, arXiv:1906.04032.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from hepdl.errors import DataError
from hepdl.layers.spline_flow import ConditionalSpline
from hepdl.posthoc.conditional.ranks import Ranks, spread_ties
from hepdl.posthoc.conditional.standard import Standard
from hepdl.posthoc.inputs.nuisances import BackgroundEvents
from hepdl.posthoc.inputs.options import check_share, check_whole

__all__ = ["Flow", "FlowOptions"]

Floats = npt.NDArray[np.float64]

# Ranks are stretched from -WIDEST to WIDEST: 1e-9 from 0 and 1, where no sample has events.
WIDEST = 6.0
CHUNK = 50_000


@dataclass(frozen=True)
class FlowOptions:
    """Of the spline, of its network and of the fit.

    Attributes:
        n_knots: Bins of the spline.
        hidden: Widths of the hidden layers of the network.
        n_steps: Of the fit.
        minibatch_size: Events of a step.
        learning_rate: Of the first step.
    """

    n_knots: int = 12
    hidden: Sequence[int] = (32, 32)
    n_steps: int = 1000
    minibatch_size: int = 1024
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, list | tuple):
            message = f"hidden is {self.hidden!r}; give a list of widths, e.g. [32, 32]"
            raise DataError(message)
        for number, width in enumerate(self.hidden):
            check_whole(f"hidden[{number}]", width, least=1)
        for name in ("n_knots", "n_steps", "minibatch_size"):
            check_whole(name, getattr(self, name), least=1)
        check_share("learning_rate", self.learning_rate)


@dataclass(frozen=True)
class Flow:
    """The fitted spline.

    Attributes:
        ranks: Of all events.
        standard: Where the nuisances lie.
        spline: Of stretched ranks, given standardised nuisances.
    """

    ranks: Ranks
    standard: Standard
    spline: ConditionalSpline

    @classmethod
    def fit(cls, events: BackgroundEvents, options: FlowOptions, *, seed: int) -> Flow:
        """Return the likeliest spline.

        Args:
            events: Those to be made flat.
            options: Of spline and fit.
            seed: Of the first parameters, the order of the events, and the places of equal scores.
        """
        size = np.abs(events.event_weight)
        standard = Standard.of(events)
        ranks = Ranks.of(events.scores, events.event_weight)
        random = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            spline = ConditionalSpline(
                events.nuisance.shape[1], n_knots=options.n_knots, hidden=options.hidden
            ).double()
        stretched = _stretched(spread_ties(ranks.at(events.scores), size, random))
        u, x = torch.from_numpy(stretched), torch.from_numpy(standard.apply(events.nuisance))
        w = torch.from_numpy(events.event_weight / size.mean())
        _maximise(spline, u, x, w, options=options, random=random)
        return cls(ranks, standard, spline)

    def cdf(self, scores: Floats, nuisance: Floats) -> Floats:
        """Return the distribution function of each score at its nuisances.

        Shapes:
            scores ``(n_events,)``, nuisance ``(n_events, n_nuisances)`` → ``(n_events,)``.
        """
        u = torch.from_numpy(_stretched(self.ranks.at(scores)))
        x = torch.from_numpy(self.standard.apply(nuisance))
        found = [np.zeros(0)]
        with torch.no_grad():
            for start in range(0, len(u), CHUNK):
                value, _ = self.spline(u[start : start + CHUNK], x[start : start + CHUNK])
                found.append(ndtr(WIDEST * (2.0 * value.numpy() - 1.0)))
        return np.concatenate(found)

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""
        widths = [layer.out_features for layer in self.spline.network if hasattr(layer, "weight")]
        return {
            "ranks": self.ranks.as_dict(),
            "standard": self.standard.as_dict(),
            "n_knots": self.spline.n_knots,
            "hidden": widths[:-1],
            "parameters": {k: v.tolist() for k, v in self.spline.state_dict().items()},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Flow:
        """Return the map that ``as_dict`` wrote down."""
        standard = Standard.from_dict(content["standard"])
        spline = ConditionalSpline(
            len(standard.mean), n_knots=content["n_knots"], hidden=content["hidden"]
        ).double()
        kept = {k: torch.tensor(v, dtype=torch.float64) for k, v in content["parameters"].items()}
        spline.load_state_dict(kept)
        return cls(Ranks.from_dict(content["ranks"]), standard, spline)


def _maximise(
    spline: ConditionalSpline,
    u: Tensor,
    x: Tensor,
    w: Tensor,
    *,
    options: FlowOptions,
    random: np.random.Generator,
) -> None:
    """Fit the spline in place.

    Shapes:
        u, w ``(n_events,)``, x ``(n_events, n_nuisances)``.
    """
    optimizer = torch.optim.Adam(spline.parameters(), lr=options.learning_rate)
    size = min(options.minibatch_size, len(u))
    per_epoch = len(u) // size
    order = torch.empty(0, dtype=torch.int64)
    for step in range(options.n_steps):
        if step % per_epoch == 0:
            order = torch.from_numpy(random.permutation(len(u)))
        for group in optimizer.param_groups:
            group["lr"] = (
                options.learning_rate * (1 + math.cos(math.pi * step / options.n_steps)) / 2
            )
        start = step % per_epoch * size
        here = order[start : start + size]
        optimizer.zero_grad(set_to_none=True)
        _negative_log_likelihood(spline, u[here], x[here], w[here]).backward()
        optimizer.step()


def _negative_log_likelihood(spline: ConditionalSpline, u: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """Return minus the mean log density of the ranks; that of ranks that depend on nothing is 0."""
    value, log_slope = spline(u, x)
    # Density of a rank t: y'(u) phi(y) / phi(u), of the stretched places y and u.
    stretch = WIDEST**2 / 2 * ((2 * u - 1) ** 2 - (2 * value - 1) ** 2)
    total = torch.sum(w * (log_slope + stretch))
    return -total / w.abs().sum().clamp_min(torch.finfo(w.dtype).tiny)


def _stretched(ranks: Floats) -> Floats:
    """Return ranks through the quantile function of a normal distribution, in [0, 1]."""
    found = np.clip((ndtri(ranks) / WIDEST + 1.0) / 2.0, 0.0, 1.0)
    return np.asarray(found, dtype=np.float64)
