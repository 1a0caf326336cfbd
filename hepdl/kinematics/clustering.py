"""Clustering histories: the binary tree in which the constituents of each jet merge.

Every constituent of a jet ends in one tree, as with a jet radius large enough to take all of
them. Topologies:

- ``kt``, ``cambridge_aachen``, ``anti_kt``: sequential recombination in the E-scheme (momenta
  are added) with d_ij = min(kt_i^2p, kt_j^2p) ΔR_ij², p = 1, 0, -1; ΔR in rapidity and azimuth.
- ``random``: again and again two of the remaining nodes, each pair as likely as any other.
- ``ascending_pt``: a chain that starts with the two constituents of *largest* pT and takes in the
  others in falling order, so that pT *ascends* on the way from the root down and the softest
  constituent hangs at the root.
- ``descending_pt``: a chain that starts with the two *softest* and takes in the others in rising
  order, so that pT *descends* on the way from the root down and the hardest hangs at the root.

The two chains are called as in the paper's code (the list is sorted, then merged from its end).

Reference:
    G. Louppe, K. Cho, C. Becot, K. Cranmer, "QCD-aware recursive neural networks for jet
    physics", arXiv:1702.00748; M. Cacciari, G. P. Salam, G. Soyez, "The anti-kt jet clustering
    algorithm", arXiv:0802.1189.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.kinematics.merging import merge_at_random, merge_in_order, random_states
from hepdl.kinematics.recombination import recombine_jets

__all__ = ["TOPOLOGIES", "ClusteringHistory", "checked", "cluster", "unclustered"]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

TOPOLOGIES = (
    "kt",
    "cambridge_aachen",
    "anti_kt",
    "random",
    "ascending_pt",
    "descending_pt",
)
# The exponent p of the generalised kt family.
_POWERS = {"kt": 1, "cambridge_aachen": 0, "anti_kt": -1}


@dataclass(frozen=True)
class ClusteringHistory:
    """How the constituents of each jet merge, one pair at a time.

    A jet of n constituents has 2n - 1 nodes: its constituents in the order of the input, then the
    merged nodes in the order in which they are made; the last one is the root.

    Attributes:
        momenta: Four-momentum of each node [GeV], ``(n_nodes, 4)``.
        children: The two nodes that merged, counted within the jet, the one of larger pT first;
            -1 for constituents; ``(n_nodes, 2)`` int64.
        distances: d_ij at which the node was made [GeV^2p], ``(n_nodes,)``; 0 for constituents
            and for the topologies without a distance.
        offsets: First node of each jet, ``(n_jets + 1,)`` int64.
    """

    momenta: Array
    children: IntArray
    distances: Array
    offsets: IntArray

    def __len__(self) -> int:
        return len(self.offsets) - 1


def cluster(
    p4: Array,
    offsets: IntArray,
    *,
    topology: str,
    seed: int = 0,
    keys: IntArray | None = None,
) -> ClusteringHistory:
    """Return the clustering history of each jet.

    Args:
        p4: Constituents of all jets [GeV].
        offsets: First constituent of each jet, and their number at the end.
        topology: A name of ``TOPOLOGIES``.
        seed: For the random topology.
        keys: A number for each jet, e.g. its event number. With the seed it fixes the random
            tree, whatever the other jets and the number of threads; default is the position.

    Shapes:
        p4 ``(n_constituents, 4)``, offsets ``(n_jets + 1,)``, keys ``(n_jets,)``.

    Raises:
        ConfigError: for an unknown topology.
        DataError: for a jet without constituents, a momentum that is not finite, or an energy
            that is not positive; it names the jet and the constituent.

    >>> p4 = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 2.0, 0.0, 2.0], [0.0, 3.0, 0.1, 3.1]])
    >>> cluster(p4, np.array([0, 3]), topology="kt").children.tolist()
    [[-1, -1], [-1, -1], [-1, -1], [2, 1], [3, 0]]
    """
    if topology not in TOPOLOGIES:
        message = unknown_name("topology", topology, TOPOLOGIES, where="topology")
        raise ConfigError(message)
    p4, offsets = checked(p4, offsets)
    history, leaves = unclustered(p4, offsets)
    if topology in _POWERS:
        is_final = np.zeros(len(history.momenta), dtype=np.bool_)
        recombine_jets(
            history.offsets,
            history.momenta,
            history.children,
            history.distances,
            is_final,
            _POWERS[topology],
            np.inf,
        )
    elif topology == "random":
        states = random_states(np.uint64(seed % 2**64), _key_bits(keys, len(history)))
        merge_at_random(history.offsets, history.momenta, history.children, states)
    else:
        order = np.full(len(history.momenta), -1, dtype=np.int64)
        order[leaves] = _sorted_by_pt(p4, offsets, topology)
        merge_in_order(history.offsets, history.momenta, history.children, order)
    return history


def unclustered(p4: Array, offsets: IntArray) -> tuple[ClusteringHistory, IntArray]:
    """Return a history that holds the constituents and room for the merged nodes.

    Args:
        p4: Constituents of all jets [GeV].
        offsets: First constituent of each jet, and their number at the end.

    Shapes:
        p4 ``(n_constituents, 4)``, offsets ``(n_jets + 1,)`` → the history, and the row of each
        constituent in it, ``(n_constituents,)``.
    """
    jets = np.arange(len(offsets))
    node_offsets = 2 * offsets - jets
    n_nodes = int(node_offsets[-1])
    # Every jet before adds its n - 1 merged nodes.
    leaves = np.arange(len(p4)) + np.repeat((offsets - jets)[:-1], np.diff(offsets))
    momenta = np.empty((n_nodes, 4))
    momenta[leaves] = p4
    children = np.full((n_nodes, 2), -1, dtype=np.int64)
    return ClusteringHistory(momenta, children, np.zeros(n_nodes), node_offsets), leaves


def checked(p4: Array, offsets: IntArray) -> tuple[Array, IntArray]:
    """Return contiguous float64 constituents and int64 offsets, or say which jet is unusable.

    Shapes:
        p4 ``(n_constituents, 4)``, offsets ``(n_jets + 1,)``.

    Raises:
        DataError: see ``cluster``.
    """
    p4 = np.ascontiguousarray(p4, dtype=np.float64)
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    if p4.ndim != 2 or p4.shape[1] != 4:
        message = f"constituents have shape {p4.shape}; needed is (n, 4): px, py, pz, energy"
        raise DataError(message)
    if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != len(p4):
        message = f"offsets must begin with 0 and end with the number of constituents, {len(p4)}"
        raise DataError(message)
    counts = np.diff(offsets)
    if (counts <= 0).any():
        jet = int(np.argmax(counts <= 0))
        message = f"jet {jet} has no constituents; select jets with at least one before clustering"
        raise DataError(message)
    good = np.isfinite(p4).all(axis=1) & (p4[:, 3] > 0.0)
    if not good.all():
        row = int(np.argmin(good))
        jet = int(np.searchsorted(offsets, row, side="right")) - 1
        values = ", ".join(f"{value:g}" for value in p4[row])
        message = (
            f"jet {jet}, constituent {row - offsets[jet]}: px, py, pz, energy = {values} [GeV]; "
            "all must be finite and the energy positive; drop such constituents or mend the file"
        )
        raise DataError(message)
    return p4, offsets


def _sorted_by_pt(p4: Array, offsets: IntArray, topology: str) -> IntArray:
    """Return each jet's constituents, counted within it, by pT; equal ones keep their order."""
    pt2 = p4[:, 0] ** 2 + p4[:, 1] ** 2
    jet = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    rows = np.lexsort((pt2 if topology == "ascending_pt" else -pt2, jet))
    return rows - offsets[jet]


def _key_bits(keys: IntArray | None, n_jets: int) -> NDArray[np.uint64]:
    """Return the key of each jet as 64 bits; its position if there are no keys."""
    if keys is None:
        keys = np.arange(n_jets, dtype=np.int64)
    keys = np.ascontiguousarray(keys, dtype=np.int64)
    if keys.shape != (n_jets,):
        message = f"keys have shape {keys.shape}; needed is one for each jet, ({n_jets},)"
        raise DataError(message)
    return keys.view(np.uint64)
