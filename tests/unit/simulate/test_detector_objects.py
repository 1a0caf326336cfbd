"""Resolution, energy scale, leptons, missing momentum and flavour against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from hepdl.errors import ConfigError
from hepdl.simulate.detector.angles import delta_phi, delta_r
from hepdl.simulate.detector.flavour import are_last_hadrons, contains_quark, label_jets
from hepdl.simulate.detector.leptons import are_found, are_isolated
from hepdl.simulate.detector.measurement import MAX_JETS, TrueEvents, measure
from hepdl.simulate.detector.missing_momentum import missing_momentum, smear_soft_term
from hepdl.simulate.detector.padding import pad_rows
from hepdl.simulate.detector.smearing import (
    jet_resolution,
    scale_factor,
    scale_uncertainty,
    smear_jets,
    smear_leptons,
)

N = 40_000


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.mark.parametrize("pt", [25.0, 60.0, 400.0])
def test_jets_are_smeared_by_the_resolution_and_not_shifted(
    pt: float, random: np.random.Generator
) -> None:
    expected = np.sqrt((4.0 / pt) ** 2 + 0.75**2 / pt + 0.035**2)
    factor = smear_jets(np.full(N, pt), random)
    assert jet_resolution(np.array([pt]))[0] == pytest.approx(expected)
    # Standard errors of the mean and of the width of N Gaussian numbers.
    assert abs(factor.mean() - 1.0) < 5 * expected / np.sqrt(N)
    assert abs(factor.std() / expected - 1.0) < 5 / np.sqrt(2 * N)


def test_no_jet_gets_a_negative_energy(random: np.random.Generator) -> None:
    # At 5 GeV the resolution is 90 %: one in eight Gaussian numbers would give a negative energy.
    assert smear_jets(np.full(N, 5.0), random).min() == 0.05


def test_leptons_are_smeared_by_two_per_cent(random: np.random.Generator) -> None:
    factor = smear_leptons(np.full(N, 40.0), random)
    assert abs(factor.std() / 0.02 - 1.0) < 5 / np.sqrt(2 * N)
    assert abs(factor.mean() - 1.0) < 5 * 0.02 / np.sqrt(N)


def test_scales_go_up_and_down_by_the_uncertainty() -> None:
    pt = np.array([20.0, 45.0, 200.0, 2000.0])
    up, down = scale_factor(pt, "jes_up"), scale_factor(pt, "jes_down")
    np.testing.assert_allclose(up - 1.0, np.sqrt(0.01**2 + (0.9 / pt) ** 2))
    np.testing.assert_allclose(up + down, 2.0)
    np.testing.assert_array_equal(scale_factor(pt, "nominal"), 1.0)
    assert (np.diff(scale_uncertainty(pt)) < 0.0).all()
    # A harder jet stays harder: pT (1 + u) rises with pT.
    ladder = np.linspace(15.0, 500.0, 1000)
    assert (np.diff(ladder * scale_factor(ladder, "jes_down")) > 0.0).all()


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown variation 'jes_upp'.*did you mean 'jes_up'"):
        scale_factor(np.ones(1), "jes_upp")


@pytest.mark.parametrize(("identity", "efficiency"), [(11, 0.85), (-13, 0.92), (15, 0.0), (0, 0.0)])
def test_leptons_are_found_with_the_stated_efficiency(
    identity: int, efficiency: float, random: np.random.Generator
) -> None:
    found = are_found(np.full(N, identity), random).mean()
    assert abs(found - efficiency) <= 5 * np.sqrt(efficiency * (1 - efficiency) / N)


def test_a_lepton_is_isolated_unless_a_real_jet_is_near() -> None:
    jet_eta, jet_phi = (
        np.array([[0.0], [0.0], [0.0], [0.0]]),
        np.array([[0.0], [0.0], [0.0], [3.1]]),
    )
    lepton_eta, lepton_phi = np.array([0.3, 0.3, 0.41, 0.0]), np.array([0.2, 0.2, 0.0, -3.1])
    is_jet = np.array([[True], [False], [True], [True]])
    # At 0.36; at 0.36 of padding; at 0.41; at 0.08 across the edge of phi.
    expected = [False, True, True, False]
    assert are_isolated(lepton_eta, lepton_phi, jet_eta, jet_phi, is_jet).tolist() == expected


def test_angles_are_periodic() -> None:
    assert delta_phi(np.array(3.0), np.array(-3.0)) == pytest.approx(6.0 - 2 * np.pi)
    assert delta_r(np.array(1.0), np.array(3.0), np.array(1.0), np.array(-3.0)) == pytest.approx(
        2 * np.pi - 6.0
    )


def test_missing_momentum_is_that_of_an_unseen_particle(random: np.random.Generator) -> None:
    unseen = random.normal(0.0, 40.0, (500, 2))
    jets, lepton = random.normal(0.0, 60.0, (500, 5, 2)), random.normal(0.0, 40.0, (500, 2))
    soft = -(unseen + jets.sum(axis=1) + lepton)
    met, phi = missing_momentum(jets, lepton, soft)
    np.testing.assert_allclose(met * np.cos(phi), unseen[:, 0], atol=1e-9)
    np.testing.assert_allclose(met * np.sin(phi), unseen[:, 1], atol=1e-9)


def test_missing_momentum_of_nothing_unseen_is_the_resolution(random: np.random.Generator) -> None:
    soft = smear_soft_term(np.zeros((N, 2)), random)
    met, _ = missing_momentum(np.zeros((N, 3, 2)), np.zeros((N, 2)), soft)
    # Rayleigh distribution: mean sigma sqrt(pi / 2), width sigma sqrt(2 - pi / 2).
    assert abs(met.mean() - 8.0 * np.sqrt(np.pi / 2)) < 5 * 8.0 * np.sqrt((2 - np.pi / 2) / N)


def test_hadrons_are_known_by_their_digits() -> None:
    # B+, B*0_s, Lambda_b, Upsilon, D+, J/psi, Lambda_c, Xi_cc, K-short, pion, proton,
    # diquarks, a quark, a lepton, a gluon.
    bottom, charm = (521, -533, 5122, 553), (411, 443, -4122, 4422)
    light, none = (310, 211, 2212), (5101, 5503, 4203, 5, 13, 21, 90)
    every = np.array([*bottom, *charm, *light, *none])
    assert every[contains_quark(every, 5)].tolist() == list(bottom)
    assert every[contains_quark(every, 4)].tolist() == list(charm)


def test_only_the_last_hadron_of_a_chain_counts() -> None:
    # system, quark, B*, B, (D, photon): the B* is followed by a B, the B by a D.
    identity = np.array([90, 5, 513, 511, 411, 22])
    mother = np.array([0, 0, 1, 2, 3, 2])
    assert np.flatnonzero(are_last_hadrons(contains_quark(identity, 5), mother)).tolist() == [3]
    assert np.flatnonzero(are_last_hadrons(contains_quark(identity, 4), mother)).tolist() == [4]


def test_bottom_wins_over_charm_and_far_hadrons_do_not_count() -> None:
    jet_eta, jet_phi = np.array([[0.0, 1.0, -1.0, 2.0]]), np.array([[0.0, 1.0, 3.1, 0.0]])
    bottom = np.array([[0.1, np.nan]]), np.array([[0.1, np.nan]])
    charm = np.array([[0.1, -1.1, 2.31]]), np.array([[0.0, -3.1, 0.0]])
    hadrons = {5: bottom, 4: charm}
    assert label_jets(jet_eta, jet_phi, hadrons).tolist() == [[5, 0, 4, 0]]


def test_padding_drops_what_is_beyond_the_width() -> None:
    event = np.array([0, 0, 0, 3])
    rows = pad_rows(np.arange(4.0), event, 4, fill=-1.0, width=2)
    assert rows.tolist() == [[0.0, 1.0], [-1.0, -1.0], [-1.0, -1.0], [3.0, -1.0]]
    assert pad_rows(np.zeros((0, 4)), np.zeros(0, dtype=int), 2, fill=0.0).shape == (2, 0, 4)


def test_random_numbers_do_not_depend_on_what_is_in_the_events() -> None:
    """Else one event more in a batch would change all the others."""

    def events(n_jets: int) -> TrueEvents:
        jets = np.zeros((3, MAX_JETS, 4))
        jets[:, :n_jets] = [50.0, 0.0, 0.0, 50.0]
        zeros = np.zeros((3, 2))
        return TrueEvents(
            lepton=np.ones((3, 3)),
            identity=np.full(3, 11),
            jets=jets,
            flavour=np.zeros((3, MAX_JETS), dtype=np.int8),
            soft=zeros,
            partons=np.full((3, 6, 2), np.nan),
        )

    few, many = (measure(events(n), np.random.default_rng(1)) for n in (2, 9))
    np.testing.assert_array_equal(few.jets[:, :2], many.jets[:, :2])
    np.testing.assert_array_equal(few.tag, many.tag)
    np.testing.assert_array_equal(few.soft, many.soft)
    np.testing.assert_array_equal(few.lepton_pt, many.lepton_pt)
    # The four-momentum is scaled as a whole.
    np.testing.assert_allclose(many.jets[..., 0], many.jets[..., 3])
