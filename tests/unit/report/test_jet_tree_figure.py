"""The drawn tree is the tree: its links, places and angles follow from the breadth-first order."""

from __future__ import annotations

import numpy as np
import pytest

from hepdl.errors import DataError
from hepdl.kinematics import breadth_first, build, cluster, from_pt_eta_phi
from hepdl.report.jet_tree import DrawnTree, draw_jet_trees


def jet(n_constituents: int, *, seed: int = 0):
    """Return constituents of one jet."""
    rng = np.random.default_rng(seed)
    pt = rng.exponential(20.0, n_constituents) + 1.0
    eta, phi = rng.normal(0.5, 0.3, n_constituents), 3.0 + rng.normal(0.0, 0.3, n_constituents)
    momenta = from_pt_eta_phi(pt, eta, phi, mass=np.zeros(n_constituents))
    return momenta, np.array([0, n_constituents])


def tree(n_constituents: int, *, topology: str = "kt", seed: int = 0) -> DrawnTree:
    momenta, offsets = jet(n_constituents, seed=seed)
    features, depth, is_inner, _ = build(momenta, offsets, topology=topology, preprocess=False)
    return DrawnTree.from_node_features(features, depth, is_inner)


@pytest.mark.parametrize("topology", ["kt", "anti_kt", "random", "descending_pt"])
def test_children_are_those_of_the_clustering_history(topology):
    momenta, offsets = jet(17)
    history = cluster(momenta, offsets, topology=topology)
    layout = breadth_first(history)
    drawn = tree(17, topology=topology)
    children = drawn.children()
    for place, node in enumerate(layout.node):
        expected = history.children[node]
        found = [-1 if c < 0 else layout.node[c] for c in children[place]]
        assert list(expected) == found


def test_momenta_of_the_children_add_up_to_the_parent():
    drawn = tree(25)
    x = drawn.pt * np.cos(drawn.phi)
    inner = np.flatnonzero(drawn.is_inner)
    # Features are kept in single precision.
    np.testing.assert_allclose(
        x[drawn.children()[inner]].sum(axis=1), x[inner], rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("n_constituents", [1, 2, 3, 60])
def test_jets_of_any_size_are_drawn(n_constituents):
    figure = draw_jet_trees({"W jet": tree(n_constituents)}, jet_radius=1.0, note="kt tree")
    figure.draw_without_rendering()
    left, right = figure.axes[:2]
    assert left.get_title("left") == "W jet"
    assert f"{n_constituents} constituents" in left.get_title("right")
    assert "GeV" in left.get_title("right")
    assert right.get_title("right") == "kt tree"
    assert "jet axis" in right.get_xlabel()


def test_every_node_has_its_own_place_in_the_drawing():
    drawn = tree(40)
    axes = draw_jet_trees({"jet": drawn}).axes[0]
    points = np.asarray(axes.collections[-1].get_offsets())
    assert len(np.unique(np.round(points, 6), axis=0)) == len(drawn.depth)


def test_a_chain_of_hundreds_needs_no_recursion():
    draw_jet_trees({"chain": tree(700, topology="ascending_pt")})


def test_mass_is_that_of_the_constituents():
    momenta, _ = jet(12)
    total = momenta.sum(axis=0)
    expected = np.sqrt(total[3] ** 2 - np.sum(total[:3] ** 2))
    # Features are kept in single precision, and the mass is a small difference of large numbers.
    assert tree(12).mass() == pytest.approx(expected, rel=1e-3)


def test_a_jet_across_the_cut_of_phi_stays_together():
    drawn = tree(30)
    assert drawn.phi.max() - drawn.phi.min() > np.pi
    axes = draw_jet_trees({"jet": drawn}).axes[1]
    assert axes.get_ylim()[1] < 2.0


def test_nodes_of_two_jets_are_refused():
    one = tree(4)
    columns = [np.tile(column, 2) for column in (one.pt, one.eta, one.phi, one.energy)]
    with pytest.raises(DataError, match="give the nodes of exactly one jet"):
        DrawnTree(*columns, np.tile(one.depth, 2), np.tile(one.is_inner, 2))
