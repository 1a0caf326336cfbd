"""Receiver operating characteristic with event weights of either sign.

Events that share a score pass or fail together, so the curve has one point per distinct score and
straight lines between the points: along a line, events of that score pass with a probability
(ties count one half in the area). The area is the rank integral
``sum_ij w_i w_j [1(s_i > s_j) + 1(s_i = s_j) / 2]`` over signal i and background j, normalised; it
stays meaningful with negative weights, and a pair of events that differ only in the sign of their
weight adds nothing. With positive weights all numbers equal those of scikit-learn.

With negative weights the efficiencies are not monotone functions of the threshold. The rule is
then: the working point is the *tightest* threshold at which the signal efficiency reaches the
wanted value.

Reference:
    J. A. Hanley and B. J. McNeil, Radiology 143 (1982) 29 (area as rank statistic, ties);
    T. Fawcett, Pattern Recognit. Lett. 27 (2006) 861 (the curve).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.evaluate.inputs.scored import ScoredEvents, check_efficiencies, check_scored

__all__ = [
    "RocCurve",
    "auc",
    "background_rejection",
    "effective_number",
    "rejection_lower_bound",
    "roc_curve",
    "working_point",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RocCurve:
    """The curve, from the tightest to the loosest threshold.

    Attributes:
        signal_efficiency: Weighted share of signal with ``score >= threshold``; starts at 0, ends
            at 1, and is not monotone where weights are negative.
        background_efficiency: The same for background.
        thresholds: Distinct scores, falling; the first is infinite (nothing passes).

    Shapes:
        signal_efficiency, background_efficiency, thresholds: ``(n_distinct_scores + 1,)``.
    """

    signal_efficiency: Floats
    background_efficiency: Floats
    thresholds: Floats

    def area(self) -> float:
        """Return the area under the curve, signed contributions included."""
        heights = 0.5 * (self.signal_efficiency[1:] + self.signal_efficiency[:-1])
        return float(np.sum(heights * np.diff(self.background_efficiency)))

    def first_reaching(self, signal_efficiencies: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the index of the first point whose signal efficiency is at least the wanted one.

        Raises:
            DataError: An efficiency lies outside (0, 1].
        """
        wanted = check_efficiencies(signal_efficiencies)
        reached = np.maximum.accumulate(self.signal_efficiency)
        # The last point is 1 by construction; the bound only catches rounding above it.
        index = np.searchsorted(reached, wanted, side="left")
        return np.minimum(index, len(reached) - 1).astype(np.int64)

    def background_efficiency_at(self, signal_efficiencies: npt.ArrayLike) -> Floats:
        """Return the background efficiency where the curve first reaches each signal efficiency.

        Linear between the two neighbouring points of the curve.

        Shapes:
            Returns ``(n_efficiencies,)``.
        """
        wanted = check_efficiencies(signal_efficiencies)
        after = self.first_reaching(wanted)
        low, high = self.signal_efficiency[after - 1], self.signal_efficiency[after]
        share = np.minimum((wanted - low) / (high - low), 1.0)
        below = self.background_efficiency[after - 1]
        return below + share * (self.background_efficiency[after] - below)

    def threshold_at(self, signal_efficiency: float) -> float:
        """Return the tightest threshold with at least this signal efficiency (``>=`` passes)."""
        return float(self.thresholds[self.first_reaching(signal_efficiency)[0]])


def roc_curve(
    label: npt.ArrayLike, scores: npt.ArrayLike, event_weight: npt.ArrayLike | None = None
) -> RocCurve:
    """Return the receiver operating characteristic.

    Args:
        label: 1 for signal, 0 for background.
        scores: Finite scores, signal at large values.
        event_weight: Weights of either sign; None means 1.

    Shapes:
        label, scores, event_weight: ``(n_events,)``.

    Returns:
        The curve with one point per distinct score, and the origin.

    Raises:
        DataError: One class is absent or has no positive sum of weights, a value is not finite, or
            lengths differ.

    >>> roc_curve([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]).signal_efficiency.tolist()
    [0.0, 0.5, 0.5, 1.0, 1.0]
    """
    return _curve(check_scored(label, scores, event_weight))


