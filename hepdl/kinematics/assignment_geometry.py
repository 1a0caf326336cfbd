"""Masses and distances in assignments, in one loop that writes no momenta out.

All momenta of all assignments of ttH are some 70 kB an event; a loop over assignments that keeps
those of one at a time is an order of magnitude faster than arrays of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numba as nb
import numpy as np
from numpy.typing import NDArray

from hepdl.kinematics.assignments import Assignments, joined_slots

__all__ = ["masses_and_distances"]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


def masses_and_distances(
    assignments: Assignments,
    momenta: Mapping[str, Array],
    *,
    masses: Sequence[Sequence[str]],
    distances: Sequence[tuple[str, str]],
    chosen: IntArray | None = None,
) -> tuple[Array, Array]:
    """Return invariant masses of sums of nodes [GeV], and ΔR of pairs of nodes.

    A node is a leaf or a particle of the decay. ΔR of a node without transverse momentum is NaN.

    Args:
        assignments: The assignments.
        momenta: Four-vectors of each collection, padded [GeV].
        masses: Of each mass the nodes that are added.
        distances: The two nodes of each distance.
        chosen: Which assignments of each event (see ``k_best``); without it, all.

    Shapes:
        momenta ``(n_events, n_members, 4)`` each, chosen ``(n_events, n_chosen)`` →
        ``(n_masses, n_events, n_chosen)`` and ``(n_distances, n_events, n_chosen)``; NaN where
        there is no assignment.
    """
    decay = assignments.decay
    chosen = assignments.rows(chosen)
    n_leaves = len(decay.leaves)
    leaves_of = np.concatenate([np.eye(n_leaves), decay.membership.astype(np.float64)])
    place = {name: node for node, name in enumerate(decay.names)}
    sums = np.zeros((len(masses), n_leaves))
    for i, nodes in enumerate(masses):
        for name in nodes:
            sums[i] += leaves_of[place[name]]
    names = list(dict.fromkeys(name for pair in distances for name in pair))
    pairs = np.array([[names.index(name) for name in pair] for pair in distances], dtype=np.int64)
    p4, slots = joined_slots(assignments, momenta)
    found_masses = np.full((len(masses), *chosen.shape), np.nan)
    found_distances = np.full((len(distances), *chosen.shape), np.nan)
    _fill(
        p4,
        slots,
        assignments.table,
        chosen,
        sums,
        leaves_of[[place[name] for name in names]].reshape(len(names), n_leaves),
        pairs.reshape(-1, 2),
        found_masses,
        found_distances,
    )
    return found_masses, found_distances


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _fill(
    p4: Array,
    slots: IntArray,
    table: IntArray,
    chosen: IntArray,
    sums: Array,
    nodes: Array,
    pairs: IntArray,
    masses: Array,
    distances: Array,
) -> None:
    """Fill masses and distances of assignments that are there; see ``masses_and_distances``."""
    n_leaves = table.shape[1]
    for n in range(len(chosen)):
        leaves = np.empty((n_leaves, 4))
        eta, phi = np.empty(len(nodes)), np.empty(len(nodes))
        for k in range(chosen.shape[1]):
            row = chosen[n, k]
            if row < 0:
                continue
            for leaf in range(n_leaves):
                member = slots[n, leaf, table[row, leaf]]
                for c in range(4):
                    leaves[leaf, c] = p4[n, member, c]
            for m in range(len(sums)):
                px, py, pz, e = _sum(leaves, sums[m])
                mass2 = (e + pz) * (e - pz) - px * px - py * py
                masses[m, n, k] = np.sqrt(max(mass2, 0.0))
            for node in range(len(nodes)):
                px, py, pz, _ = _sum(leaves, nodes[node])
                eta[node] = np.arcsinh(pz / np.hypot(px, py))
                phi[node] = np.arctan2(py, px)
            for d in range(len(pairs)):
                one, other = pairs[d]
                across = phi[one] - phi[other]
                across -= 2.0 * np.pi * np.rint(across / (2.0 * np.pi))
                distances[d, n, k] = np.hypot(eta[one] - eta[other], across)


@nb.njit(cache=True)
def _sum(leaves: Array, share: Array) -> tuple[float, float, float, float]:
    """Return the sum of the leaves, each as often as ``share`` says."""
    px, py, pz, e = 0.0, 0.0, 0.0, 0.0
    for leaf in range(len(leaves)):
        if share[leaf] != 0.0:
            px += share[leaf] * leaves[leaf, 0]
            py += share[leaf] * leaves[leaf, 1]
            pz += share[leaf] * leaves[leaf, 2]
            e += share[leaf] * leaves[leaf, 3]
    return px, py, pz, e
