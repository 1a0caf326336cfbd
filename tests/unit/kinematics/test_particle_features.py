from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepdl.errors import DataError
from hepdl.kinematics import (
    KINEMATIC_FEATURES,
    PARTICLE_FEATURES,
    from_pt_eta_phi,
    hardest,
    mass,
    order_by_pt,
    particle_features,
)


def jets(seed: int, counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    n = sum(counts)
    pt = random.exponential(10.0, n) + 0.1
    eta, phi = random.normal(1.0, 0.3, n), random.normal(3.0, 0.3, n)
    p4 = from_pt_eta_phi(pt, eta, phi, mass=random.uniform(0.0, 1.0, n))
    return p4, np.concatenate(([0], np.cumsum(counts)))


def test_features_of_two_particles_by_hand() -> None:
    # Massless, at η = ±0.1 and the same φ: the axis lies at η = 0 because their pT are equal.
    pt, eta = np.array([3.0, 3.0, 8.0]), np.array([0.1, -0.1, 2.0])
    p4 = from_pt_eta_phi(pt, eta, np.full(3, 0.5), mass=np.zeros(3))
    names = PARTICLE_FEATURES
    found = dict(zip(names, particle_features(p4, np.array([0, 2, 3]), names).T, strict=True))
    energy = pt * np.cosh(eta)
    expected = {
        "delta_eta": [0.1, -0.1, 0.0],
        "delta_phi": [0.0, 0.0, 0.0],
        "delta_r": [0.1, 0.1, 0.0],
        "pt": pt,
        "log_pt": np.log(pt),
        "pt_fraction": [0.5, 0.5, 1.0],
        "log_pt_fraction": [np.log(0.5), np.log(0.5), 0.0],
        "energy": energy,
        "log_energy": np.log(energy),
        "energy_fraction": [0.5, 0.5, 1.0],
        "log_energy_fraction": [np.log(0.5), np.log(0.5), 0.0],
    }
    assert set(found) == set(expected)
    for name, values in expected.items():
        # Float64, after a few trigonometric functions.
        np.testing.assert_allclose(found[name], values, rtol=1e-12, atol=1e-12, err_msg=name)


def test_differences_in_azimuth_take_the_short_way_round() -> None:
    p4 = from_pt_eta_phi(np.ones(2), np.zeros(2), np.array([3.1, -3.1]), mass=np.zeros(2))
    (found,) = particle_features(p4, np.array([0, 2]), ["delta_phi"]).T
    half = np.pi - 3.1
    np.testing.assert_allclose(found, [-half, half], atol=1e-12)


def test_fractions_of_a_jet_add_up_to_one() -> None:
    p4, offsets = jets(0, [3, 0, 1, 17])
    found = particle_features(p4, offsets, ["pt_fraction", "energy_fraction"])
    jet = np.repeat(np.arange(4), np.diff(offsets))
    for column in found.T:
        np.testing.assert_allclose(np.bincount(jet, weights=column), [1, 0, 1, 1], rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(angle=st.floats(-3.0, 3.0), seed=st.integers(0, 1000), factor=st.floats(0.01, 100.0))
def test_turning_a_jet_about_the_beam_or_scaling_it_leaves_what_is_relative(
    angle: float, seed: int, factor: float
) -> None:
    p4, offsets = jets(seed, [12])
    turned = factor * p4
    turned[:, 0] = factor * (np.cos(angle) * p4[:, 0] - np.sin(angle) * p4[:, 1])
    turned[:, 1] = factor * (np.sin(angle) * p4[:, 0] + np.cos(angle) * p4[:, 1])
    relative = [n for n in PARTICLE_FEATURES if n.startswith("delta") or "fraction" in n]
    one, other = (particle_features(p, offsets, relative) for p in (p4, turned))
    # Angles lose the digits of a difference of numbers of order 1.
    np.testing.assert_allclose(one, other, atol=1e-10)


def test_a_soft_particle_and_a_collinear_split_leave_the_others_as_they_were() -> None:
    p4, offsets = jets(3, [8])
    soft = np.concatenate((p4, 1e-12 * p4[:1] * [1, -1, 1, 1]))
    split = np.concatenate((p4, 0.3 * p4[2:3]))
    split[2] *= 0.7
    before = particle_features(p4, offsets, KINEMATIC_FEATURES)
    after = particle_features(soft, np.array([0, 9]), KINEMATIC_FEATURES)[:8]
    # The soft one has 1e-12 of the momentum.
    np.testing.assert_allclose(after, before, atol=1e-10)
    others = [0, 1, 3, 4, 5, 6, 7]
    after = particle_features(split, np.array([0, 9]), KINEMATIC_FEATURES)
    np.testing.assert_allclose(after[others], before[others], atol=1e-12)
    of_angle = [KINEMATIC_FEATURES.index(n) for n in ("delta_eta", "delta_phi", "delta_r")]
    np.testing.assert_allclose(after[2, of_angle], before[2, of_angle], atol=1e-12)
    np.testing.assert_allclose(after[8, of_angle], before[2, of_angle], atol=1e-12)


def test_particles_are_ordered_by_falling_pt_within_their_jet() -> None:
    p4, offsets = jets(1, [5, 0, 1, 9])
    rows, new = order_by_pt(p4, offsets)
    pt = np.hypot(p4[:, 0], p4[:, 1])
    assert new.tolist() == offsets.tolist()
    for first, end in pairwise(offsets):
        assert rows[first:end].tolist() == (first + np.argsort(-pt[first:end])).tolist()


def test_what_has_no_transverse_momentum_is_left_out() -> None:
    p4, offsets = jets(1, [3, 2])
    p4[[1, 3, 4]] = [[0, 0, 0, 0], [0, 0, 5, 5], [0, 0, 0, 0]]
    rows, new = order_by_pt(p4, offsets)
    assert sorted(rows) == [0, 2]
    assert new.tolist() == [0, 2, 2]


def test_equal_particles_keep_their_order() -> None:
    p4 = np.repeat(jets(0, [1])[0], 4, axis=0)
    assert order_by_pt(p4, np.array([0, 4]))[0].tolist() == [0, 1, 2, 3]


def test_the_hardest_are_the_first_of_each_jet() -> None:
    rows, new = hardest(np.array([0, 3, 3, 4, 9]), 2)
    assert rows.tolist() == [0, 1, 3, 4, 5]
    assert new.tolist() == [0, 2, 2, 3, 5]


def test_transverse_momenta_that_cancel_leave_directions_finite() -> None:
    p4 = np.array([[1.0, 0, 0.5, 2.0], [-1.0, 0, 0.5, 2.0]])
    found = particle_features(p4, np.array([0, 2]), KINEMATIC_FEATURES)
    assert np.isfinite(found).all()
    assert (mass(p4) > 0).all()


@pytest.mark.parametrize("bad", [[np.nan, 0, 0, 1], [1, 0, 0, np.inf], [1, 0, 0, -1.0]])
def test_a_broken_particle_is_named(bad: list[float]) -> None:
    p4, offsets = jets(1, [3, 2])
    p4[4] = bad
    with pytest.raises(DataError, match=r"jet 1, particle 1: .* must be finite and the energy"):
        order_by_pt(p4, offsets)


def test_an_unknown_feature_is_refused_with_the_nearest() -> None:
    p4, offsets = jets(1, [3])
    with pytest.raises(DataError, match=r"delta_etta.*did you mean 'delta_eta'"):
        particle_features(p4, offsets, ["delta_etta"])
