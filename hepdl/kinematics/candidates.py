"""Which objects of an event may be which leaf: the hardest, or those of highest b-tag."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["hardest_members"]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]


def hardest_members(pt: Array, is_chosen: Mask, n: int) -> IntArray:
    """Return the places of the ``n`` chosen objects of largest pT, -1 behind the last one.

    Shapes:
        pt [GeV], is_chosen ``(n_events, n_objects)`` → ``(n_events, n)``.

    >>> hardest_members(np.array([[90.0, 70.0, 80.0]]), np.array([[True, False, True]]), 3)
    array([[ 0,  2, -1]])
    """
    order = np.argsort(np.where(is_chosen, -pt, np.inf), axis=1, kind="stable")[:, :n]
    is_there = np.take_along_axis(is_chosen, order, axis=1)
    members = np.full((len(pt), n), -1, dtype=np.int64)
    members[:, : order.shape[1]] = np.where(is_there, order, -1)
    return members
