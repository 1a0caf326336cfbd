"""Distance covariance of two numbers with weights, its gradient and its share of each event.

With normalised weights w, distances a and b, and row means ``a_i = sum_j w_j a_ij``, the squared distance
covariance is ``c_0 m - c_1 p + c_2 q`` with ``m = sum w_i w_j a_ij b_ij``, ``p = sum w_i a_i b_i`` and ``q =
(sum w_i a_i) (sum w_i b_i)``. The V-statistic has (1, 2, 1); the U-statistic of n equal weights has ``n / (n - 3)
(1, 2 n / (n - 2), n^2 / ((n - 1) (n - 2)))``. For other weights n is the effective number 1 / sum w^2, which
removes the bias to its first order in 1 / n.

Reference:
    G. J. Szekely, M. L. Rizzo and N. K. Bakirov, Ann. Statist. 35 (2007) 2769 (V-statistic);
    G. J. Szekely and M. L. Rizzo, Ann. Statist. 42 (2014) 2382 (U-statistic).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.evaluate.distances.sums import pair_sums, signed_sums

__all__ = ["Column", "Covariance", "coefficients", "covariance", "variance"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """A number of each event, with what every sum over its distances needs.

    Attributes:
        values: Centred, so that products of large numbers do not cancel.
        order: Positions in rising order.
        weight: Normalised.
        means: Row means of the distances.
        signs: ``sum_j w_j sign(x_i - x_j)``.
        mean: Mean of all distances.

    Shapes:
        All but ``mean`` ``(n_events,)``.
    """

    values: Floats
    order: Integers
    weight: Floats
    means: Floats
    signs: Floats
    mean: float

    @classmethod
    def of(cls, values: Floats, weight: Floats) -> Column:
        """Return the column of some numbers.

        Args:
            values: Finite.
            weight: Not negative, with sum 1.

        Shapes:
            Both ``(n_events,)``.
        """
        centred = np.ascontiguousarray(values - weight @ values, dtype=np.float64)
        order = np.argsort(centred, kind="stable")
        signs, means = signed_sums(centred, order, weight)
        return cls(centred, order, weight, means, signs, float(weight @ means))


@dataclass(frozen=True)
class Covariance:
    """A squared distance covariance.

    Attributes:
        value: The number.
        gradient: Its derivative with respect to the first number of each event.

    Shapes:
        gradient ``(n_events,)``.
    """

    value: float
    gradient: Floats


def coefficients(weight: Floats, *, unbiased: bool) -> tuple[float, float, float]:
    """Return (c_0, c_1, c_2).

    Args:
        weight: Normalised; for the unbiased form of more than three effective events.
        unbiased: U-statistic if True, else V-statistic.
    """
    if not unbiased:
        return 1.0, 2.0, 1.0
    n = 1.0 / float(weight @ weight)
    scale = n / (n - 3.0)
    return scale, scale * 2.0 * n / (n - 2.0), scale * n * n / ((n - 1.0) * (n - 2.0))


def covariance(x: Column, y: Column, *, unbiased: bool) -> Covariance:
    """Return the squared distance covariance of two columns with the same weights."""
    weight = x.weight
    c_0, c_1, c_2 = coefficients(weight, unbiased=unbiased)
    products, signed = pair_sums(x.values, y.values, x.order, y.order, weight)
    value = (
        c_0 * float(weight @ products)
        - c_1 * float(weight @ (x.means * y.means))
        + c_2 * x.mean * y.mean
    )
    of_means, _ = signed_sums(x.values, x.order, weight * y.means)
    slope = 2.0 * c_0 * signed - c_1 * (y.means * x.signs + of_means) + 2.0 * c_2 * y.mean * x.signs
    return Covariance(value, weight * slope)


def variance(x: Column, *, unbiased: bool) -> Covariance:
    """Return the squared distance variance of a column: its covariance with itself."""
    weight = x.weight
    c_0, c_1, c_2 = coefficients(weight, unbiased=unbiased)
    squares = 2.0 * float(weight @ x.values**2)
    value = c_0 * squares - c_1 * float(weight @ x.means**2) + c_2 * x.mean**2
    of_means, _ = signed_sums(x.values, x.order, weight * x.means)
    slope = 4.0 * c_0 * x.values - 2.0 * c_1 * (x.means * x.signs + of_means)
    return Covariance(value, weight * (slope + 4.0 * c_2 * x.mean * x.signs))


def shares(x: Column, y: Column, *, unbiased: bool) -> Floats:
    """Return what each event adds to the squared distance covariance; its weighted mean is the value.

    The sum over the partners j of the product of the centred distances of i and j, for the unbiased
    form of equal weights without j = i.

    Shapes:
        Returns ``(n_events,)``.
    """
    weight = x.weight
    products, _ = pair_sums(x.values, y.values, x.order, y.order, weight)
    n = float(len(weight)) if unbiased else 1.0
    # Row and grand means as they are subtracted.
    row = n / (n - 2.0) if unbiased else 1.0
    grand = n * n / ((n - 1.0) * (n - 2.0)) if unbiased else 1.0
    a, b, a_mean, b_mean = row * x.means, row * y.means, grand * x.mean, grand * y.mean
    _, x_times_b = signed_sums(x.values, x.order, weight * b)
    _, y_times_a = signed_sums(y.values, y.order, weight * a)
    # Sums over the partners of the centred distances alone: zero but for the U-statistic.
    lonely_a, lonely_b = (a_mean - 2.0 * a, b_mean - 2.0 * b) if unbiased else (0.0 * a, 0.0 * b)
    sum_a, sum_ab = n * float(weight @ a), n * float(weight @ (a * b))
    rows = n * (products - x.means * b - x_times_b + b_mean * x.means - y_times_a)
    rows += (a_mean - a) * lonely_b + b * sum_a + sum_ab - b_mean * sum_a
    if unbiased:
        rows -= lonely_a * lonely_b
        rows /= n - 3.0
    return np.asarray(rows)
