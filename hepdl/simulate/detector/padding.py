"""From values one after the other to one row an event, padded."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["pad_rows"]

Scalar = TypeVar("Scalar", bound=np.generic)


def pad_rows(
    values: npt.NDArray[Scalar],
    event: npt.NDArray[np.int64],
    n_events: int,
    *,
    fill: float,
    width: int | None = None,
) -> npt.NDArray[Scalar]:
    """Return the values of each event as a row, filled up on the right.

    Args:
        values: One an object, or one vector an object.
        event: Row of each value, not falling.
        n_events: Number of rows.
        fill: Goes where there is no object.
        width: Number of columns; objects beyond are dropped. Without it, as many as needed.

    Shapes:
        ``(n, …)`` → ``(n_events, width, …)``.

    >>> pad_rows(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 2]), 3, fill=0.0)
    array([[1., 2.],
           [0., 0.],
           [3., 0.]])
    """
    counts = np.bincount(event, minlength=n_events)
    place = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts)
    if width is None:
        width = int(counts.max(initial=0))
    rows = np.full((n_events, width, *values.shape[1:]), fill, dtype=values.dtype)
    kept = place < width
    rows[event[kept], place[kept]] = values[kept]
    return rows
