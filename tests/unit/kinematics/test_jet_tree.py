"""Breadth-first layout and the features of the nodes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hepdl.errors import DataError
from hepdl.kinematics import (
    NODE_FEATURES,
    TOPOLOGIES,
    breadth_first,
    build,
    cluster,
    node_features,
    standardise,
)

Array = NDArray[np.float64]


def some_jets(counts: list[int]) -> tuple[Array, NDArray[np.int64]]:
    rng = np.random.default_rng(8)
    momentum = rng.normal([20.0, 0.0, 5.0], 1.0, (sum(counts), 3))
    energy = np.sqrt((momentum**2).sum(axis=1) + 0.02)
    return np.column_stack([momentum, energy]), np.concatenate([[0], np.cumsum(counts)])


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_children_of_the_kth_inner_node_are_nodes_2k_and_2k_plus_1_of_the_next_level(
    topology: str,
) -> None:
    p4, offsets = some_jets([1, 2, 3, 30, 17, 1])
    history = cluster(p4, offsets, topology=topology)
    layout = breadth_first(history)
    for jet in range(len(history)):
        rows = slice(layout.offsets[jet], layout.offsets[jet + 1])
        node, depth, inner = layout.node[rows], layout.depth[rows], layout.is_inner[rows]
        assert sorted(node) == list(range(rows.start, rows.stop))
        assert node[0] == rows.stop - 1
        assert (np.diff(depth) >= 0).all()
        for level in range(depth.max() + 1):
            parents = node[(depth == level) & inner]
            expected = history.children[parents].reshape(-1) + rows.start
            np.testing.assert_array_equal(node[depth == level + 1], expected)


def test_layout_of_a_small_tree_is_the_one_drawn_by_hand() -> None:
    # Two close pairs, the harder pair first: 0-1 and 2-3.
    phi = np.array([0.0, 0.01, 0.5, 0.53])
    pt = np.array([1.0, 5.0, 2.0, 1.5])
    p4 = np.stack([pt * np.cos(phi), pt * np.sin(phi), 0 * pt, pt], axis=1)
    layout = breadth_first(cluster(p4, np.array([0, 4]), topology="cambridge_aachen"))
    assert layout.node.tolist() == [6, 4, 5, 1, 0, 2, 3]
    assert layout.depth.tolist() == [0, 1, 1, 2, 2, 2, 2]
    assert layout.is_inner.tolist() == [True] * 3 + [False] * 4


def test_chains_of_ten_thousand_constituents_are_laid_out() -> None:
    p4, offsets = some_jets([10_000])
    _, depth, inner, _ = build(p4, offsets, topology="descending_pt", preprocess=False)
    assert depth.max() == 9_999
    assert inner.sum() == 9_999


def test_features_are_the_closed_forms_in_the_order_of_the_names() -> None:
    momenta = np.array([[3.0, 4.0, 12.0, 15.0], [0.0, -2.0, 0.0, 5.0]])
    found = node_features(momenta, np.array([0, 2]), root_energy=np.array([15.0]))
    eta = np.arctanh(12.0 / 13.0)
    expected = [
        [13.0, eta, np.arctan2(4.0, 3.0), 15.0, 1.0, 5.0, 2 * np.arctan(np.exp(-eta))],
        [2.0, 0.0, -np.pi / 2, 5.0, 1 / 3, 2.0, np.pi / 2],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-15)
    assert NODE_FEATURES == ("momentum", "eta", "phi", "energy", "energy_fraction", "pt", "theta")
    # θ is the polar angle.
    np.testing.assert_allclose(np.cos(found[:, 6]), momenta[:, 2] / found[:, 0], atol=1e-14)


def test_features_of_nodes_along_the_beam_are_finite() -> None:
    momenta = np.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, -4.0, 4.0], [0.0, 0.0, 0.0, 1.0]])
    found = node_features(momenta, np.array([0, 3]), root_energy=np.array([4.0]))
    np.testing.assert_array_equal(found[:, 1], 0.0)
    # θ = 0 and π are known even where η is not; at rest it is not.
    np.testing.assert_allclose(found[:, 6], [0.0, np.pi, 0.0], atol=1e-15)


@pytest.mark.parametrize("preprocess", [True, False])
def test_build_is_the_steps_one_after_the_other(preprocess: bool) -> None:
    p4, offsets = some_jets([4, 1, 12, 9])
    keys = np.array([4, 3, 2, 1])
    found = build(p4, offsets, topology="random", preprocess=preprocess, seed=3, keys=keys)
    constituents = standardise(p4, offsets) if preprocess else p4
    history = cluster(constituents, offsets, topology="random", seed=3, keys=keys)
    layout = breadth_first(history)
    features = node_features(
        history.momenta[layout.node],
        layout.offsets,
        root_energy=history.momenta[history.offsets[1:] - 1, 3],
    )
    np.testing.assert_array_equal(found[0], features.astype(np.float32))
    for ours, expected in zip(
        found[1:], (layout.depth, layout.is_inner, layout.offsets), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)
        assert ours.dtype == expected.dtype


def test_many_jets_are_built_as_one_by_one() -> None:
    # More jets than are built at a time.
    p4, offsets = some_jets([3, 1] * 2500)
    features, depth, _, node_offsets = build(p4, offsets, topology="random", preprocess=True)
    assert len(features) == len(depth) == node_offsets[-1] == 5 * 2500 + 2500
    last = build(
        p4[-4:],
        np.array([0, 3, 4]),
        topology="random",
        preprocess=True,
        keys=np.array([4998, 4999]),
    )
    np.testing.assert_array_equal(features[node_offsets[4998] :], last[0])


def test_the_root_comes_first_and_has_all_the_energy() -> None:
    p4, offsets = some_jets([5, 1, 7])
    features, depth, _, node_offsets = build(p4, offsets, topology="kt", preprocess=False)
    roots = node_offsets[:-1]
    np.testing.assert_array_equal(depth[roots], 0)
    np.testing.assert_array_equal(features[roots, 4], 1.0)
    np.testing.assert_allclose(
        features[roots, 3], np.add.reduceat(p4[:, 3], offsets[:-1]), rtol=1e-6
    )


def test_unusable_jets_are_counted_from_the_first_of_the_call() -> None:
    p4, offsets = some_jets([3, 1] * 2500)
    p4[-1, 3] = np.nan
    with pytest.raises(DataError, match="jet 4999, constituent 0"):
        build(p4, offsets, topology="kt", preprocess=True)
