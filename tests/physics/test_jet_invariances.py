"""What must not change when a jet is turned, boosted or mirrored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hepdl.kinematics import TOPOLOGIES, build, cluster, mass, standardise, subjets

Array = NDArray[np.float64]
ANGLES = st.floats(-np.pi, np.pi)
# Beyond this the energy of a forward particle swamps its E - pz in double precision.
BOOSTS = st.floats(-2.0, 2.0)


def moved(p4: Array, *, angle: float = 0.0, boost: float = 0.0, mirror: float = 1.0) -> Array:
    """Rotate about the beam, boost along it by a rapidity, multiply pz by ``mirror``."""
    px, py, pz, e = p4.T
    turned = [np.cos(angle) * px - np.sin(angle) * py, np.sin(angle) * px + np.cos(angle) * py]
    boosted = [np.cosh(boost) * pz + np.sinh(boost) * e, np.cosh(boost) * e + np.sinh(boost) * pz]
    return np.stack([*turned, mirror * boosted[0], boosted[1]], axis=1)


@pytest.fixture(scope="module")
def jets(toy_jets: Callable[..., Any]) -> tuple[Array, NDArray[np.int64]]:
    """Jets with three subjets at least, which fix the frame wholly."""
    p4, offsets = toy_jets(40, seed=11, smallest=8)
    wanted = np.flatnonzero(subjets(p4, offsets, radius=0.3)[:, 2, 3] > 0.0)
    assert len(wanted) > 10
    rows = [p4[offsets[jet] : offsets[jet + 1]] for jet in wanted]
    return np.concatenate(rows), np.concatenate([[0], np.cumsum([len(row) for row in rows])])


@settings(max_examples=30, deadline=None)
@given(angle=ANGLES, boost=BOOSTS, mirror=st.sampled_from([1.0, -1.0]))
def test_standard_frame_does_not_depend_on_direction_and_handedness(
    jets: Any, angle: float, boost: float, mirror: float
) -> None:
    p4, offsets = jets
    expected = standardise(p4, offsets)
    found = standardise(moved(p4, angle=angle, boost=boost, mirror=mirror), offsets)
    # Relative to the energy; rounding of 1e-16 grows by exp(2 |y|) < 1e5 for these rapidities.
    assert np.max(np.abs(found - expected) / expected[:, 3:]) < 1e-10


@settings(max_examples=10, deadline=None)
@given(angle=ANGLES, boost=BOOSTS, mirror=st.sampled_from([1.0, -1.0]))
def test_tree_features_do_not_depend_on_direction_and_handedness(
    jets: Any, angle: float, boost: float, mirror: float
) -> None:
    p4, offsets = jets
    expected = build(p4, offsets, topology="kt", preprocess=True)
    turned = moved(p4, angle=angle, boost=boost, mirror=mirror)
    found = build(turned, offsets, topology="kt", preprocess=True)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[2], expected[2])
    # float32 keeps 6e-8 of values up to 1; single digits of momenta of 300 GeV are 3e-5.
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6, atol=1e-6)


def test_standard_frame_keeps_masses_and_the_jet_together(jets: Any) -> None:
    p4, offsets = jets
    found = standardise(p4, offsets)
    before, after = (np.add.reduceat(rows, offsets[:-1]) for rows in (p4, found))
    np.testing.assert_allclose(mass(after), mass(before), rtol=1e-10)
    # The mass of a pion of 100 GeV is rounded: m² to 1e-16 E².
    assert np.max(np.abs(mass(found) ** 2 - mass(p4) ** 2) / found[:, 3] ** 2) < 1e-12


def test_leading_subjet_comes_to_lie_along_x(jets: Any) -> None:
    p4, offsets = jets
    # With one constituent as the jet, subjet and constituent are one.
    for row in p4[offsets[:-1]]:
        x = standardise(row[None], np.array([0, 1]))[0]
        np.testing.assert_allclose(x[:3] / x[3], [np.hypot(x[0], x[1]) / x[3], 0, 0], atol=1e-14)
        assert x[0] > 0.0


@pytest.mark.parametrize("topology", [name for name in TOPOLOGIES if name != "random"])
@settings(max_examples=10, deadline=None)
@given(angle=ANGLES, boost=BOOSTS)
def test_tree_does_not_depend_on_direction(
    jets: Any, topology: str, angle: float, boost: float
) -> None:
    p4, offsets = jets
    expected = cluster(p4, offsets, topology=topology)
    found = cluster(moved(p4, angle=angle, boost=boost), offsets, topology=topology)
    np.testing.assert_array_equal(found.children, expected.children)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_momentum_is_conserved_at_every_node(jets: Any, topology: str) -> None:
    p4, offsets = jets
    history = cluster(p4, offsets, topology=topology)
    jet = np.repeat(np.arange(len(history)), np.diff(history.offsets))
    inner = history.children[:, 0] >= 0
    children = history.children[inner] + history.offsets[jet[inner], None]
    np.testing.assert_array_equal(history.momenta[inner], history.momenta[children].sum(axis=1))
    roots = history.momenta[history.offsets[1:] - 1]
    # The sum in another order: rounding of 60 terms.
    np.testing.assert_allclose(roots, np.add.reduceat(p4, offsets[:-1]), rtol=1e-12, atol=1e-11)
    pt2 = (history.momenta[children][..., :2] ** 2).sum(axis=-1)
    assert (pt2[:, 0] >= pt2[:, 1]).all()


@pytest.mark.parametrize("topology", [name for name in TOPOLOGIES if name != "random"])
def test_tree_does_not_depend_on_the_order_of_constituents(jets: Any, topology: str) -> None:
    p4, offsets = jets
    one = p4[: offsets[1]]
    order = np.random.default_rng(0).permutation(len(one))
    expected = build(one, offsets[:2], topology=topology, preprocess=False)
    found = build(one[order], offsets[:2], topology=topology, preprocess=False)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)
