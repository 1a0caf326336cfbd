"""Which jets of an event count as b-jets, when the tagger gives bins rather than an answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["highest_tags", "order_by_tag"]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]


def order_by_tag(b_tag: NDArray[np.number], pt: Array, mask: Mask) -> IntArray:
    """Return the jets of each event by falling tag; of equal tags the one of larger pT comes first.

    Shapes:
        b_tag, pt [GeV], mask ``(n_events, n_jets)`` → ``(n_events, n_jets)``; jets that are not
        real come last.
    """
    keys = (-np.asarray(pt), -np.asarray(b_tag, dtype=np.float64), ~mask)
    return np.lexsort(keys, axis=1).astype(np.int64)


def highest_tags(b_tag: NDArray[np.number], pt: Array, mask: Mask, *, n: int = 4) -> Mask:
    """Return True for the ``n`` jets of highest tag, or for all where there are fewer.

    This is what ATLAS calls Sort4: an event is worked on as if it had four b-jets, however many
    pass a working point.

    Shapes:
        b_tag, pt [GeV], mask ``(n_events, n_jets)`` → ``(n_events, n_jets)``.

    >>> tags, pt = np.array([[0, 4, 4, 2]]), np.array([[90.0, 70.0, 50.0, 40.0]])
    >>> highest_tags(tags, pt, np.ones((1, 4), dtype=bool), n=2)
    array([[False,  True,  True, False]])
    """
    order = order_by_tag(b_tag, pt, mask)
    chosen = np.zeros(mask.shape, dtype=bool)
    np.put_along_axis(chosen, order[:, :n], values=True, axis=1)
    return chosen & mask
