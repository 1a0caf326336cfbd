"""Bins: their ends, who is in which, and ends that hold equal shares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError

__all__ = ["bin_index", "bin_sums", "check_edges", "weighted_quantiles"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def check_edges(edges: npt.ArrayLike) -> Floats:
    """Return finite, rising ends of bins, ``(n_bins + 1,)``.

    Raises:
        DataError: Fewer than two, not finite, or not rising.
    """
    ends = np.asarray(edges, dtype=np.float64)
    is_list = ends.ndim == 1 and len(ends) >= 2 and bool(np.isfinite(ends).all())
    if not is_list or not np.all(np.diff(ends) > 0.0):
        message = f"bin edges {ends.tolist()} do not rise; give at least two rising finite numbers"
        raise DataError(message)
    return ends


def bin_index(values: Floats, edges: Floats) -> Integers:
    """Return the bin of each value, -1 outside; ``low <= value < high``, the last bin closed.

    >>> bin_index(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0])).tolist()
    [0, 1, 1, -1]
    """
    index = np.searchsorted(edges, values, side="right") - 1
    index[values == edges[-1]] = len(edges) - 2
    index[index >= len(edges) - 1] = -1
    return index.astype(np.int64)


def bin_sums(bins: Integers, column: Floats, n_bins: int) -> Floats:
    """Return the sum of a column in each bin, ``(n_bins,)``; negative bins are left out."""
    inside = bins >= 0
    sums = np.bincount(bins[inside], weights=column[inside], minlength=n_bins)
    return sums.astype(np.float64)


def weighted_quantiles(values: Floats, event_weight: Floats, shares: npt.ArrayLike) -> Floats:
    """Return the values below which the given shares of the sum of |event weight| lie.

    Args:
        values: Numbers.
        event_weight: Weights; their absolute value counts.
        shares: Shares in [0, 1].

    Shapes:
        values, event_weight: ``(n_events,)``; returns the shape of ``shares``.
    """
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(np.abs(event_weight[order]))
    wanted = np.asarray(shares) * cumulated[-1]
    index = np.minimum(np.searchsorted(cumulated, wanted), len(values) - 1)
    quantiles: Floats = values[order][index]
    return quantiles
