"""Whether a score is the probability to be signal: reliability curve and calibration error.

The probability refers to the mixture that the event weights make: with weights that give both
classes the same sum, 0.5 means "equally likely if signal and background were equally frequent".
Use the weights that the training used for its class balance.

Reference:
    M. H. DeGroot and S. E. Fienberg, The Statistician 32 (1983) 12 (reliability curve);
    M. P. Naeini, G. F. Cooper and M. Hauskrecht, AAAI 2015 (expected calibration error).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.inputs.binning import bin_sums, weighted_quantiles
from hepdl.evaluate.inputs.scored import ScoredEvents, check_probabilities

__all__ = [
    "CalibrationError",
    "Reliability",
    "calibration_error",
    "reliability_curve",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Reliability:
    """The curve: in each bin of the score, the mean score and the share of signal.

    Attributes:
        edges: Ends of the bins of the score; fewer than asked for where scores are tied.
        mean_score: Weighted mean score; nan where the weights have no positive sum.
        signal_fraction: Weighted share of signal; nan likewise.
        error: Statistical error of the share.
        sum_of_weights: Sum of weights.

    Shapes:
        edges: ``(n_bins + 1,)``; the others ``(n_bins,)``.
    """

    edges: Floats
    mean_score: Floats
    signal_fraction: Floats
    error: Floats
    sum_of_weights: Floats


@dataclass(frozen=True)
class CalibrationError:
    """The weighted mean distance between share of signal and mean score, beside its null.

    Attributes:
        error: The distance with its 68 % interval.
        null: Its mean for perfectly calibrated scores of this sample size: noise alone.
    """

    error: Interval
    null: float


def reliability_curve(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    n_bins: int = 15,
) -> Reliability:
    """Return the reliability curve in bins that hold equal sums of |event weight|.

    Args:
        label: 1 for signal, 0 for background.
        scores: Probabilities in [0, 1].
        event_weight: Weights of either sign; None means 1.
        n_bins: Number of bins.

    Shapes:
        label, scores, event_weight: ``(n_events,)``.

    Raises:
        DataError: As `hepdl.evaluate.roc.roc_curve`, or a score outside [0, 1].
    """
    events = check_probabilities(label, scores, event_weight)
    edges, bins = _bins(events, n_bins)
    sums = _sums(events, bins, len(edges) - 1)
    mean_score, signal_fraction = _ratio(sums[:, 1], sums[:, 0]), _ratio(sums[:, 2], sums[:, 0])
    return Reliability(
        edges, mean_score, signal_fraction, _errors(events, bins, signal_fraction), sums[:, 0]
    )


def calibration_error(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    bootstrap: Bootstrap,
    n_bins: int = 15,
) -> CalibrationError:
    """Return the weighted expected calibration error.

    ``sum_b W_b |signal fraction_b - mean score_b| / sum_b W_b`` over the bins of the reliability
    curve; a bin without a positive sum of weights W_b has no share.

    Args:
        label: 1 for signal, 0 for background.
        scores: Probabilities in [0, 1].
        event_weight: Weights of either sign; None means 1.
        bootstrap: Replicas of the same events.
        n_bins: Number of bins with equal sums of |event weight|.

    Shapes:
        label, scores, event_weight: ``(n_events,)``.

    Raises:
        DataError: As `reliability_curve`, or the bootstrap is of other events.
    """
    events = check_probabilities(label, scores, event_weight)
    edges, bins = _bins(events, n_bins)
    n_used = len(edges) - 1
    sums = _sums(events, bins, n_used)
    replicas = bootstrap.binned_sums(bins, _columns(events), n_bins=n_used)
    value = float(_expected_error(sums))
    # Mean of |x| for a normal x of mean 0 is sigma sqrt(2 / pi).
    errors = np.nan_to_num(_errors(events, bins, _ratio(sums[:, 1], sums[:, 0])))
    share = np.maximum(sums[:, 0], 0.0)
    null = math.sqrt(2.0 / math.pi) * float(np.sum(share * errors) / np.sum(share))
    return CalibrationError(Interval.of_distance(value, _expected_error(replicas)), null)


def _bins(events: ScoredEvents, n_bins: int) -> tuple[Floats, Integers]:
    if n_bins < 1:
        message = f"n_bins is {n_bins}; use at least 1"
        raise DataError(message)
    inner = weighted_quantiles(
        events.scores, events.event_weight, np.arange(1, n_bins) / max(n_bins, 1)
    )
    low, high = float(events.scores.min()), float(events.scores.max())
    inner = np.unique(inner[(inner > low) & (inner < high)])
    edges = np.concatenate([[low], inner, [high]])
    return edges, np.searchsorted(inner, events.scores, side="right").astype(np.int64)


def _columns(events: ScoredEvents) -> Floats:
    weight = events.event_weight
    return np.stack([weight, weight * events.scores, weight * events.is_signal], axis=-1)


def _sums(events: ScoredEvents, bins: Integers, n_bins: int) -> Floats:
    columns = _columns(events)
    return np.stack([bin_sums(bins, column, n_bins) for column in columns.T], axis=-1)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    unknown = np.full_like(numerator, np.nan)
    return np.divide(numerator, denominator, out=unknown, where=denominator > 0.0)


def _errors(events: ScoredEvents, bins: Integers, fraction: Floats) -> Floats:
    """Return sqrt(sum w^2 f (1 - f)) / sum w: the binomial error of a weighted share f."""
    expected = np.clip(fraction, 0.0, 1.0)
    squares = bin_sums(bins, events.event_weight**2, len(fraction))
    sums = bin_sums(bins, events.event_weight, len(fraction))
    return _ratio(np.sqrt(squares * expected * (1.0 - expected)), sums)


def _expected_error(sums: Floats) -> Floats:
    """Return the error from sums ``(..., n_bins, 3)``: since W |f - p| = |sum wy - sum wp|."""
    has_share = sums[..., 0] > 0.0
    distance = np.where(has_share, np.abs(sums[..., 2] - sums[..., 1]), 0.0).sum(axis=-1)
    total = np.where(has_share, sums[..., 0], 0.0).sum(axis=-1)
    return _ratio(np.asarray(distance), np.asarray(total))
