"""Jet trees for recursive networks: breadth-first layout and features of the nodes.

Reference:
    G. Louppe, K. Cho, C. Becot, K. Cranmer, "QCD-aware recursive neural networks for jet
    physics", arXiv:1702.00748, for the seven features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from hepdl.kinematics import fourvectors
from hepdl.kinematics.clustering import ClusteringHistory, checked, cluster
from hepdl.kinematics.preprocessing import standardise

__all__ = ["NODE_FEATURES", "TreeLayout", "breadth_first", "build", "node_features"]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

NODE_FEATURES = ("momentum", "eta", "phi", "energy", "energy_fraction", "pt", "theta")
# Jets that are built at a time: the working arrays of a node take 250 bytes, so that some tens of
# megabytes suffice for any number of jets.
_JETS_AT_A_TIME = 4096


@dataclass(frozen=True)
class TreeLayout:
    """The nodes of each jet's tree in breadth-first order, siblings side by side.

    Within a jet the root comes first and each level follows the one above it: the children of the
    k-th inner node of a level are the nodes 2k and 2k + 1 of the next level.

    Attributes:
        node: Row of the history that stands at this place, ``(n_nodes,)`` int64.
        depth: Distance from the root, ``(n_nodes,)`` int64.
        is_inner: True for nodes with two children, ``(n_nodes,)``.
        offsets: First node of each jet, ``(n_jets + 1,)`` int64.
    """

    node: IntArray
    depth: IntArray
    is_inner: NDArray[np.bool_]
    offsets: IntArray


def breadth_first(history: ClusteringHistory) -> TreeLayout:
    """Return the nodes of each tree level by level, children in the order of their parents."""
    n_nodes = len(history.children)
    node = np.empty(n_nodes, dtype=np.int64)
    depth = np.empty(n_nodes, dtype=np.int64)
    is_inner = np.empty(n_nodes, dtype=np.bool_)
    _lay_out(history.children, history.offsets, node, depth, is_inner)
    return TreeLayout(node, depth, is_inner, history.offsets)


def node_features(momenta: Array, offsets: IntArray, *, root_energy: Array) -> Array:
    """Return the features ``NODE_FEATURES`` of each node.

    They are |p| [GeV], η, φ [rad], E [GeV], E / E of the root, pT [GeV] and
    θ = 2 arctan(exp(-η)) [rad]. What is not finite (η of a node along the beam, say) becomes 0.

    Args:
        momenta: Four-momenta of the nodes [GeV], in any order within a jet.
        offsets: First node of each jet, and their number at the end.
        root_energy: Energy of the root of each jet [GeV].

    Shapes:
        momenta ``(n_nodes, 4)``, offsets ``(n_jets + 1,)``, root_energy ``(n_jets,)`` →
        ``(n_nodes, 7)``.
    """
    eta = fourvectors.eta(momenta)
    features = np.empty((len(momenta), len(NODE_FEATURES)))
    features[:, 0] = fourvectors.momentum(momenta)
    features[:, 1] = eta
    features[:, 2] = fourvectors.phi(momenta)
    features[:, 3] = momenta[:, 3]
    features[:, 4] = momenta[:, 3] / np.repeat(root_energy, np.diff(offsets))
    features[:, 5] = fourvectors.pt(momenta)
    with np.errstate(over="ignore"):
        features[:, 6] = 2.0 * np.arctan(np.exp(-eta))
    for column in (1, 5, 6):
        values = features[:, column]
        values[~np.isfinite(values)] = 0.0
    return features


def build(
    p4: Array,
    offsets: IntArray,
    *,
    topology: str,
    preprocess: bool,
    seed: int = 0,
    keys: IntArray | None = None,
) -> tuple[NDArray[np.float32], IntArray, NDArray[np.bool_], IntArray]:
    """Return the jet trees of all jets: features, depth, is_inner and offsets.

    Args:
        p4: Constituents of all jets [GeV].
        offsets: First constituent of each jet, and their number at the end.
        topology: A name of ``TOPOLOGIES``.
        preprocess: Bring each jet to the standard frame first, see ``standardise``.
        seed: For the random topology.
        keys: A number for each jet, for the random topology; see ``cluster``.

    Shapes:
        p4 ``(n_constituents, 4)``, offsets ``(n_jets + 1,)`` → features ``(n_nodes, 7)`` float32,
        depth ``(n_nodes,)`` int64, is_inner ``(n_nodes,)`` bool, offsets ``(n_jets + 1,)`` int64.

    Raises:
        ConfigError, DataError: as ``cluster``.
    """
    # All of it before the first jet is built, so that a message counts the caller's jets.
    p4, offsets = checked(p4, offsets)
    n_jets = len(offsets) - 1
    if keys is None:
        keys = np.arange(n_jets, dtype=np.int64)
    node_offsets = 2 * offsets - np.arange(n_jets + 1)
    n_nodes = int(node_offsets[-1])
    features = np.empty((n_nodes, len(NODE_FEATURES)), dtype=np.float32)
    depth = np.empty(n_nodes, dtype=np.int64)
    is_inner = np.empty(n_nodes, dtype=np.bool_)
    for first in range(0, n_jets, _JETS_AT_A_TIME):
        last = min(first + _JETS_AT_A_TIME, n_jets)
        part, part_offsets = (
            p4[offsets[first] : offsets[last]],
            offsets[first : last + 1] - offsets[first],
        )
        if preprocess:
            part = standardise(part, part_offsets)
        history = cluster(part, part_offsets, topology=topology, seed=seed, keys=keys[first:last])
        layout = breadth_first(history)
        rows = slice(node_offsets[first], node_offsets[last])
        root_energy = history.momenta[history.offsets[1:] - 1, 3]
        features[rows] = node_features(
            history.momenta[layout.node], layout.offsets, root_energy=root_energy
        )
        depth[rows] = layout.depth
        is_inner[rows] = layout.is_inner
    return features, depth, is_inner, node_offsets


@nb.njit(cache=True, parallel=True)
def _lay_out(
    children: IntArray,
    offsets: IntArray,
    node: IntArray,
    depth: IntArray,
    is_inner: NDArray[np.bool_],
) -> None:
    """Walk each tree as a queue: it holds a level's nodes in order while the next one is added."""
    for jet in nb.prange(len(offsets) - 1):
        start, stop = offsets[jet], offsets[jet + 1]
        node[start] = stop - 1
        depth[start] = 0
        end = start + 1
        for place in range(start, stop):
            left, right = children[node[place]]
            is_inner[place] = left >= 0
            if left >= 0:
                node[end] = start + left
                node[end + 1] = start + right
                depth[end] = depth[end + 1] = depth[place] + 1
                end += 2
