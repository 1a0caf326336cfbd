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

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.distances.covariance import Column, covariance, shares, variance
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

    The time grows as n log n: about half a second for 100 000 events.

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
    first, second = (Column.of(column, weights) for column in columns)
    shared, influence_xy = _covariance(first, second, unbiased=unbiased)
    variance_x, influence_xx = _covariance(first, first, unbiased=unbiased)
    variance_y, influence_yy = _covariance(second, second, unbiased=unbiased)
    if variance_x <= 0.0 or variance_y <= 0.0:
        return DistanceCorrelation(0.0, 0.0)
    scale = math.sqrt(variance_x * variance_y)
    value = shared / scale
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
    first, second = (Column.of(column, weights) for column in columns)
    return covariance(first, second, unbiased=unbiased).value


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
    columns, weights = _check(x, y, None, unbiased=True)
    first, second = (Column.of(column, weights) for column in columns)
    variances = [variance(column, unbiased=True).value for column in (first, second)]
    if min(variances) <= 0.0:
        return np.zeros(n_null)
    shuffles = (generator.permutation(columns[1]) for _ in range(n_null))
    found = [
        covariance(first, Column.of(shuffled, weights), unbiased=True).value
        for shuffled in shuffles
    ]
    return np.array(found) / math.sqrt(variances[0] * variances[1])


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


def _covariance(x: Column, y: Column, *, unbiased: bool) -> tuple[float, Floats]:
    """Return the squared covariance and its influence function, ``(n_events,)``."""
    rows = shares(x, y, unbiased=unbiased)
    value = float(rows @ x.weight)
    return value, 2.0 * (rows - value)
