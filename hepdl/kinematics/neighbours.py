"""Nearest neighbours within each jet, in any number of coordinates."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = ["nearest_in_jets"]

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


def nearest_in_jets(points: FloatArray, offsets: IntArray, n_neighbours: int) -> IntArray:
    """Return the nearest others of each particle of each jet, nearest first.

    A particle of a jet of n has the min(``n_neighbours``, n - 1) nearest of the others; of two at
    the same distance the earlier one comes first.

    Args:
        points: Coordinates of the particles of all jets.
        offsets: First particle of each jet, and their number at the end.
        n_neighbours: At most so many neighbours a particle.

    Shapes:
        points ``(n_particles, n_coordinates)``, offsets ``(n_jets + 1,)`` → rows ``(n_edges,)``,
        those of the first particle first.
    """
    counts = np.diff(offsets)
    n_edges = int((counts * np.clip(counts - 1, 0, n_neighbours)).sum())
    found = np.empty(n_edges, dtype=np.int64)
    _search(np.ascontiguousarray(points), offsets, n_neighbours, found)
    return found


# Sums of squares may be added up in any order, so that they fill vector registers; the order is the
# same for every pair, and so is what comes out for equal distances on a grid.
@nb.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _squared_distance(points: FloatArray, a: int, b: int) -> np.float32:
    total = np.float32(0.0)
    for column in range(points.shape[1]):
        difference = points[a, column] - points[b, column]
        total += difference * difference
    return total


@nb.njit(cache=True, nogil=True)
def _search(points: FloatArray, offsets: IntArray, n_neighbours: int, found: IntArray) -> None:
    largest = 0
    for jet in range(len(offsets) - 1):
        largest = max(largest, offsets[jet + 1] - offsets[jet])
    distances = np.empty((largest, largest), dtype=np.float32)
    near = np.empty(n_neighbours, dtype=np.float32)
    edge = 0
    for jet in range(len(offsets) - 1):
        first = offsets[jet]
        n = offsets[jet + 1] - first
        wanted = min(n_neighbours, n - 1)
        for a in range(n):
            for b in range(a):
                distance = _squared_distance(points, first + a, first + b)
                distances[a, b] = distance
                distances[b, a] = distance
        for a in range(n):
            n_near = 0
            for b in range(n):
                if b == a:
                    continue
                distance = distances[a, b]
                if n_near == wanted and not distance < near[wanted - 1]:
                    continue
                n_near = min(n_near + 1, wanted)
                place = n_near - 1
                while place > 0 and near[place - 1] > distance:
                    near[place] = near[place - 1]
                    found[edge + place] = found[edge + place - 1]
                    place -= 1
                near[place] = distance
                found[edge + place] = first + b
            edge += max(wanted, 0)
