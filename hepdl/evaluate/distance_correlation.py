"""Squared distance correlation: zero for independent numbers, whatever the shape of a dependence.

The V-statistic is biased upwards (0.042 for 64 independent events, 0.0006 for 4096); the
U-statistic is unbiased, may be negative, and is what is reported. The error is that of the first
order of the statistic (influence function), which vanishes for independent numbers: there the null
carries the noise.

Reference:
    G. J. Szekely, M. L. Rizzo and N. K. Bakirov, Ann. Statist. 35 (2007) 2769 (V-statistic);
    G. J. Szekely and M. L. Rizzo, Ann. Statist. 42 (2014) 2382 (U-statistic);
    G. Kasieczka and D. Shih, Phys. Rev. Lett. 125 (2020) 122001 (in high-energy physics).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.inputs.scored import check_numbers, check_weights

__all__ = [
    "DistanceCorrelation",
    "distance_correlation",
    "distance_correlation_null",
    "distance_covariance_squared",
    "unweighted_sample",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DistanceCorrelation:
    """Squared distance correlation (U-statistic) and its error to first order.

    Attributes:
        value: Unbiased estimate; may be slightly negative.
        error: Standard error.
    """

    value: float
    error: float


def distance_correlation(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    unbiased: bool = True,
) -> DistanceCorrelation:
    """Return the squared distance correlation of two numbers of the same events.

    The time grows with the square of the number of events: take at most a few thousand, with
    `unweighted_sample`.

    Args:
        x: First number of each event, e.g. the score.
        y: Second number, e.g. the jet mass [GeV]. Units drop out.
        event_weight: Weights, not negative; only with ``unbiased=False``, since the unbiased form
            is defined for equal weights. None means 1.
        unbiased: U-statistic if True, else V-statistic.

    Shapes:
        x, y, event_weight: ``(n_events,)``.

    Returns:
        Value and error; 0 and 0 if one of the numbers is constant.

    Raises:
        DataError: Fewer than four events, negative weights, weights with the unbiased form, a
            number that is not finite, or lengths that differ.
    """
    columns, weights = _check(x, y, event_weight, unbiased=unbiased)
    covariance, influence_xy = _covariance(*columns, weights, unbiased)
    variance_x, influence_xx = _covariance(columns[0], columns[0], weights, unbiased)
    variance_y, influence_yy = _covariance(columns[1], columns[1], weights, unbiased)
    if variance_x <= 0.0 or variance_y <= 0.0:
        return DistanceCorrelation(0.0, 0.0)
    scale = math.sqrt(variance_x * variance_y)
    value = covariance / scale
    influence = influence_xy / scale - 0.5 * value * (
        influence_xx / variance_x + influence_yy / variance_y
    )
    return DistanceCorrelation(value, math.sqrt(float(np.sum((weights * influence) ** 2))))


def distance_covariance_squared(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    unbiased: bool = True,
) -> float:
    """Return the squared distance covariance; arguments are those of `distance_correlation`."""
    columns, weights = _check(x, y, event_weight, unbiased=unbiased)
    return _covariance(*columns, weights, unbiased)[0]


def distance_correlation_null(
    x: npt.ArrayLike, y: npt.ArrayLike, *, n_null: int, generator: np.random.Generator
) -> Floats:
    """Return the unbiased squared distance correlation after shuffling ``y``, several times.

    Args:
        x: First number of each event.
        y: Second number of each event.
        n_null: Number of shuffles.
        generator: Source of the shuffles.

    Shapes:
        x, y: ``(n_events,)``; returns ``(n_null,)``.

    Raises:
        DataError: As `distance_correlation`.
    """
    (first, second), weights = _check(x, y, None, unbiased=True)
    variances = [_covariance(column, column, weights, True)[0] for column in (first, second)]
    if min(variances) <= 0.0:
        return np.zeros(n_null)
    shuffles = (generator.permutation(second) for _ in range(n_null))
    covariances = [_covariance(first, shuffled, weights, True)[0] for shuffled in shuffles]
    return np.array(covariances) / math.sqrt(variances[0] * variances[1])


def unweighted_sample(
    event_weight: npt.ArrayLike, max_events: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return events drawn once at most, each with a probability proportional to its weight.

    So the drawn events follow the weighted distribution with equal weights. Negative weights are
    taken by their absolute value: an unweighted event cannot be negative.

    Args:
        event_weight: Weights of either sign.
        max_events: Expected number of drawn events; fewer if one weight stands out.
        generator: Source of randomness.

    Shapes:
        event_weight: ``(n_events,)``; returns rising indices ``(n_drawn,)``.
    """
    size = np.abs(check_numbers(event_weight, name="event weights"))
    largest, total = float(size.max()), float(size.sum())
    if largest == 0.0:
        return np.empty(0, dtype=np.int64)
    n_expected = min(float(max_events), total / largest)
    shares = np.cumsum(size) / total * n_expected
    # Systematic sampling: equidistant ticks on the cumulated shares, none of which exceeds 1, so
    # that no event is hit twice and the number drawn does not fluctuate.
    ticks = np.arange(generator.random(), n_expected, 1.0)
    index = np.searchsorted(shares, ticks, side="right")
    return np.unique(np.minimum(index, len(size) - 1)).astype(np.int64)


