"""Where a score stands among weighted events: a distribution function that rises everywhere.

Equal scores share the middle of their step. Weights of either sign enter as they are; where their
sums make the function fall, it is replaced by the mean of two functions that do not: the highest
value so far and the lowest one to come. One more event, spread evenly over the others, is added, so
that a larger score never has the same rank. Beyond the events the distance to 0 and 1 falls as
``1 / (1 + x)``, ``x`` in units of the range of the scores: slowly, so that no two scores become one
by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

__all__ = ["Ranks", "mid_ranks", "rising", "spread_ties"]

Floats = npt.NDArray[np.float64]

# Between two kept points the share of events above (or below) changes by a fifth at most, and the
# rank by a fiftieth.
LOGIT_STEP = 0.2
N_STEPS = 50


@dataclass(frozen=True)
class Ranks:
    """A curve from score to rank, linear between its points.

    Attributes:
        scores: Rising.
        ranks: Rising, in (0, 1).

    Shapes:
        Both ``(n_points,)``.
    """

    scores: Floats
    ranks: Floats

    @classmethod
    def of(cls, scores: Floats, event_weight: Floats) -> Ranks:
        """Return the curve of some events, with points that are dense in both tails.

        Args:
            scores: Finite numbers.
            event_weight: Of either sign; their sum is positive.

        Shapes:
            Both ``(n_events,)``.
        """
        values, counts = np.unique(scores, return_counts=True)
        signed = rising(mid_ranks(scores, event_weight, values))
        share = 1.0 / (len(scores) + 1)
        even = (np.cumsum(counts) - counts / 2) / len(scores)
        ranks = (1 - share) * signed + share * even
        kept = _kept(ranks)
        return cls(values[kept], ranks[kept])

    def at(self, scores: Floats) -> Floats:
        """Return the rank of each score, in (0, 1)."""
        first, last = self.scores[0], self.scores[-1]
        unit = last - first if last > first else 1.0
        inside = np.interp(scores, self.scores, self.ranks)
        below = self.ranks[0] / (1.0 + np.maximum(first - scores, 0.0) / unit)
        above = (1.0 - self.ranks[-1]) / (1.0 + np.maximum(scores - last, 0.0) / unit)
        ranks = np.where(scores < first, below, np.where(scores > last, 1.0 - above, inside))
        return np.asarray(ranks, dtype=np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Return the curve as what JSON can hold."""
        return {"scores": self.scores.tolist(), "ranks": self.ranks.tolist()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Ranks:
        """Return the curve that ``as_dict`` wrote down."""
        return cls(np.array(content["scores"]), np.array(content["ranks"]))


def mid_ranks(scores: Floats, event_weight: Floats, points: Floats) -> Floats:
    """Return the share of the weights below each point, half of those at it included.

    Shapes:
        scores, event_weight: ``(n_events,)``; points → ``(n_points,)``.

    >>> mid_ranks(np.array([1.0, 2.0, 2.0, 3.0]), np.ones(4), np.array([2.0, 2.5])).tolist()
    [0.5, 0.75]
    """
    order = np.argsort(scores, kind="stable")
    cumulated = np.concatenate([[0.0], np.cumsum(event_weight[order])])
    ordered = scores[order]
    left = cumulated[np.searchsorted(ordered, points, side="left")]
    right = cumulated[np.searchsorted(ordered, points, side="right")]
    return np.asarray((left + right) / (2 * cumulated[-1]), dtype=np.float64)


def rising(values: Floats) -> Floats:
    """Return the mean of the highest value so far and the lowest one to come, within [0, 1].

    >>> rising(np.array([0.1, 0.5, 0.3, 1.2])).tolist()
    [0.1, 0.4, 0.4, 1.0]
    """
    highest = np.maximum.accumulate(values)
    lowest = np.minimum.accumulate(values[::-1])[::-1]
    return np.clip((highest + lowest) / 2, 0.0, 1.0)


def spread_ties(ranks: Floats, size: Floats, random: np.random.Generator) -> Floats:
    """Return ranks of which equal ones are spread evenly over their step.

    Args:
        ranks: In (0, 1).
        size: Of each event, positive.
        random: Where in its step an event comes to lie.

    Shapes:
        ranks, size: ``(n_events,)``.
    """
    values, place, counts = np.unique(ranks, return_inverse=True, return_counts=True)
    width = np.bincount(place, weights=size) / size.sum()
    width[counts == 1] = 0.0
    moved = ranks + (random.random(len(ranks)) - 0.5) * width[place]
    least, most = values[0] * 1e-3, 1.0 - (1.0 - values[-1]) * 1e-3
    return np.asarray(np.clip(moved, least, most), dtype=np.float64)


def _kept(ranks: Floats) -> npt.NDArray[np.int64]:
    """Return positions so that little happens between two of them, but for what is a step itself."""
    end = float(logit(min(ranks[0], 1.0 - ranks[-1])))
    logits = np.linspace(end, -end, 1 + int(np.ceil(-2 * end / LOGIT_STEP)))
    levels = np.unique(np.concatenate([expit(logits), np.linspace(0.0, 1.0, N_STEPS + 1)]))
    levels = levels[(levels > ranks[0]) & (levels < ranks[-1])]
    reached = np.searchsorted(ranks, levels)
    # A rank that many equal scores share is a step, not a slope: its foot is kept, too.
    foot = reached - 1
    is_step = (
        ranks[reached] - ranks[foot] > np.gradient(levels) / 2 if len(levels) > 1 else foot >= 0
    )
    ends = [0, len(ranks) - 1]
    return np.unique(np.concatenate([ends, reached, foot[is_step]])).astype(np.int64)
