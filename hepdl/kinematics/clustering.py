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
    physics", arXiv:1702.00748; generalised kt: M. Cacciari, G. P. Salam, G. Soyez,
    arXiv:0802.1189; random numbers: G. L. Steele, D. Lea, C. H. Flood, "Fast splittable
    pseudorandom number generators", OOPSLA 2014 (SplitMix64).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.kinematics.recombination import merge, recombine

__all__ = ["TOPOLOGIES", "ClusteringHistory", "checked", "cluster"]

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
# Which loop the compiled code runs.
_RECOMBINE, _RANDOM, _CHAIN = 0, 1, 2
# SplitMix64: increment (the golden ratio) and the two multipliers of its output function.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)


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
    n_jets = len(offsets) - 1
    node_offsets = 2 * offsets - np.arange(n_jets + 1)
    n_nodes = int(node_offsets[-1])
    momenta = np.empty((n_nodes, 4))
    children = np.full((n_nodes, 2), -1, dtype=np.int64)
    distances = np.zeros(n_nodes)
    loop = _RECOMBINE if topology in _POWERS else _RANDOM if topology == "random" else _CHAIN
    _cluster_jets(
        p4,
        offsets,
        loop,
        _POWERS.get(topology, 0),
        _sorted_by_pt(p4, offsets, topology) if loop == _CHAIN else np.empty(0, np.int64),
        _random_states(seed, keys, n_jets) if loop == _RANDOM else np.empty(0, np.uint64),
        momenta,
        children,
        distances,
    )
    return ClusteringHistory(momenta, children, distances, node_offsets)


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
    """Return the rows of each jet's constituents sorted by pT; equal ones keep their order."""
    pt2 = p4[:, 0] ** 2 + p4[:, 1] ** 2
    jet = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return np.lexsort((pt2 if topology == "ascending_pt" else -pt2, jet))


def _random_states(seed: int, keys: IntArray | None, n_jets: int) -> NDArray[np.uint64]:
    """Return the first state of each jet's random numbers, from the seed and the jet's key."""
    if keys is None:
        keys = np.arange(n_jets, dtype=np.int64)
    keys = np.ascontiguousarray(keys, dtype=np.int64)
    if keys.shape != (n_jets,):
        message = f"keys have shape {keys.shape}; needed is one for each jet, ({n_jets},)"
        raise DataError(message)
    # Mixed twice, so that (seed, key) and (seed + 1, key - 1) have nothing in common.
    start = _mixed(np.array([seed % 2**64], dtype=np.uint64))
    return _mixed(start ^ _mixed(keys.view(np.uint64) + _GOLDEN))


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's output for each state."""
    state = (state ^ (state >> np.uint64(30))) * _MIX_A
    state = (state ^ (state >> np.uint64(27))) * _MIX_B
    return state ^ (state >> np.uint64(31))


@nb.njit(cache=True)
def _draw(state: np.uint64, n: int) -> int:
    """Return a number in 0 … n - 1 from a SplitMix64 state."""
    z = (state ^ (state >> np.uint64(30))) * _MIX_A
    z = (z ^ (z >> np.uint64(27))) * _MIX_B
    z = z ^ (z >> np.uint64(31))
    # The upper 53 bits, the precision of a double: uneven by less than n / 2^53.
    return int(np.float64(z >> np.uint64(11)) * 2.0**-53 * n)


@nb.njit(cache=True)
def _merge_at_random(momenta: Array, children: IntArray, n: int, state: np.uint64) -> None:
    """Merge two of the remaining nodes, all pairs alike, until one is left."""
    pool = np.arange(n)
    for new in range(n, 2 * n - 1):
        m = 2 * n - new
        state += _GOLDEN
        i = _draw(state, m)
        a = pool[i]
        pool[i] = pool[m - 1]
        state += _GOLDEN
        j = _draw(state, m - 1)
        merge(momenta, children, a, pool[j], new)
        pool[j] = new


@nb.njit(cache=True)
def _merge_in_order(momenta: Array, children: IntArray, order: IntArray) -> None:
    """Merge the last two of a sorted list, then the sum with the one before, and so on."""
    n = len(order)
    node = order[n - 1]
    for k in range(n - 1):
        merge(momenta, children, order[n - 2 - k], node, n + k)
        node = n + k


@nb.njit(cache=True, parallel=True)
def _cluster_jets(
    p4: Array,
    offsets: IntArray,
    loop: int,
    power: int,
    order: IntArray,
    states: NDArray[np.uint64],
    momenta: Array,
    children: IntArray,
    distances: Array,
) -> None:
    """Cluster all jets, a thread each; ``order`` for chains, ``states`` for random trees."""
    for jet in nb.prange(len(offsets) - 1):
        first, last = offsets[jet], offsets[jet + 1]
        n = last - first
        start, stop = 2 * first - jet, 2 * last - jet - 1
        nodes = momenta[start:stop]
        nodes[:n] = p4[first:last]
        if loop == _RECOMBINE:
            is_final = np.zeros(2 * n - 1, np.bool_)
            recombine(
                nodes, children[start:stop], distances[start:stop], is_final, n, power, np.inf
            )
        elif loop == _RANDOM:
            _merge_at_random(nodes, children[start:stop], n, states[jet])
        else:
            _merge_in_order(nodes, children[start:stop], order[first:last] - first)