def _check(
    x: npt.ArrayLike, y: npt.ArrayLike, event_weight: npt.ArrayLike | None, *, unbiased: bool
) -> tuple[tuple[Floats, Floats], Floats]:
    first = check_numbers(x, name="first numbers")
    second = check_numbers(y, name="second numbers", length=len(first))
    weights = check_weights(event_weight, len(first))
    if len(first) < 4:
        message = f"{len(first)} events; a distance correlation needs at least 4"
        raise DataError(message)
    if unbiased and event_weight is not None:
        message = (
            "the unbiased distance correlation is defined for equal weights; draw events with "
            "unweighted_sample(event_weight, ...) first, or use unbiased=False"
        )
        raise DataError(message)
    if weights.min() < 0.0 or weights.sum() <= 0.0:
        message = (
            f"event weights from {weights.min():g} with sum {weights.sum():g}; a distance "
            "correlation needs weights that are not negative: use their absolute values"
        )
        raise DataError(message)
    return (np.ascontiguousarray(first), np.ascontiguousarray(second)), weights / weights.sum()


def _covariance(x: Floats, y: Floats, weights: Floats, unbiased: bool) -> tuple[float, Floats]:
    """Return the squared covariance and its influence function, ``(n_events,)``."""
    if unbiased:
        n = float(len(x))
        centres_x, centres_y = (_row_sums(v, np.ones_like(v)) / (n - 2.0) for v in (x, y))
        grand_x, grand_y = (float(c.sum()) / (n - 1.0) for c in (centres_x, centres_y))
        products = _products(x, y, centres_x, centres_y, grand_x, grand_y, np.ones_like(x), False)
        rows = products / (n - 3.0)
    else:
        centres_x, centres_y = (_row_sums(v, weights) for v in (x, y))
        grand_x, grand_y = (float(c @ weights) for c in (centres_x, centres_y))
        rows = _products(x, y, centres_x, centres_y, grand_x, grand_y, weights, True)
    value = float(rows @ weights)
    return value, 2.0 * (rows - value)


# Sums may be added in any order (that lets the compiler use vector units); nothing else is relaxed.
_REORDER = {"reassoc", "nsz"}


@numba.njit(cache=True, fastmath=_REORDER)
def _row_sums(x: Floats, weights: Floats) -> Floats:
    sums = np.empty(len(x))
    for i in range(len(x)):
        total = 0.0
        for j in range(len(x)):
            total += weights[j] * abs(x[i] - x[j])
        sums[i] = total
    return sums


@numba.njit(cache=True, fastmath=_REORDER)
def _products(
    x: Floats,
    y: Floats,
    centres_x: Floats,
    centres_y: Floats,
    grand_x: float,
    grand_y: float,
    weights: Floats,
    with_diagonal: bool,
) -> Floats:
    """Return for each event the weighted sum over partners of the product of centred distances."""
    sums = np.empty(len(x))
    for i in range(len(x)):
        total = 0.0
        for j in range(len(x)):
            a = abs(x[i] - x[j]) - centres_x[i] - centres_x[j] + grand_x
            b = abs(y[i] - y[j]) - centres_y[i] - centres_y[j] + grand_y
            total += weights[j] * a * b
        if not with_diagonal:
            own = (grand_x - 2.0 * centres_x[i]) * (grand_y - 2.0 * centres_y[i])
            total -= weights[i] * own
        sums[i] = total
    return sums
