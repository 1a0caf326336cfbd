"""Isotonic calibration: the rising step curve that fits best, its steps joined by lines.

Pool adjacent violators: events in the order of their scores; neighbours are pooled until the share
of signal rises from pool to pool. The curve then goes linearly from the centre of one pool to the
next (centred isotonic regression), so that scores within a pool keep their order; below the first
and above the last centre it is flat, where scores become ties.

Weights of either sign: a pool without a positive sum of weights has no share of signal, so it is
pooled with its neighbour until it has one, and a share that the signs carry below 0 or above 1 is
cut there. No weight is changed or lost, so the mean over many events stays right; for positive
weights this is plain isotonic regression.

Reference:
    M. Ayer et al., Ann. Math. Statist. 26 (1955) 641 (pooling of adjacent violators);
    A. P. Oron, N. Flournoy, "Centered isotonic regression", Stat. Biopharm. Res. 9 (2017) 258,
    arXiv:1701.05964.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.evaluate.inputs.scored import check_probabilities

__all__ = ["Isotonic", "pool"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Isotonic:
    """A curve that never falls, linear between its points.

    Attributes:
        scores: Centre of each pool, rising.
        probabilities: Share of signal of each pool, never falling.

    Shapes:
        Both ``(n_pools,)``.
    """

    scores: Floats
    probabilities: Floats

    @classmethod
    def fit(
        cls, scores: npt.ArrayLike, label: npt.ArrayLike, event_weight: npt.ArrayLike
    ) -> Isotonic:
        """Return the rising curve with the smallest weighted squared error.

        Args:
            scores: In [0, 1], of events that the model was not trained on.
            label: 1 for signal, 0 for background.
            event_weight: Of either sign.

        Shapes:
            All ``(n_events,)``.

        Raises:
            DataError: As `hepdl.evaluate.calibration.calibration_error`.
        """
        events = check_probabilities(label, scores, event_weight)
        values, place = np.unique(events.scores, return_inverse=True)
        weight = events.event_weight

        def summed(column: Floats) -> Floats:
            """Return the sums over events of equal score."""
            return np.asarray(np.bincount(place, weights=column), dtype=np.float64)

        first, share = pool(summed(weight), summed(weight * events.is_signal))
        size = summed(np.abs(weight))
        centre = np.add.reduceat(size * values, first) / np.add.reduceat(size, first)
        return cls(centre, np.clip(share, 0.0, 1.0))

    def transform(self, scores: npt.ArrayLike) -> Floats:
        """Return the height of the curve at each score."""
        numbers = np.asarray(scores, dtype=np.float64)
        return np.asarray(np.interp(numbers, self.scores, self.probabilities), dtype=np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""
        return {"scores": self.scores.tolist(), "probabilities": self.probabilities.tolist()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Isotonic:
        """Return the map that ``as_dict`` wrote down."""
        return cls(np.array(content["scores"]), np.array(content["probabilities"]))


def pool(weight: Floats, signal: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """Pool neighbours until the share ``signal / weight`` rises from pool to pool.

    Args:
        weight: Sum of weights at each place, of either sign; the total is positive.
        signal: The part of it that is signal.

    Shapes:
        Both ``(n_places,)`` → first place and share of each pool, ``(n_pools,)``.

    >>> first, share = pool(np.array([1.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0]))
    >>> first.tolist(), share.tolist()
    ([0, 1], [0.0, 0.6666666666666666])
    """
    pools: list[tuple[int, float, float]] = []
    for k, (w, s) in enumerate(zip(weight.tolist(), signal.tolist(), strict=True)):
        pools.append((k, w, s))
        while len(pools) > 1 and _must_join(pools[-2], pools[-1]):
            _, w_last, s_last = pools.pop()
            start, w_before, s_before = pools.pop()
            pools.append((start, w_before + w_last, s_before + s_last))
    first, sums, signals = (np.array(column) for column in zip(*pools, strict=True))
    return first.astype(np.int64), signals / sums


def _must_join(before: tuple[int, float, float], last: tuple[int, float, float]) -> bool:
    _, w_before, s_before = before
    _, w_last, s_last = last
    if w_before <= 0.0 or w_last <= 0.0:
        return True
    return s_before * w_last >= s_last * w_before
