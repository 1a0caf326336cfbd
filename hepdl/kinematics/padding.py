"""Jagged rows as padded arrays with a mask: what the functions on whole events work on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["pad"]


def pad(rows: NDArray[Any], offsets: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the rows of each event side by side, and which of them are real.

    The length is that of the longest event, so that nothing is cut off; behind the last row of an
    event stand zeros.

    Args:
        rows: One row per object, those of one event together.
        offsets: First row of each event, and the number of rows at the end.

    Shapes:
        rows ``(n_rows, …)``, offsets ``(n_events + 1,)`` → padded ``(n_events, n_objects, …)``,
        mask ``(n_events, n_objects)``.

    >>> values, mask = pad(np.array([5.0, 4.0, 7.0]), np.array([0, 2, 2, 3]))
    >>> values.tolist(), mask.sum(axis=1).tolist()
    ([[5.0, 4.0], [0.0, 0.0], [7.0, 0.0]], [2, 0, 1])
    """
    counts = np.diff(offsets)
    length = int(counts.max(initial=0))
    mask = np.arange(length) < counts[:, None]
    padded = np.zeros((len(counts), length, *rows.shape[1:]), dtype=rows.dtype)
    padded[mask] = rows
    return padded, mask
