"""Sums over all partners of an event, of distances in one or two numbers, in O(n log n).

In the order of x, ``sum_j w_j |x_i - x_j|`` comes from running sums. With a second number the sign
of ``(x_i - x_j) (y_i - y_j)`` is needed: it is ``4 [both smaller] - 2 [x smaller] - 2 [y smaller] + 1``,
so that one count remains that knows both orders, the sum over partners that are smaller in both. A
Fenwick tree over the ranks in y gives it while the events are passed in the order of x.

Reference:
    X. Huo and G. J. Szekely, Technometrics 58 (2016) 435, arXiv:1410.1503; A. Chaudhuri and W. Hu,
    Comput. Stat. Data Anal. 135 (2019) 15, arXiv:1810.11332 (distance covariance in O(n log n));
    P. M. Fenwick, Softw. Pract. Exper. 24 (1994) 327.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["pair_sums", "signed_sums"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def signed_sums(x: Floats, order: Integers, weight: Floats) -> tuple[Floats, Floats]:
    """Return ``sum_j w_j sign(x_i - x_j)`` and ``sum_j w_j |x_i - x_j|`` of each event.

    Args:
        x: A number of each event.
        order: Positions in rising order of x.
        weight: Of each event, of either sign.

    Shapes:
        All ``(n_events,)``.
    """
    n = len(x)
    signs, distances = np.empty(n), np.empty(n)
    total, total_x = 0.0, 0.0
    for i in range(n):
        total += weight[i]
        total_x += weight[i] * x[i]
    below, below_x = 0.0, 0.0
    first = 0
    while first < n:
        value = x[order[first]]
        last = first
        equal, equal_x = 0.0, 0.0
        while last < n and x[order[last]] == value:
            equal += weight[order[last]]
            equal_x += weight[order[last]] * value
            last += 1
        above = total - below - equal
        distance = value * below - below_x + (total_x - below_x - equal_x) - value * above
        for k in range(first, last):
            signs[order[k]] = below - above
            distances[order[k]] = distance
        below += equal
        below_x += equal_x
        first = last
    return signs, distances


@numba.njit(cache=True, nogil=True)
def pair_sums(
    x: Floats, y: Floats, order_x: Integers, order_y: Integers, weight: Floats
) -> tuple[Floats, Floats]:
    """Return sums over partners that know both numbers.

    Args:
        x: First number of each event.
        y: Second number.
        order_x: Positions in rising order of x.
        order_y: Positions in rising order of y.
        weight: Of each event, of either sign.

    Shapes:
        All ``(n_events,)``.

    Returns:
        ``sum_j w_j |x_i - x_j| |y_i - y_j|`` and ``sum_j w_j sign(x_i - x_j) |y_i - y_j|``.
    """
    n = len(x)
    rank = np.empty(n, dtype=np.int64)
    # Of w, w x, w y, w x y: over events before this one in the order of y, and over all.
    before_y = np.empty((n, 4))
    total = np.zeros(4)
    for k in range(n):
        i = order_y[k]
        rank[i] = k
        before_y[i] = total
        total[0] += weight[i]
        total[1] += weight[i] * x[i]
        total[2] += weight[i] * y[i]
        total[3] += weight[i] * x[i] * y[i]
    tree = np.zeros((n + 1, 4))
    products, signed = np.empty(n), np.empty(n)
    both, sums = np.empty(4), np.empty(4)
    below = np.zeros(4)
    first = 0
    while first < n:
        value = x[order_x[first]]
        last = first
        while last < n and x[order_x[last]] == value:
            last += 1
        for k in range(first, last):
            i = order_x[k]
            _prefix(tree, rank[i], both)
            for c in range(4):
                sums[c] = 4.0 * both[c] - 2.0 * below[c] - 2.0 * before_y[i, c] + total[c]
            products[i] = x[i] * y[i] * sums[0] - y[i] * sums[1] - x[i] * sums[2] + sums[3]
            signed[i] = y[i] * sums[0] - sums[2]
        for k in range(first, last):
            i = order_x[k]
            for c in range(4):
                part = weight[i] * (
                    1.0 if c == 0 else x[i] if c == 1 else y[i] if c == 2 else x[i] * y[i]
                )
                below[c] += part
                place = rank[i] + 1
                while place <= n:
                    tree[place, c] += part
                    place += place & -place
        if last - first > 1:
            # Events of equal x: half of them count as smaller, so that their sign is zero.
            for k in range(first, last):
                i = order_x[k]
                _prefix(tree, rank[i], both)
                again = y[i] * (4.0 * both[0] - 2.0 * below[0]) - (4.0 * both[2] - 2.0 * below[2])
                again += y[i] * (total[0] - 2.0 * before_y[i, 0])
                again -= total[2] - 2.0 * before_y[i, 2]
                signed[i] = 0.5 * (signed[i] + again)
        first = last
    return products, signed


@numba.njit(cache=True, nogil=True)
def _prefix(tree: Floats, n_before: int, found: Floats) -> None:
    """Sum the first ``n_before`` places of a Fenwick tree."""
    found[:] = 0.0
    place = n_before
    while place > 0:
        for c in range(4):
            found[c] += tree[place, c]
        place -= place & -place
