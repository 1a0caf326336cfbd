"""The quantile kind: quantiles of the score as smooth functions of the nuisances.

At each of a fixed set of levels, dense in the upper tail, a quantile regression (least pinball loss,
scikit-learn) on cubic splines in each nuisance. What is regressed is the logit of the rank among all
events: the quantiles of a rising function are that function of the quantiles, and the tails are as wide
as the middle. At an event its quantiles are sorted, so that a higher level is never below a lower one;
the distribution function is linear between them, and beyond the outermost ones its tails are those of
all events. Outside of the range of the fitted nuisances the quantiles stay as they are at its edge. Equal scores are
spread over their step for the fit, and read at its middle.

The splines of several nuisances are added up: there is no term of two of them together.

A linear program has no use for negative weights: here their absolute values count.

Reference:
    R. Koenker, G. Bassett, "Regression quantiles", Econometrica 46 (1978) 33; V. Chernozhukov,
    I. Fernandez-Val, A. Galichon, "Quantile and probability curves without crossing", Econometrica 78
    (2010) 1093, arXiv:0704.3649 (sorting).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline
from scipy.special import expit, logit
from sklearn.linear_model import QuantileRegressor

from hepdl.errors import DataError
from hepdl.evaluate.inputs.binning import weighted_quantiles
from hepdl.posthoc.conditional.ranks import Ranks, spread_ties
from hepdl.posthoc.inputs.nuisances import BackgroundEvents
from hepdl.posthoc.inputs.options import check_whole

__all__ = ["QuantileOptions", "Quantiles"]

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

DEGREE = 3
LEVELS = (0.02, 0.05, *np.linspace(0.1, 0.9, 9), 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998)
# A level with fewer events above it is not regressed: its quantile would be a single event's.
FEWEST_ABOVE = 10
CHUNK = 100_000


@dataclass(frozen=True)
class QuantileOptions:
    """How the quantiles may bend, and how many events are looked at.

    Attributes:
        n_knots: Of the spline of each nuisance, at its quantiles.
        n_events: At most so many events, drawn by the seed: the time grows faster than their number.
    """

    n_knots: int = 5
    n_events: int = 10_000

    def __post_init__(self) -> None:
        check_whole("n_knots", self.n_knots, least=2)
        check_whole("n_events", self.n_events, least=100)


@dataclass(frozen=True)
class Quantiles:
    """Quantiles of the logit of the rank.

    Attributes:
        ranks: Of all events.
        knots: Of the spline of each nuisance, rising; all of the fitted range lies between the first and
            the last one.
        levels: Rising.
        coefficients: A constant and one for each spline function, of each level.

    Shapes:
        levels ``(n_levels,)``; coefficients ``(n_levels, n_columns)``.
    """

    ranks: Ranks
    knots: tuple[Floats, ...]
    levels: Floats
    coefficients: Floats

    @classmethod
    def fit(cls, events: BackgroundEvents, options: QuantileOptions, *, seed: int) -> Quantiles:
        """Return the quantiles of some events.

        Args:
            events: Those to be made flat.
            options: Knots and number of events.
            seed: Draws events if there are too many.

        Raises:
            DataError: There are too few events.
        """
        ranks, random = Ranks.of(events.scores, events.event_weight), np.random.default_rng(seed)
        if (events.event_weight < 0.0).any():
            share = float((events.event_weight < 0.0).mean())
            log.warning("quantile regression: |w| of the %.1f %% negative weights", 100 * share)
        chosen = np.arange(len(events))
        if len(events) > options.n_events:
            chosen = random.choice(len(events), options.n_events, replace=False)
        size, nuisance = np.abs(events.event_weight[chosen]), events.nuisance[chosen]
        knots = tuple(_knots(column, size, options.n_knots) for column in nuisance.T)
        design = _splines(nuisance, knots)
        levels = np.array([p for p in LEVELS if min(p, 1 - p) * len(chosen) >= FEWEST_ABOVE])
        n_needed = 10 * design.shape[1]
        if len(chosen) < n_needed or len(levels) < 3:
            message = (
                f"{design.shape[1]} spline functions of {len(knots)} nuisances cannot be fitted to "
                f"{len(chosen)} background events, {max(n_needed, 100)} are needed: give fewer n_knots, or "
                "enlarge the validation part"
            )
            raise DataError(message)
        target = logit(spread_ties(ranks.at(events.scores), np.abs(events.event_weight), random))[
            chosen
        ]
        coefficients = []
        for level in levels:
            made = QuantileRegressor(quantile=level, alpha=0.0, solver="highs-ipm")
            made.fit(design, target, sample_weight=size / size.mean())
            coefficients.append([made.intercept_, *made.coef_])
        return cls(ranks, knots, levels, np.array(coefficients))

    def cdf(self, scores: Floats, nuisance: Floats) -> Floats:
        """Return the distribution function of each score at its nuisances.

        Shapes:
            scores ``(n_events,)``, nuisance ``(n_events, n_nuisances)`` → ``(n_events,)``.
        """
        ranks = self.ranks.at(scores)
        found = [
            self._cdf(ranks[start : start + CHUNK], nuisance[start : start + CHUNK])
            for start in range(0, len(ranks), CHUNK)
        ]
        return np.concatenate(found) if found else np.zeros(0)

    def _cdf(self, ranks: Floats, nuisance: Floats) -> Floats:
        design = _splines(nuisance, self.knots)
        quantiles = np.sort(self.coefficients[:, :1] + self.coefficients[:, 1:] @ design.T, axis=0)
        x = logit(ranks)
        n_below = (quantiles <= x).sum(axis=0)
        before = np.clip(n_below - 1, 0, len(self.levels) - 2)
        columns = np.arange(len(x))
        low, high = quantiles[before, columns], quantiles[before + 1, columns]
        width = np.where(high > low, high - low, 1.0)
        p, q = self.levels[before], self.levels[before + 1]
        inside = p + (q - p) * np.clip((x - low) / width, 0.0, 1.0)
        first, last = expit(quantiles[0]), expit(-quantiles[-1])
        below = self.levels[0] * ranks / first
        above = 1.0 - (1.0 - self.levels[-1]) * (1.0 - ranks) / last
        found = np.where(n_below == 0, below, np.where(n_below == len(self.levels), above, inside))
        return np.asarray(found, dtype=np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""
        return {
            "ranks": self.ranks.as_dict(),
            "knots": [knots.tolist() for knots in self.knots],
            "levels": self.levels.tolist(),
            "coefficients": self.coefficients.tolist(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Quantiles:
        """Return the map that ``as_dict`` wrote down."""
        return cls(
            Ranks.from_dict(content["ranks"]),
            tuple(np.array(knots) for knots in content["knots"]),
            np.array(content["levels"]),
            np.array(content["coefficients"]),
        )


def _knots(values: Floats, size: Floats, n_knots: int) -> Floats:
    """Return knots at quantiles, fewer if they coincide: a whole number may be that of many events."""
    shares = np.linspace(0.0, 1.0, n_knots)[1:-1]
    inner = weighted_quantiles(values, size, shares)
    ends = np.array([values.min(), values.max()])
    return np.unique(np.concatenate([ends, inner]))


def _splines(nuisance: Floats, knots: tuple[Floats, ...]) -> Floats:
    """Return the spline functions at each event, ``(n_events, n_columns)``.

    One of each nuisance is left out: all together are 1 everywhere, as the constant is.
    """
    blocks = []
    for column, places in zip(nuisance.T, knots, strict=True):
        first, last = np.repeat(places[0], DEGREE), np.repeat(places[-1], DEGREE)
        padded = np.concatenate([first, places, last])
        inside = np.clip(column, places[0], places[-1])
        blocks.append(BSpline.design_matrix(inside, padded, DEGREE).toarray()[:, 1:])
    return np.concatenate(blocks, axis=1)
