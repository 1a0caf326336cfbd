"""What must not change when a whole event is turned, mirrored, boosted, split or listed otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hepdl.kinematics import from_pt_eta_phi
from hepdl.kinematics.assignments import assign, chi_square
from hepdl.kinematics.decays import Decay
from hepdl.kinematics.event_shapes import (
    aplanarity,
    centrality,
    fox_wolfram,
    momentum_tensor_eigenvalues,
    sphericity,
)
from hepdl.kinematics.neutrino import neutrinos_of
from hepdl.kinematics.tth_assignments import TTH_DECAY, tth_candidates
from hepdl.kinematics.tth_features import tth_features

Array = NDArray[np.float64]
ANGLES = st.floats(-np.pi, np.pi)


def events(n: int, seed: int) -> dict[str, Any]:
    """Events of six to nine jets by falling pT, a lepton, and missing momentum."""
    random = np.random.default_rng(seed)
    shape = (n, 9)
    mask = np.arange(9) < random.integers(6, 10, n)[:, None]
    pt = -np.sort(-random.exponential(50.0, shape) - 25.0, axis=1)
    jets = from_pt_eta_phi(
        pt, random.uniform(-2.5, 2.5, shape), random.uniform(-3.1, 3.1, shape),
        mass=random.uniform(1.0, 15.0, shape),
    )  # fmt: skip
    lepton = from_pt_eta_phi(
        random.uniform(27, 150, n), random.uniform(-2.5, 2.5, n), random.uniform(-3.1, 3.1, n),
        mass=np.full(n, 0.10566),
    )  # fmt: skip
    return {
        "jets": np.where(mask[..., None], jets, 0.0),
        "mask": mask,
        "b_tag": random.integers(0, 5, shape),
        "lepton": lepton,
        "met": random.uniform(5, 150, n),
        "met_phi": random.uniform(-3.1, 3.1, n),
    }


EVENTS = events(40, seed=5)


@settings(max_examples=25, deadline=None)
@given(angles=st.tuples(ANGLES, ANGLES, ANGLES))
def test_event_shapes_do_not_depend_on_axes(angles: tuple[float, float, float]) -> None:
    turn = Rotation.from_euler("zyz", angles).as_matrix()
    p4, mask = EVENTS["jets"], EVENTS["mask"]
    turned = np.concatenate([p4[..., :3] @ turn.T, p4[..., 3:]], axis=2)
    for shape in (sphericity, aplanarity, fox_wolfram):
        assert shape(turned, mask) == pytest.approx(shape(p4, mask), abs=1e-13)


def test_event_shapes_do_not_depend_on_the_order_or_unit_of_momenta() -> None:
    p4, mask = EVENTS["jets"], EVENTS["mask"]
    order = np.random.default_rng(1).permutation(9)
    for shape in (sphericity, aplanarity, fox_wolfram, centrality):
        expected = shape(p4, mask)
        assert shape(p4[:, order], mask[:, order]) == pytest.approx(expected, abs=1e-13)
        assert shape(1000.0 * p4, mask) == pytest.approx(expected, abs=1e-13)


def test_moments_are_collinear_safe_and_sphericity_is_not() -> None:
    # The tensor is quadratic in each momentum, the moments together are linear.
    p4, mask = EVENTS["jets"], EVENTS["mask"]
    split = np.concatenate([0.3 * p4[:, :1], 0.7 * p4[:, :1], p4[:, 1:]], axis=1)
    wide = np.concatenate([mask[:, :1], mask], axis=1)
    assert fox_wolfram(split, wide) == pytest.approx(fox_wolfram(p4, mask), abs=1e-13)
    assert np.abs(sphericity(split, wide) - sphericity(p4, mask)).max() > 0.01


def test_shapes_stay_within_their_bounds() -> None:
    p4, mask = EVENTS["jets"], EVENTS["mask"]
    eigenvalues = momentum_tensor_eigenvalues(p4, mask)
    assert np.all(np.diff(eigenvalues, axis=1) <= 0.0)
    assert np.all((sphericity(p4, mask) >= 0.0) & (sphericity(p4, mask) <= 1.0))
    assert np.all((aplanarity(p4, mask) >= 0.0) & (aplanarity(p4, mask) <= 0.5))
    assert np.all(np.abs(fox_wolfram(p4, mask)) <= fox_wolfram(p4, mask, n_orders=1))


def moved(p4: Array, *, angle: float, mirror: float, boost: float = 0.0) -> Array:
    """Turn about the beam, mirror and boost along it."""
    px, py, pz, e = np.moveaxis(p4, -1, 0)
    cosine, sine = np.cos(angle), np.sin(angle)
    along, energy = (
        np.cosh(boost) * pz + np.sinh(boost) * e,
        np.cosh(boost) * e + np.sinh(boost) * pz,
    )
    return np.stack(
        [cosine * px - sine * py, sine * px + cosine * py, mirror * along, energy], axis=-1
    )


@settings(max_examples=25, deadline=None)
@given(angle=ANGLES, mirror=st.sampled_from([1.0, -1.0]))
def test_features_of_an_event_do_not_depend_on_azimuth_and_side(
    angle: float, mirror: float
) -> None:
    expected = tth_features(EVENTS["jets"], EVENTS["b_tag"], EVENTS["mask"], EVENTS["lepton"])
    jets = moved(EVENTS["jets"], angle=angle, mirror=mirror)
    lepton = moved(EVENTS["lepton"], angle=angle, mirror=mirror)
    for name, values in tth_features(jets, EVENTS["b_tag"], EVENTS["mask"], lepton).items():
        assert values == pytest.approx(expected[name], rel=1e-10, abs=1e-12), name


def costs(shift: float = 0.0, **how: float) -> Array:
    """χ² of all assignments, smallest first, of the event moved as told."""
    jets, lepton = moved(EVENTS["jets"], **how), moved(EVENTS["lepton"], **how)
    found = neutrinos_of(lepton, EVENTS["met"], EVENTS["met_phi"] + shift)
    candidates = tth_candidates(jets, EVENTS["b_tag"], EVENTS["mask"], found.is_real)
    assignments = assign(Decay.from_mapping(TTH_DECAY), candidates)
    momenta = {"jets": jets, "lepton": lepton[:, None], "neutrino": found.p4}
    return np.sort(chi_square(assignments, momenta), axis=1)


@settings(max_examples=15, deadline=None)
@given(angle=ANGLES, mirror=st.sampled_from([1.0, -1.0]), boost=st.floats(-1.0, 1.0))
def test_assignments_do_not_depend_on_azimuth_side_and_boost_along_the_beam(
    angle: float, mirror: float, boost: float
) -> None:
    # Only where solutions are real: the real part of complex ones is no invariant of boosts.
    real = neutrinos_of(EVENTS["lepton"], EVENTS["met"], EVENTS["met_phi"]).is_real
    assert 5 < real.sum() < 40
    expected = costs(angle=0.0, mirror=1.0)
    found = costs(shift=angle, angle=angle, mirror=mirror, boost=boost)
    assert found[real] == pytest.approx(expected[real], rel=1e-7, abs=1e-9)
    turned = costs(shift=angle, angle=angle, mirror=mirror)
    assert turned == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_names_of_leaves_and_the_order_of_daughters_do_not_matter() -> None:
    # The same decay written the other way round has the same assignments.
    other = {
        "particles": {
            name: {**value, "daughters": value["daughters"][::-1]}
            if isinstance(value, dict)
            else value[::-1]
            for name, value in TTH_DECAY["particles"].items()
        },
        "leaves": TTH_DECAY["leaves"],
    }
    real = neutrinos_of(EVENTS["lepton"], EVENTS["met"], EVENTS["met_phi"])
    candidates = tth_candidates(EVENTS["jets"], EVENTS["b_tag"], EVENTS["mask"], real.is_real)
    momenta = {
        "jets": EVENTS["jets"], "lepton": EVENTS["lepton"][:, None], "neutrino": real.p4,
    }  # fmt: skip
    one, two = (
        np.sort(chi_square(assign(Decay.from_mapping(d), candidates), momenta), axis=1)
        for d in (TTH_DECAY, other)
    )
    assert one.shape == two.shape
    assert one == pytest.approx(two, rel=1e-10)