def auc(
    label: npt.ArrayLike, scores: npt.ArrayLike, event_weight: npt.ArrayLike | None = None
) -> float:
    """Return the area under the receiver operating characteristic.

    Args, shapes and errors are those of `roc_curve`. With negative weights the result may leave
    [0, 1] when the effective number of events is tiny.

    >>> auc([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1])
    0.75
    """
    return roc_curve(label, scores, event_weight).area()


def background_rejection(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    signal_efficiencies: Sequence[float] = (0.3, 0.5, 0.8),
) -> Floats:
    """Return 1 / background efficiency at each signal efficiency.

    Infinite where no background (or a sum of weights that is not positive) passes; what the sample
    can then exclude is `rejection_lower_bound`.

    Args:
        label: 1 for signal, 0 for background.
        scores: Finite scores, signal at large values.
        event_weight: Weights of either sign; None means 1.
        signal_efficiencies: Working points in (0, 1].

    Shapes:
        label, scores, event_weight: ``(n_events,)``; returns ``(n_efficiencies,)``.

    Raises:
        DataError: As `roc_curve`, or an efficiency outside (0, 1].
    """
    curve = roc_curve(label, scores, event_weight)
    passing = curve.background_efficiency_at(signal_efficiencies)
    return np.divide(1.0, passing, out=np.full_like(passing, np.inf), where=passing > 0.0)


def working_point(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    signal_efficiency: float = 0.5,
) -> float:
    """Return the tightest threshold that keeps this share of the signal (``score >= threshold``).

    Args, shapes and errors are those of `background_rejection`.
    """
    return roc_curve(label, scores, event_weight).threshold_at(signal_efficiency)


def rejection_lower_bound(
    label: npt.ArrayLike, event_weight: npt.ArrayLike | None = None, *, confidence: float = 0.68
) -> float:
    """Return the smallest rejection that is compatible with no background passing.

    A Poisson count of zero excludes means above ``-ln(1 - confidence)`` (1.14 at 68 %), so the
    rejection is above N_eff / 1.14, N_eff being the effective number of background events.

    Args:
        label: 1 for signal, 0 for background.
        event_weight: Weights of either sign; None means 1.
        confidence: Confidence level in (0, 1).

    Shapes:
        label, event_weight: ``(n_events,)``.
    """
    is_background = np.asarray(label) == 0
    weights = None if event_weight is None else np.asarray(event_weight)[is_background]
    n_effective = (
        float(np.count_nonzero(is_background)) if weights is None else effective_number(weights)
    )
    return n_effective / -math.log1p(-confidence)


def effective_number(event_weight: npt.ArrayLike) -> float:
    """Return ``(sum w)^2 / sum w^2``: equally weighted events with the same relative error.

    >>> effective_number([2.0, 2.0, 2.0])
    3.0
    """
    weights = np.asarray(event_weight, dtype=np.float64)
    squares = float(np.sum(weights**2))
    return float(np.sum(weights)) ** 2 / squares if squares > 0.0 else 0.0


def _curve(events: ScoredEvents) -> RocCurve:
    order = np.argsort(-events.scores, kind="stable")
    scores = events.scores[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    return RocCurve(
        signal_efficiency=_efficiency(events.event_weight * events.is_signal, order, last),
        background_efficiency=_efficiency(events.event_weight * ~events.is_signal, order, last),
        thresholds=np.append(np.inf, scores[last]),
    )


def _efficiency(weights: Floats, order: npt.NDArray[np.intp], last: npt.NDArray[np.intp]) -> Floats:
    """Cumulate signed weights from the highest score on, read at the last event of each score."""
    cumulated = np.cumsum(weights[order])[last]
    efficiency: Floats = np.append(0.0, cumulated) / cumulated[-1]
    return efficiency
