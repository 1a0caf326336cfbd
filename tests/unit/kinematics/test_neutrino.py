"""The neutrino: the equation holds, the true one is a solution, complex cases are as stated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq

from hepdl.errors import ConfigError, DataError
from hepdl.kinematics import from_pt_eta_phi, mass
from hepdl.kinematics.neutrino import W_MASS, neutrinos_of

Array = NDArray[np.float64]


def leptons(n: int, seed: int) -> tuple[Array, Array, Array]:
    """Muons, missing momentum and its azimuth, at random."""
    random = np.random.default_rng(seed)
    direction = random.uniform(-2.5, 2.5, n), random.uniform(-np.pi, np.pi, n)
    lepton = from_pt_eta_phi(random.uniform(27, 200, n), *direction, mass=np.full(n, 0.10566))
    return lepton, random.uniform(1, 200, n), random.uniform(-np.pi, np.pi, n)


def transverse_mass(lepton: Array, met: Array, met_phi: Array) -> Array:
    """Of a lepton without mass, the field's formula."""
    pt, phi = np.hypot(lepton[:, 0], lepton[:, 1]), np.arctan2(lepton[:, 1], lepton[:, 0])
    return np.sqrt(2 * pt * met * (1 - np.cos(phi - met_phi)))


def test_real_solutions_make_a_w_and_both_ends_are_covered() -> None:
    lepton, met, met_phi = leptons(2000, 1)
    found = neutrinos_of(lepton, met, met_phi)
    assert 300 < found.is_real.sum() < 1700
    real = found.p4[found.is_real]
    w = real + lepton[found.is_real][:, None]
    # m² comes from differences of E² up to (10 TeV)², and 1e-16 of it.
    energy2 = w[..., 3] ** 2
    assert np.all(np.abs(mass(w) ** 2 - W_MASS**2) < 1e-9 + 1e-13 * energy2)
    assert np.all(np.abs(mass(real) ** 2) < 1e-9 + 1e-13 * real[..., 3] ** 2)
    assert np.all(np.abs(real[:, 0, 2]) <= np.abs(real[:, 1, 2]))


def test_solutions_are_real_where_the_transverse_mass_is_below_the_w() -> None:
    lepton, met, met_phi = leptons(2000, 2)
    away = transverse_mass(lepton, met, met_phi) - W_MASS
    clear = np.abs(away) > 0.01  # the muon's mass moves the edge by less
    found = neutrinos_of(lepton, met, met_phi)
    assert np.array_equal(found.is_real[clear], away[clear] < 0)


def test_solutions_are_the_zeros_that_a_root_finder_finds() -> None:
    lepton, met, met_phi = leptons(30, 3)
    found = neutrinos_of(lepton, met, met_phi)
    for event in np.flatnonzero(found.is_real):
        px, py = met[event] * np.cos(met_phi[event]), met[event] * np.sin(met_phi[event])

        def off(pz: float, lepton=lepton[event], px=px, py=py) -> float:
            total = lepton + np.array([px, py, pz, np.sqrt(px**2 + py**2 + pz**2)])
            return total[3] ** 2 - (total[:3] ** 2).sum() - W_MASS**2

        low, high = np.sort(found.p4[event, :, 2])
        if high - low < 1.0:
            continue
        # The mass falls and rises again, so each zero lies between the middle and far outside.
        middle = (low + high) / 2
        assert brentq(off, middle - 10 * (high - low), middle) == pytest.approx(low, abs=1e-6)
        assert brentq(off, middle, middle + 10 * (high - low)) == pytest.approx(high, abs=1e-6)


def test_the_true_neutrino_of_a_w_is_one_of_the_two(exact_tth: Callable) -> None:
    events = exact_tth(500, seed=4)
    true = events.neutrino
    met, met_phi = np.hypot(true[:, 0], true[:, 1]), np.arctan2(true[:, 1], true[:, 0])
    found = neutrinos_of(events.lepton, met, met_phi)
    # A true W of 80.4 GeV has real solutions, but for rounding at the edge.
    assert found.is_real.mean() > 0.99
    off = np.abs(found.p4[:, :, 2] - true[:, None, 2]).min(axis=1)
    # Near the edge the root loses half of the digits.
    assert np.quantile(off, 0.95) < 1e-6
    assert off.max() < 1e-2


def test_the_real_part_keeps_the_missing_momentum() -> None:
    lepton, met, met_phi = leptons(2000, 5)
    found = neutrinos_of(lepton, met, met_phi)
    p4 = found.p4[~found.is_real]
    assert np.array_equal(p4[:, 0], p4[:, 1])
    assert np.hypot(p4[:, 0, 0], p4[:, 0, 1]) == pytest.approx(met[~found.is_real], rel=1e-14)
    # The mean of the two solutions of Vieta, k pz / m_T², with the mass above the W's.
    assert np.all(mass(p4[:, 0] + lepton[~found.is_real]) > W_MASS)


def test_rescaling_brings_the_w_back_along_the_missing_momentum() -> None:
    lepton, met, met_phi = leptons(2000, 6)
    found = neutrinos_of(lepton, met, met_phi, complex_case="rescale")
    p4 = found.p4[~found.is_real]
    assert mass(p4[:, 0] + lepton[~found.is_real]) == pytest.approx(W_MASS, rel=1e-9)
    assert np.hypot(p4[:, 0, 0], p4[:, 0, 1]).max() < met[~found.is_real].max()
    assert np.all(np.hypot(p4[:, 0, 0], p4[:, 0, 1]) < met[~found.is_real])
    turned = np.arctan2(p4[:, 0, 1], p4[:, 0, 0]) - met_phi[~found.is_real]
    assert np.cos(turned) == pytest.approx(1.0, abs=1e-14)
    # Massless lepton: the edge is where the transverse mass is the W's.
    size = np.hypot(p4[:, 0, 0], p4[:, 0, 1])
    at_edge = transverse_mass(lepton[~found.is_real], size, met_phi[~found.is_real])
    assert at_edge == pytest.approx(W_MASS, abs=0.01)


def test_a_muon_across_and_a_neutrino_opposite_have_the_closed_form() -> None:
    # pT = 40 and s = 30, back to back, lepton at η = 0: k = m²/2 - 1200, pz = ± √(k² - 1600·900)/40.
    lepton = np.array([[40.0, 0.0, 0.0, 40.0]])
    found = neutrinos_of(lepton, np.array([30.0]), np.array([np.pi]))
    expected = np.sqrt((W_MASS**2 / 2 - 1200) ** 2 - 1600 * 900) / 40
    assert sorted(found.p4[0, :, 2]) == pytest.approx([-expected, expected], rel=1e-13)


def test_an_unknown_case_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'real_part'"):
        neutrinos_of(*leptons(1, 0), complex_case="realpart")


def test_an_event_without_lepton_or_missing_momentum_is_named() -> None:
    lepton, met, met_phi = leptons(5, 7)
    lepton[3] = 0.0
    with pytest.raises(DataError, match=r"event 3: lepton pT 0 GeV, .* and 1 of 5 events"):
        neutrinos_of(lepton, met, met_phi)
    lepton, met, met_phi = leptons(5, 7)
    met[1:3] = np.nan
    with pytest.raises(
        DataError, match=r"event 1: .* missing momentum nan GeV .* and 2 of 5 events"
    ):
        neutrinos_of(lepton, met, met_phi)
