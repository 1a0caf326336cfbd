"""Closed forms of four-vectors and angles."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepdl.errors import DataError
from hepdl.kinematics import (
    cartesian,
    delta_phi,
    delta_r,
    eta,
    from_pt_eta_phi,
    mass,
    momentum,
    phi,
    pt,
    rapidity,
)

PT = st.floats(0.1, 1000.0)
ETA = st.floats(-4.0, 4.0)
PHI = st.floats(-3.14, 3.14)


def test_mass_of_two_massless_particles_is_the_closed_form() -> None:
    p4 = from_pt_eta_phi(
        np.array([40.0, 60.0]), np.array([0.3, -0.5]), np.array([1.0, 2.5]), mass=np.zeros(2)
    )
    expected = np.sqrt(2 * 40 * 60 * (np.cosh(0.8) - np.cos(1.5)))
    assert mass(p4.sum(axis=0)) == pytest.approx(expected, rel=1e-14)


@given(PT, ETA, PHI, st.floats(0.1, 200.0))
def test_cartesian_components_give_back_pt_eta_phi_and_mass(
    a_pt: float, an_eta: float, a_phi: float, a_mass: float
) -> None:
    p4 = from_pt_eta_phi(*(np.array([x]) for x in (a_pt, an_eta, a_phi)), mass=np.array([a_mass]))
    assert pt(p4)[0] == pytest.approx(a_pt, rel=1e-13)
    # η is rounded absolutely, to 1e-16 times its size at most 4.
    assert eta(p4)[0] == pytest.approx(an_eta, abs=1e-13)
    assert phi(p4)[0] == pytest.approx(a_phi, abs=1e-13)
    assert momentum(p4)[0] == pytest.approx(a_pt * np.cosh(an_eta), rel=1e-13)
    # m² is what is left of E² by cancellation.
    assert mass(p4)[0] ** 2 == pytest.approx(a_mass**2, rel=1e-12, abs=1e-14 * p4[0, 3] ** 2)


def test_rapidity_is_the_textbook_logarithm_and_pseudorapidity_without_mass() -> None:
    heavy = np.array([3.0, 4.0, -12.0, 20.0])
    assert rapidity(heavy) == pytest.approx(0.5 * np.log(8.0 / 32.0), rel=1e-14)
    light = from_pt_eta_phi(np.ones(1), np.array([2.5]), np.zeros(1), mass=np.zeros(1))
    assert rapidity(light)[0] == pytest.approx(2.5, rel=1e-13)


def test_rapidity_stays_finite_for_rounded_and_forward_particles() -> None:
    # Energies below the momentum, as float32 files have them, and a particle along the beam.
    p4 = np.array([[1.0, 0.0, 1000.0, 1000.0], [1.0, 0.0, -1000.0, 999.0], [0.0, 0.0, 5.0, 5.0]])
    assert rapidity(p4)[0] == pytest.approx(np.log(2000.0), rel=1e-12)
    assert rapidity(p4)[1] == pytest.approx(-np.log(1999.0), rel=1e-12)
    assert rapidity(p4)[2] == 100005.0
    assert mass(p4)[1] == 0.0


@given(PHI, PHI)
def test_delta_phi_is_the_short_way_round(a: float, b: float) -> None:
    found = delta_phi(np.float64(a), np.float64(b))
    assert -np.pi <= found <= np.pi
    assert np.exp(1j * found) == pytest.approx(np.exp(1j * (a - b)), abs=1e-14)
    assert delta_phi(np.float64(b), np.float64(a)) == -found


def test_delta_r_wraps_in_azimuth() -> None:
    found = delta_r(np.float64(0.3), np.float64(3.1), np.float64(0.0), np.float64(-3.1))
    assert found == pytest.approx(np.hypot(0.3, 2 * np.pi - 6.2), rel=1e-14)


@pytest.mark.parametrize("given_both", [True, False])
def test_energy_and_mass_exclude_each_other(given_both: bool) -> None:
    one = np.ones(1)
    extra = {"energy": one, "mass": one} if given_both else {}
    with pytest.raises(ValueError, match="exactly one of energy= and mass="):
        from_pt_eta_phi(one, one, one, **extra)


def jagged() -> ak.Array:
    rows = [{"pt": 3.0, "eta": 0.5, "phi": 0.1, "mass": 1.0, "energy": 9.0, "charge": 1}]
    return ak.Array([rows, [], rows * 2])


def test_collections_become_flat_four_vectors_with_offsets() -> None:
    p4, offsets = cartesian(jagged(), ["phi", "pt", "eta", "energy"])
    assert offsets.tolist() == [0, 1, 1, 3]
    np.testing.assert_array_equal(p4[:, 3], 9.0)
    np.testing.assert_array_equal(pt(p4), pt(p4)[0])
    heavy, _ = cartesian(jagged(), ["pt", "eta", "phi", "mass"])
    np.testing.assert_allclose(mass(heavy), 1.0, rtol=1e-13)
    direct = ak.zip({name: ak.Array([[1.0], []]) for name in ("px", "py", "pz", "energy")})
    np.testing.assert_array_equal(cartesian(direct, ["px", "py", "pz", "energy"])[0], [[1.0] * 4])


def test_names_that_make_no_four_vector_are_refused() -> None:
    with pytest.raises(DataError, match="do not make a four-vector; use one of: pt, eta, phi"):
        cartesian(jagged(), ["pt", "eta", "phi", "charge"])
    renamed = ak.with_field(jagged()[["pt", "eta", "phi"]], 1.0, "energies")
    with pytest.raises(DataError, match=r"no field 'energy'.*did you mean 'energies'"):
        cartesian(renamed, ["pt", "eta", "phi", "energy"])
