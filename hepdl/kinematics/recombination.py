"""Sequential recombination, compiled.

The generalised-kt family with nearest-neighbour lists, O(n²) in the number of constituents; with
a beam distance (inclusive jets of a radius) or without (everything becomes one tree).

Reference:
    M. Cacciari, G. P. Salam, G. Soyez, "The anti-kt jet clustering algorithm", arXiv:0802.1189;
    M. Cacciari, G. P. Salam, "Dispelling the N³ myth for the kt jet-finder", hep-ph/0512210,
    for why the closest pair is always a particle and its geometric nearest neighbour.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from hepdl.kinematics.merging import merge

__all__ = ["recombine_jets"]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Rapidity of a massless particle along the beam, and the largest anti-kt weight, as in FastJet
# (PseudoJet.hh, MaxRap; ClusterSequence.cc, jet_scale_for_algorithm).
_HUGE_RAPIDITY = 1e5
_LARGEST_WEIGHT = 1e300
# Marks a nearest neighbour that has to be searched again; -1 means "none within the radius".
_STALE = -2
# Rows of the working table.
_RAPIDITY, _PHI, _WEIGHT, _NEAREST2, _DISTANCE, _SCRATCH = 0, 1, 2, 3, 4, 5


@nb.njit(cache=True, error_model="numpy")
def _place(momenta: Array, node: int, power: int, table: Array, slot: int) -> None:
    """Write rapidity, azimuth and kt^(2 power) of a node into its slot of the working table."""
    px, py, pz, e = momenta[node, 0], momenta[node, 1], momenta[node, 2], momenta[node, 3]
    pt2 = px * px + py * py
    mt2 = pt2 + max((e + pz) * (e - pz) - pt2, 0.0)
    size = _HUGE_RAPIDITY + abs(pz)
    if mt2 > 0.0:
        size = -0.5 * np.log(mt2 / (e + abs(pz)) ** 2)
    table[_RAPIDITY, slot] = size if pz > 0.0 else -size
    table[_PHI, slot] = np.arctan2(py, px)
    weight = 1.0
    if power == 1:
        weight = pt2
    elif power == -1:
        weight = 1.0 / pt2 if pt2 > 1.0 / _LARGEST_WEIGHT else _LARGEST_WEIGHT
    table[_WEIGHT, slot] = weight


@nb.njit(cache=True, error_model="numpy")
def _separation2(table: Array, s: int, t: int) -> float:
    """Return ΔR² of two slots."""
    dphi = abs(table[_PHI, s] - table[_PHI, t])
    if dphi > np.pi:
        dphi = 2.0 * np.pi - dphi
    dy = table[_RAPIDITY, s] - table[_RAPIDITY, t]
    r2: float = dy * dy + dphi * dphi
    return r2


@nb.njit(cache=True, error_model="numpy")
def _search(table: Array, nearest: IntArray, ids: IntArray, m: int, t: int, radius2: float) -> None:
    """Find the nearest neighbour of slot ``t`` within the radius among all ``m`` slots."""
    y, phi = table[_RAPIDITY, t], table[_PHI, t]
    # All distances before the comparisons: this loop has no branches, so it runs on vectors.
    for s in range(m):
        dphi = abs(table[_PHI, s] - phi)
        dphi = min(dphi, abs(2.0 * np.pi - dphi))
        dy = table[_RAPIDITY, s] - y
        table[_SCRATCH, s] = dy * dy + dphi * dphi
    table[_SCRATCH, t] = np.inf
    best, found = radius2, -1
    for s in range(m):
        r2 = table[_SCRATCH, s]
        if r2 <= best and (r2 < best or (found >= 0 and ids[s] < ids[found])):
            best, found = r2, s
    nearest[t] = found
    table[_NEAREST2, t] = best


@nb.njit(cache=True, error_model="numpy")
def _weigh(table: Array, nearest: IntArray, t: int) -> None:
    """Write the distance of slot ``t`` to its nearest neighbour, or to the beam."""
    weight = table[_WEIGHT, t]
    if nearest[t] >= 0:
        weight = min(weight, table[_WEIGHT, nearest[t]])
    table[_DISTANCE, t] = table[_NEAREST2, t] * weight


@nb.njit(cache=True, error_model="numpy")
def _before(nearest: IntArray, ids: IntArray, s: int, t: int) -> bool:
    """Whether the pair of slot ``s`` comes before that of slot ``t`` in the order of nodes."""
    # A slot without neighbour stands for (itself, itself).
    s2 = ids[nearest[s]] if nearest[s] >= 0 else ids[s]
    t2 = ids[nearest[t]] if nearest[t] >= 0 else ids[t]
    low_s, low_t = min(ids[s], s2), min(ids[t], t2)
    high_s, high_t = max(ids[s], s2), max(ids[t], t2)
    return bool(low_s < low_t or (low_s == low_t and high_s < high_t))


@nb.njit(cache=True, error_model="numpy")
def _closest(table: Array, nearest: IntArray, ids: IntArray, m: int) -> int:
    """Return the slot of the smallest distance; ties go to the lowest node indices."""
    best, smallest = 0, table[_DISTANCE, 0]
    for t in range(1, m):
        distance = table[_DISTANCE, t]
        if distance <= smallest and (distance < smallest or _before(nearest, ids, t, best)):
            best, smallest = t, distance
    return best


@nb.njit(cache=True, error_model="numpy")
def _vacate(table: Array, nearest: IntArray, ids: IntArray, m: int, kept: int, hole: int) -> None:
    """Move the last slot into ``hole``; who pointed to ``kept`` or ``hole`` must search again."""
    last = m - 1
    for t in range(m):
        if nearest[t] == kept or nearest[t] == hole:
            nearest[t] = _STALE
        elif nearest[t] == last:
            nearest[t] = hole
    for row in range(len(table)):
        table[row, hole] = table[row, last]
    nearest[hole] = nearest[last]
    ids[hole] = ids[last]


@nb.njit(cache=True, error_model="numpy")
def _recombine(
    momenta: Array,
    children: IntArray,
    distances: Array,
    is_final: NDArray[np.bool_],
    power: int,
    radius2: float,
) -> None:
    """Cluster the constituents of one jet; see ``recombine_jets``.

    Args:
        momenta: The constituents in the first ``n`` rows; the merged nodes are written behind.
        children: Written for merged nodes.
        distances: Written for merged nodes: d_ij [GeV^(2 power)], divided by the radius squared.
        is_final: Set to True for nodes that end as a jet (all False at the start).
        power: 1 for kt, 0 for Cambridge/Aachen, -1 for anti-kt.
        radius2: Jet radius squared; infinite for one tree of all constituents.

    Shapes:
        momenta ``(2 n - 1, 4)``, children ``(2 n - 1, 2)``, others ``(2 n - 1,)``.
    """
    n = (len(momenta) + 1) // 2
    table = np.empty((6, n))
    nearest = np.empty(n, np.int64)
    ids = np.arange(n)
    for t in range(n):
        _place(momenta, t, power, table, t)
    for t in range(n):
        _search(table, nearest, ids, n, t, radius2)
    for t in range(n):
        _weigh(table, nearest, t)
    unit = radius2 if np.isfinite(radius2) else 1.0
    m, new = n, n
    while m > 0:
        i = _closest(table, nearest, ids, m)
        j = nearest[i]
        is_merged = j >= 0
        if is_merged:
            distances[new] = table[_DISTANCE, i] / unit
            i, j = min(i, j), max(i, j)
            merge(momenta, children, ids[i], ids[j], new)
        else:
            is_final[ids[i]] = True
            j = i
        _vacate(table, nearest, ids, m, i, j)
        m -= 1
        if is_merged:
            _place(momenta, new, power, table, i)
            nearest[i] = _STALE
            ids[i] = new
            new += 1
        for t in range(m):
            if nearest[t] == _STALE:
                _search(table, nearest, ids, m, t, radius2)
                _weigh(table, nearest, t)
            elif is_merged:
                # The new node has the highest index, so at equal distance the old one stays.
                r2 = _separation2(table, i, t)
                if r2 < table[_NEAREST2, t]:
                    table[_NEAREST2, t] = r2
                    nearest[t] = i
                    _weigh(table, nearest, t)


@nb.njit(cache=True, parallel=True)
def recombine_jets(
    node_offsets: IntArray,
    momenta: Array,
    children: IntArray,
    distances: Array,
    is_final: NDArray[np.bool_],
    power: int,
    radius2: float,
) -> None:
    """Cluster each jet in place.

    Args:
        node_offsets: First of the 2 n - 1 rows of each jet, and the number of rows at the end.
        momenta: The n constituents in the first rows of each jet [GeV]; merged nodes are written
            behind. With a finite radius the last rows may stay unused.
        children: All -1 at the start.
        distances: All 0 at the start.
        is_final: All False at the start; becomes True for nodes that end as a jet.
        power: 1 for kt, 0 for Cambridge/Aachen, -1 for anti-kt.
        radius2: Jet radius squared; infinite for one tree of all constituents.

    Shapes:
        node_offsets ``(n_jets + 1,)``, momenta ``(n_nodes, 4)``, children ``(n_nodes, 2)``,
        others ``(n_nodes,)``.
    """
    for jet in nb.prange(len(node_offsets) - 1):
        start, stop = node_offsets[jet], node_offsets[jet + 1]
        _recombine(
            momenta[start:stop],
            children[start:stop],
            distances[start:stop],
            is_final[start:stop],
            power,
            radius2,
        )
