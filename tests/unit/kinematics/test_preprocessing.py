"""The standard frame, worked out by hand for jets of few particles."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hepdl.errors import ConfigError, DataError
from hepdl.kinematics import from_pt_eta_phi, mass, standardise, subjets

Array = NDArray[np.float64]


def particles(pt: list[float], eta: list[float], phi: list[float]) -> Array:
    columns = (np.array(values) for values in (pt, eta, phi))
    return from_pt_eta_phi(*columns, mass=np.full(len(pt), 0.14))


def test_one_subjet_is_turned_and_boosted_to_the_x_axis() -> None:
    p4 = particles([30.0], [1.3], [2.2])
    moved = standardise(p4, np.array([0, 1]))
    expected = [[30.0, 0.0, 0.0, np.hypot(30.0, 0.14)]]
    np.testing.assert_allclose(moved, expected, rtol=1e-13, atol=1e-12)


def test_two_subjets_lie_along_x_and_towards_minus_y() -> None:
    p4 = particles([30.0, 20.0], [1.3, 0.8], [2.2, 3.0])
    moved = standardise(p4, np.array([0, 2]))
    # Each is a subjet of its own, ΔR is 0.94.
    np.testing.assert_allclose(moved[0, :3], [30.0, 0.0, 0.0], atol=1e-12)
    assert moved[1, 1] < 0.0
    assert abs(moved[1, 2]) < 1e-12
    np.testing.assert_allclose(mass(moved), 0.14, rtol=1e-8)
    # x is not touched by the rotation about x: the azimuth between the two is in it.
    assert moved[1, 0] == pytest.approx(20.0 * np.cos(0.8), rel=1e-12)


@pytest.mark.parametrize("eta", [0.2, 2.4])
def test_the_third_subjet_comes_to_positive_pz(eta: float) -> None:
    p4 = particles([30.0, 20.0, 10.0], [1.3, 0.8, eta], [2.2, 3.0, 2.0])
    moved = standardise(p4, np.array([0, 3]))
    assert moved[2, 2] > 0.0
    np.testing.assert_allclose(moved[0, :3], [30.0, 0.0, 0.0], atol=1e-12)
    assert abs(moved[1, 2]) < 1e-12


def test_the_order_of_subjets_is_that_of_pt() -> None:
    p4 = particles([10.0, 30.0, 20.0], [0.0, 1.0, 2.0], [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(subjets(p4, np.array([0, 3]), radius=0.3)[0], p4[[1, 2, 0]])


def test_subjets_join_what_lies_within_the_radius() -> None:
    p4 = particles([10.0, 30.0, 20.0], [0.0, 0.2, 2.0], [0.0, 0.0, 0.0])
    found = subjets(p4, np.array([0, 3]), radius=0.3)[0]
    np.testing.assert_allclose(found, [p4[0] + p4[1], p4[2], np.zeros(4)], rtol=1e-15)
    separate = subjets(p4, np.array([0, 3]), radius=0.1)[0]
    np.testing.assert_array_equal(separate, p4[[1, 2, 0]])


def test_a_jet_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(2)
    counts = rng.integers(1, 30, 5000)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    n = int(offsets[-1])
    columns = rng.exponential(5.0, n), rng.normal(0.0, 0.4, n), rng.normal(3.0, 0.4, n)
    p4 = from_pt_eta_phi(*columns, mass=np.zeros(n))
    together = standardise(p4, offsets)
    for jet in (0, 17, 4095, 4096, 4999):
        rows = slice(offsets[jet], offsets[jet + 1])
        alone = standardise(p4[rows], np.array([0, counts[jet]]))
        np.testing.assert_array_equal(alone, together[rows])


def test_a_massless_particle_along_the_beam_stays_finite() -> None:
    moved = standardise(np.array([[0.0, 0.0, 5.0, 5.0]]), np.array([0, 1]))
    np.testing.assert_array_equal(moved, [[0.0, 0.0, 5.0, 5.0]])


@pytest.mark.parametrize("radius", [0.0, -0.3, np.inf, np.nan])
def test_a_radius_that_is_none_is_refused(radius: float) -> None:
    with pytest.raises(ConfigError, match=r"must be positive and finite; the paper uses 0\.3"):
        standardise(np.ones((1, 4)), np.array([0, 1]), subjet_radius=radius)


def test_an_empty_jet_is_named() -> None:
    with pytest.raises(DataError, match="jet 0 has no constituents"):
        standardise(np.ones((1, 4)), np.array([0, 0, 1]))
