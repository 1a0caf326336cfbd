"""Clustering by hand, random and sequential trees, and the refusals."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest
from numpy.typing import NDArray

from hepdl.errors import ConfigError, DataError
from hepdl.kinematics import TOPOLOGIES, cluster

Array = NDArray[np.float64]


def transverse(pt: list[float], phi: list[float]) -> Array:
    """Massless particles at rapidity 0."""
    pts, phis = np.array(pt), np.array(phi)
    return np.stack([pts * np.cos(phis), pts * np.sin(phis), 0 * pts, pts], axis=1)


def test_three_particles_merge_at_the_distances_worked_out_by_hand() -> None:
    p4 = transverse([1.0, 2.0, 3.0], [0.0, 0.1, 1.0])
    history = cluster(p4, np.array([0, 3]), topology="kt")
    # Candidates: 0-1 at 1 · 0.1², 0-2 at 1 · 1², 1-2 at 4 · 0.9².
    px, py = 1.0 + 2.0 * np.cos(0.1), 2.0 * np.sin(0.1)
    # The pair is massive, but at rapidity 0 as well; its pT is just below 3.
    last = (px**2 + py**2) * (1.0 - np.arctan2(py, px)) ** 2
    assert history.children.tolist() == [[-1, -1]] * 3 + [[1, 0], [2, 3]]
    np.testing.assert_allclose(history.distances, [0, 0, 0, 0.01, last], rtol=1e-12)
    np.testing.assert_allclose(history.momenta[4], p4.sum(axis=0), rtol=1e-14)


@pytest.mark.parametrize(
    ("topology", "merges"),
    [
        # Softest and closest first: C-D at 0.0144, then CD-B at 6.2 · 0.77², far below A-B at 729.
        ("kt", [[3, 2], [1, 4], [0, 5]]),
        # By angle alone: C-D at 0.12, A-B at 0.30, then the pairs.
        ("cambridge_aachen", [[3, 2], [0, 1], [5, 4]]),
        # Around the hardest: A-B at 9e-6, then C (2.0e-5) before D (2.6e-5).
        ("anti_kt", [[0, 1], [4, 2], [5, 3]]),
        # From the hardest down, with the softest at the root.
        ("ascending_pt", [[0, 1], [4, 3], [5, 2]]),
        # From the softest up, with the hardest at the root.
        ("descending_pt", [[3, 2], [1, 4], [0, 5]]),
    ],
)
def test_four_particles_merge_as_worked_out_by_hand(topology: str, merges: list[list[int]]) -> None:
    p4 = transverse([100.0, 90.0, 1.0, 1.5], [0.0, 0.3, 1.0, 1.12])
    history = cluster(p4, np.array([0, 4]), topology=topology)
    assert history.children[4:].tolist() == merges


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_jets_of_one_and_two_constituents_are_trees_too(topology: str) -> None:
    p4 = transverse([5.0, 1.0, 2.0, 3.0], [0.0, 0.1, 0.3, 0.2])
    history = cluster(p4, np.array([0, 1, 3, 4]), topology=topology)
    assert history.offsets.tolist() == [0, 1, 4, 5]
    assert history.children.tolist() == [[-1, -1], [-1, -1], [-1, -1], [1, 0], [-1, -1]]
    np.testing.assert_array_equal(history.momenta[[0, 1, 2, 4]], p4)


@pytest.mark.parametrize("topology", [name for name in TOPOLOGIES if name != "random"])
def test_equal_particles_merge_lowest_index_first(topology: str) -> None:
    history = cluster(np.tile([1.0, 0, 0, 1.0], (4, 1)), np.array([0, 4]), topology=topology)
    first = [2, 3] if topology.endswith("_pt") else [0, 1]
    assert history.children[4].tolist() == first


def test_no_jets_give_no_nodes() -> None:
    history = cluster(np.empty((0, 4)), np.array([0]), topology="kt")
    assert len(history) == 0
    assert history.momenta.shape == (0, 4)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_thousands_of_constituents_are_no_problem(topology: str) -> None:
    rng = np.random.default_rng(3)
    p4 = transverse(rng.exponential(1.0, 3000).tolist(), rng.uniform(-0.5, 0.5, 3000).tolist())
    history = cluster(p4, np.array([0, 3000]), topology=topology)
    # A sum of 3000 terms in two orders.
    np.testing.assert_allclose(history.momenta[-1], p4.sum(axis=0), rtol=1e-11, atol=1e-9)


def test_random_pairs_are_all_alike() -> None:
    n_jets = 6000
    p4 = np.tile(transverse([1.0, 2.0, 3.0], [0.0, 0.1, 0.2]), (n_jets, 1))
    history = cluster(p4, np.arange(0, 3 * n_jets + 1, 3), topology="random", seed=1)
    counts = np.bincount(history.children[3::5].sum(axis=1) - 1, minlength=3)
    # Five binomial standard deviations.
    assert np.abs(counts - n_jets / 3).max() < 5 * np.sqrt(n_jets * 2 / 9)


def random_jets(n_jets: int) -> tuple[Array, NDArray[np.int64]]:
    rng = np.random.default_rng(5)
    n = 20 * n_jets
    p4 = transverse(rng.exponential(5.0, n).tolist(), rng.uniform(-0.5, 0.5, n).tolist())
    return p4, np.arange(0, n + 1, 20)


def test_random_tree_depends_on_seed_and_key_alone() -> None:
    p4, offsets = random_jets(6)
    keys = np.array([7, -3, 2**62, 0, 5, 7])
    trees = cluster(p4, offsets, topology="random", seed=2, keys=keys).children.reshape(6, 39, 2)
    # The jets in another order, and one alone.
    order = np.array([3, 1, 5, 0, 2, 4])
    shuffled = p4.reshape(6, 20, 4)[order].reshape(-1, 4)
    again = cluster(shuffled, offsets, topology="random", seed=2, keys=keys[order])
    np.testing.assert_array_equal(again.children.reshape(6, 39, 2), trees[order])
    alone = cluster(p4[20:40], offsets[:2], topology="random", seed=2, keys=keys[1:2])
    np.testing.assert_array_equal(alone.children, trees[1])
    other = cluster(p4, offsets, topology="random", seed=3, keys=keys).children.reshape(6, 39, 2)
    for jet in range(6):
        assert (other[jet] != trees[jet]).any()
    # The same key merges the same places; which of the two is left is up to their pT.
    np.testing.assert_array_equal(np.sort(trees[0], axis=1)[20], np.sort(trees[5], axis=1)[20])


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_trees_do_not_depend_on_the_number_of_threads(topology: str) -> None:
    p4, offsets = random_jets(50)
    before = nb.get_num_threads()
    several = cluster(p4, offsets, topology=topology)
    nb.set_num_threads(1)
    try:
        one = cluster(p4, offsets, topology=topology)
    finally:
        nb.set_num_threads(before)
    np.testing.assert_array_equal(one.momenta, several.momenta)
    np.testing.assert_array_equal(one.children, several.children)


def test_unknown_topology_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown topology 'antikt'.*did you mean 'anti_kt'"):
        cluster(np.ones((1, 4)), np.array([0, 1]), topology="antikt")


def test_empty_jet_is_named() -> None:
    with pytest.raises(DataError, match="jet 1 has no constituents; select jets"):
        cluster(np.ones((2, 4)), np.array([0, 1, 1, 2]), topology="kt")


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        (0, np.nan, "nan, 0, 0, 2"),
        (2, np.inf, "1, 0, inf, 2"),
        (3, 0.0, "1, 0, 0, 0"),
        (3, -1.0, "1, 0, 0, -1"),
    ],
)
def test_unusable_constituent_is_named(column: int, value: float, shown: str) -> None:
    p4 = np.tile([1.0, 0.0, 0.0, 2.0], (5, 1))
    p4[3, column] = value
    with pytest.raises(DataError, match=f"jet 1, constituent 1: .* = {shown} .GeV."):
        cluster(p4, np.array([0, 2, 5]), topology="kt")


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(2, 3\); needed is \(n, 4\)"):
        cluster(np.ones((2, 3)), np.array([0, 2]), topology="kt")
    with pytest.raises(DataError, match="end with the number of constituents, 2"):
        cluster(np.ones((2, 4)), np.array([0, 3]), topology="kt")
    with pytest.raises(DataError, match=r"keys have shape \(2,\); needed .* \(1,\)"):
        cluster(np.ones((2, 4)), np.array([0, 2]), topology="random", keys=np.array([1, 2]))
