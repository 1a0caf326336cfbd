"""Rank average: the mean over several models of where an event stands among validation events.

The rank of a score is the share of the validation events below it, half of those at it included,
with both classes weighted alike; between the scores of two validation events it is linear, and it
runs from 0 at score 0 to 1 at score 1. The ranks of the validation events stay what they are when a
member's scores are put through any rising function, so that no member is louder because it is surer
of itself. Nothing else is fitted, and the result is no probability.

Weights of either sign enter as they are. Where their sums make a rank fall, it is replaced by the
mean of two functions that do not: the highest value so far and the lowest one to come.

Reference:
    T. K. Ho, J. J. Hull, S. N. Srihari, "Decision combination in multiple classifier systems",
    IEEE Trans. Pattern Anal. Mach. Intell. 16 (1994) 66 (Borda count).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.posthoc.inputs.members import MemberScores, as_columns, check_members

__all__ = ["RankAverage"]

Floats = npt.NDArray[np.float64]

# Steps of rank in which points of a curve are kept; between them it is off by less than one step.
N_STEPS = 1000


@dataclass(frozen=True)
class RankAverage:
    """A curve from score to rank for each member, linear between its points.

    Attributes:
        scores: Of validation events, rising; 0 and 1 are among them.
        ranks: Their ranks, never falling, in [0, 1].

    Shapes:
        both: one array ``(n_points,)`` a member.
    """

    scores: tuple[Floats, ...]
    ranks: tuple[Floats, ...]

    @classmethod
    def fit(
        cls, scores: npt.ArrayLike, label: npt.ArrayLike, event_weight: npt.ArrayLike
    ) -> RankAverage:
        """Return the curves of events that no member was trained on.

        Args:
            scores: In [0, 1], one column a member.
            label: 1 for signal, 0 for background.
            event_weight: Of either sign.

        Shapes:
            scores: ``(n_events, n_members)``; label, event_weight: ``(n_events,)``.

        Raises:
            DataError: As `hepdl.posthoc.inputs.members.check_members`.
        """
        events = check_members(scores, label, event_weight)
        curves = [_curve(column, events) for column in events.scores.T]
        return cls(tuple(values for values, _ in curves), tuple(ranks for _, ranks in curves))

    def transform(self, scores: npt.ArrayLike) -> Floats:
        """Return the mean rank of each row.

        Shapes:
            ``(n_events, n_members)`` → ``(n_events,)``.
        """
        columns = as_columns(scores, len(self.scores)).T
        ranks = [
            np.interp(column, values, heights)
            for column, values, heights in zip(columns, self.scores, self.ranks, strict=True)
        ]
        return np.asarray(np.mean(ranks, axis=0), dtype=np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""
        return {
            "scores": [values.tolist() for values in self.scores],
            "ranks": [values.tolist() for values in self.ranks],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RankAverage:
        """Return the map that ``as_dict`` wrote down."""
        return cls(
            tuple(np.array(values) for values in content["scores"]),
            tuple(np.array(values) for values in content["ranks"]),
        )


def _curve(scores: Floats, events: MemberScores) -> tuple[Floats, Floats]:
    """Return the points of one member's curve, both ``(n_points,)``."""
    values, place = np.unique(scores, return_inverse=True)
    raw = np.zeros(len(values))
    for inside in (events.is_signal, ~events.is_signal):
        here = np.bincount(place[inside], events.event_weight[inside], minlength=len(values))
        raw += (np.cumsum(here) - here / 2) / (2 * here.sum())
    highest, lowest = np.maximum.accumulate(raw), np.minimum.accumulate(raw[::-1])[::-1]
    ranks = np.clip((highest + lowest) / 2, 0.0, 1.0)
    kept = _thinned(ranks)
    values, ranks = values[kept], ranks[kept]
    # The ends, unless an event lies there.
    first, last = np.zeros(int(values[0] > 0.0)), np.ones(int(values[-1] < 1.0))
    return np.concatenate([first, values, last]), np.concatenate([first, ranks, last])


def _thinned(ranks: Floats) -> npt.NDArray[np.int64]:
    """Return positions so that the ranks between two of them, if any, differ by less than a step."""
    if len(ranks) <= 2 * N_STEPS:
        return np.arange(len(ranks))
    levels = np.linspace(ranks[0], ranks[-1], N_STEPS + 1)
    reached = np.searchsorted(ranks, levels)
    # With the one before: a rank that many equal scores share is a jump, not a slope.
    return np.unique(
        np.concatenate([reached, np.maximum(reached - 1, 0), [len(ranks) - 1]])
    ).astype(np.int64)
