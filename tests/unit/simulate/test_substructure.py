from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepdl.simulate.showering.substructure import n_subjettiness_ratio, soft_drop_mass

pytestmark = pytest.mark.simulation


def jet(*particles: tuple[float, float, float]) -> ak.Array:
    """One jet of massless particles (pt, eta, phi)."""
    pt, eta, phi = np.array(particles).T
    columns = {
        "px": pt * np.cos(phi),
        "py": pt * np.sin(phi),
        "pz": pt * np.sinh(eta),
        "E": pt * np.cosh(eta),
    }
    return ak.unflatten(ak.zip(columns), [len(pt)])


def test_two_collinear_prongs_have_no_second_subjettiness() -> None:
    # Each prong is two particles in exactly one direction.
    prongs = jet((60, 0.4, 0.0), (40, 0.4, 0.0), (30, -0.4, 0.1), (70, -0.4, 0.1))
    # The minimisation of the axes stops at an accuracy of 1e-4.
    assert n_subjettiness_ratio(prongs, jet_radius=1.0)[0] == pytest.approx(0.0, abs=1e-3)


def test_a_rectangle_of_particles_has_the_ratio_of_its_sides() -> None:
    """tau_2 sums half the short side; tau_1 half the diagonal, about the crossing of both."""
    short, long = 0.1, 0.8
    corners = [(50, sx * long / 2, sy * short / 2) for sx in (-1, 1) for sy in (-1, 1)]
    expected = short / np.hypot(short, long)
    for radius in (0.8, 1.0):
        ratio = n_subjettiness_ratio(jet(*corners), jet_radius=radius)[0]
        assert ratio == pytest.approx(expected, rel=1e-3)


def test_a_single_constituent_has_ratio_and_mass_zero() -> None:
    lonely = jet((250, 0.5, 1.0))
    assert n_subjettiness_ratio(lonely, jet_radius=1.0).tolist() == [0.0]
    # Massless up to the rounding of E² - p².
    assert soft_drop_mass(lonely, jet_radius=1.0)[0] == pytest.approx(0.0, abs=1e-4)


def test_collinear_particles_have_a_finite_ratio() -> None:
    assert np.isfinite(n_subjettiness_ratio(jet((99, 0.5, 1.0), (1, 0.5, 1.0)), jet_radius=1.0))


def test_soft_drop_keeps_two_hard_prongs_and_drops_soft_radiation() -> None:
    prongs = jet((150, 0.0, 0.0), (120, 0.5, 0.3), (2, -0.6, -0.5))
    expected = np.sqrt(2 * 150 * 120 * (np.cosh(0.5) - np.cos(0.3)))
    assert soft_drop_mass(prongs, jet_radius=1.0)[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("fraction", "is_kept"), [(0.095, False), (0.105, True)])
def test_soft_drop_cuts_at_a_tenth_of_the_pt(fraction: float, *, is_kept: bool) -> None:
    hard, soft = 200 * (1 - fraction), 200 * fraction
    mass = soft_drop_mass(jet((hard, 0.0, 0.0), (soft, 0.6, 0.0)), jet_radius=1.0)[0]
    assert bool(mass > 1.0) is is_kept


def test_jets_do_not_depend_on_each_other() -> None:
    one = jet((150, 0.0, 0.0), (120, 0.5, 0.3), (2, -0.6, -0.5))
    two = jet((100, 1.0, 3.1), (80, 1.2, -3.1))
    both = ak.concatenate([one, two])
    for measure in (n_subjettiness_ratio, soft_drop_mass):
        alone = [measure(x, jet_radius=1.0)[0] for x in (one, two)]
        assert measure(both, jet_radius=1.0).tolist() == alone
