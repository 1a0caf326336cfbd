"""Largest distance between two weighted distribution functions.

The null is what two samples of one distribution give: the distance times
``sqrt(n_1 n_2 / (n_1 + n_2))`` follows Kolmogorov's distribution, with mean sqrt(pi / 2) ln 2;
with weights, n is the effective number (sum w)^2 / sum w^2.

Reference:
    A. N. Kolmogorov, G. Ist. Ital. Attuari 4 (1933) 83; N. V. Smirnov, Ann. Math. Stat. 19 (1948)
    279; J. Monahan, "Numerical Methods of Statistics", Cambridge 2011 (effective number).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import kolmogi, kolmogorov

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.evaluate.inputs.scored import check_numbers, check_weights
from hepdl.evaluate.roc import effective_number

__all__ = ["TwoSample", "kolmogorov_smirnov", "kolmogorov_smirnov_null"]


@dataclass(frozen=True)
class TwoSample:
    """A distance of two samples beside what one distribution would give.

    Attributes:
        value: The distance.
        null: Mean and 68 % interval for samples of one distribution and this size.
        probability: Probability of a distance at least this large under the null.
    """

    value: float
    null: Interval
    probability: float


def kolmogorov_smirnov(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    first_weight: npt.ArrayLike | None = None,
    second_weight: npt.ArrayLike | None = None,
) -> TwoSample:
    """Return the Kolmogorov-Smirnov distance of two weighted samples.

    Args:
        first: Finite numbers.
        second: Finite numbers.
        first_weight: Weights of either sign; None means 1.
        second_weight: Weights of either sign; None means 1.

    Shapes:
        first, first_weight: ``(n_first,)``; second, second_weight: ``(n_second,)``.

    Raises:
        DataError: A sample is empty or has no positive sum of weights, a number is not finite, or
            lengths differ.

    >>> kolmogorov_smirnov([1.0, 2.0], [2.0, 3.0]).value
    0.5
    """
    values, shares, numbers = [], [], []
    pairs = (("first", first, first_weight), ("second", second, second_weight))
    for sign, (name, sample, event_weight) in zip((1.0, -1.0), pairs, strict=True):
        column = check_numbers(sample, name=f"values of the {name} sample")
        weights = check_weights(event_weight, len(column))
        total = float(weights.sum())
        if total <= 0.0:
            message = (
                f"the weights of the {len(column)} values of the {name} sample add up to "
                f"{total:g}; a distribution needs a sum above zero"
            )
            raise DataError(message)
        values.append(column)
        shares.append(sign * weights / total)
        numbers.append(effective_number(weights))
    pooled = np.concatenate(values)
    order = np.argsort(pooled, kind="stable")
    last = np.append(np.diff(pooled[order]) != 0.0, True)
    value = float(np.max(np.abs(np.cumsum(np.concatenate(shares)[order])[last])))
    null = kolmogorov_smirnov_null(*numbers)
    scale = _scale(*numbers)
    return TwoSample(value, null, float(kolmogorov(value * scale)))


def kolmogorov_smirnov_null(n_first: float, n_second: float) -> Interval:
    """Return mean and 68 % interval of the distance of two samples of one distribution.

    Args:
        n_first: Effective number of events of the first sample.
        n_second: Effective number of events of the second sample.
    """
    scale = _scale(n_first, n_second)
    mean = math.sqrt(0.5 * math.pi) * math.log(2.0)
    low, high = float(kolmogi(1.0 - 0.158655)), float(kolmogi(0.158655))
    return Interval(*(min(number / scale, 1.0) for number in (mean, low, high)))


def _scale(n_first: float, n_second: float) -> float:
    return math.sqrt(n_first * n_second / (n_first + n_second))
