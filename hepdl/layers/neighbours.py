"""Nearest neighbours of the particles of many jets at once, and how jagged jets are laid out for it.

Distances need a rectangular layout, so positions are filled up to the largest jet; everything else
stays in one row a real particle, so that padding costs no arithmetic and enters no normalisation.

Reference:
    Y. Wang et al., "Dynamic graph CNN for learning on point clouds", ACM Trans. Graph. 38 (2019)
    146, arXiv:1801.07829: neighbours found anew in the features of each layer.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hepdl.kinematics.neighbours import nearest_in_jets

__all__ = ["Neighbourhood", "arrange_neighbourhood", "nearest_neighbours", "padded_rows"]


# Up to so many coordinates differences are squared and added; a matrix product is faster beyond.
_FEW = 3
# Makes equal distances different, also those of 0; both vanish beside the digits of float32.
_TINY, _SHARE = 1e-30, 2.0**-40


class Neighbourhood(NamedTuple):
    """Where the particles of each jet stand, and which of the places for neighbours are taken.

    Attributes:
        rows: Row of each particle of each jet, ``(n_events, n_max)``; 0 where there is none.
        is_real: True where there is a particle, ``(n_events, n_max)``.
        places: Where each row stands in ``rows``, counted through, ``(n_rows,)``.
        slots: Places in ``(n_rows, k)``, counted through, that hold a neighbour, ``(n_edges,)``:
            a particle of a jet of n has the min(k, n - 1) nearest of the others.
        targets: Row of the particle whose neighbour that is, ``(n_edges,)``, never falling.
    """

    rows: Tensor
    is_real: Tensor
    places: Tensor
    slots: Tensor
    targets: Tensor


def padded_rows(offsets: Tensor, n_max: int) -> tuple[Tensor, Tensor]:
    """Return the row of each particle of each jet in a rectangle, and where there is one.

    Args:
        offsets: First row of each jet, and the number of rows at the end.
        n_max: Width of the rectangle, at least the size of the largest jet.

    Shapes:
        offsets ``(n_events + 1,)`` → two of ``(n_events, n_max)``.

    >>> rows, is_real = padded_rows(torch.tensor([0, 2, 3]), 3)
    >>> rows.tolist(), is_real.tolist()
    ([[0, 1, 0], [2, 0, 0]], [[True, True, False], [True, False, False]])
    """
    position = torch.arange(n_max, device=offsets.device)
    is_real = position < offsets.diff()[:, None]
    return torch.where(is_real, offsets[:-1, None] + position, 0), is_real


def arrange_neighbourhood(
    offsets: Tensor,
    host_offsets: npt.NDArray[np.int64],
    *,
    n_neighbours: int,
    n_max: int | None = None,
) -> Neighbourhood:
    """Lay out the particles of jets for ``nearest_neighbours``.

    Args:
        offsets: First row of each jet, and the number of rows at the end.
        host_offsets: The same numbers on the host, so that no device has to be waited for.
        n_neighbours: At most so many neighbours a particle.
        n_max: Width of the layout; by default the size of the largest jet. No result depends on it.

    Shapes:
        offsets ``(n_events + 1,)``.
    """
    host_counts = np.diff(host_offsets)
    width = int(host_counts.max(initial=0)) if n_max is None else n_max
    k = max(0, min(n_neighbours, width - 1))
    # Repeats on the device do not wait for it when the number of results is known.
    n_rows = int(host_offsets[-1] - host_offsets[0])
    n_edges = int((host_counts * np.clip(host_counts - 1, 0, k)).sum())
    counts = offsets.diff()
    row = torch.arange(n_rows, device=offsets.device)
    jet = torch.repeat_interleave(
        torch.arange(len(counts), device=offsets.device), counts, output_size=n_rows
    )
    degree = (counts - 1).clamp(0, k)[jet]
    targets = torch.repeat_interleave(row, degree, output_size=n_edges)
    first_edge = degree.cumsum(0) - degree
    rank = torch.arange(n_edges, device=offsets.device) - first_edge[targets]
    rows, is_real = padded_rows(offsets, width)
    places = row - offsets[jet] + jet * width
    return Neighbourhood(rows, is_real, places, targets * k + rank, targets)


def nearest_neighbours(
    points: Tensor, neighbourhood: Neighbourhood, *, n_neighbours: int
) -> Tensor:
    """Return the edges from the nearest neighbours of each particle to it, nearest first.

    Only particles of the same jet are neighbours, none is its own, and of two at the same distance
    the earlier one is nearer (the harder one, where particles are ordered by pT). Distances are
    Euclidean and do not depend on the rest of the minibatch, nor on how a matrix product is cut.

    Args:
        points: Coordinates of each particle.
        neighbourhood: The layout, made with the same ``n_neighbours``.
        n_neighbours: At most so many neighbours a particle.

    Shapes:
        points ``(n_rows, n_coordinates)`` → ``(2, n_edges)``: row of the neighbour, row of the
        particle.
    """
    is_real, targets = neighbourhood.is_real, neighbourhood.targets
    captured = torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
    if points.device.type == "cpu" and not captured:
        # Several times as fast as the operations below, which are there for all other devices and
        # for whoever takes the network out of Python.
        counts = is_real.sum(1).numpy()
        offsets = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts)))
        found = nearest_in_jets(points.detach().float().numpy(), offsets, n_neighbours)
        return torch.stack((torch.from_numpy(found), targets))
    return torch.stack((_search(points, neighbourhood, n_neighbours=n_neighbours), targets))


def _search(points: Tensor, neighbourhood: Neighbourhood, *, n_neighbours: int) -> Tensor:
    """Return the row of the neighbour of each edge, all jets at once."""
    rows, is_real, places, slots, _ = neighbourhood
    width = rows.shape[1]
    with torch.no_grad():
        distances = _squared_distances(points.detach().double()[rows])
        itself = torch.eye(width, dtype=torch.bool, device=rows.device)
        distances = distances.masked_fill_(itself | ~is_real[:, None, :], torch.inf)
        distances = distances.flatten(0, 1)[places]
        # `topk` does as it likes with equal values, so there must be none: later positions are
        # farther by a share that is smaller than the digits of float32.
        position = torch.arange(width, dtype=torch.float64, device=rows.device)
        distances = (distances + _TINY).mul_(1.0 + _SHARE * position)
        k = max(0, min(n_neighbours, width - 1))
        nearest = distances.topk(k, dim=1, largest=False).indices
        first = torch.arange(len(places), device=rows.device) - places % max(width, 1)
        return (first[:, None] + nearest).flatten()[slots]


def _squared_distances(padded: Tensor) -> Tensor:
    """Return the squared distances ``(n, m, m)`` of points ``(n, m, n_coordinates)`` in float64."""
    if padded.shape[2] <= _FEW:
        # Towers lie on a grid, where equal distances must come out equal.
        columns = padded.unbind(2)
        squared = [(column[:, :, None] - column[:, None, :]).square_() for column in columns]
        return reduce(torch.add, squared)
    squares = padded.square().sum(2)
    sums = squares[:, :, None] + squares[:, None, :]
    return torch.baddbmm(sums, padded, padded.transpose(1, 2), alpha=-2.0).clamp_(min=0.0)
