"""Assignments against itertools, χ² against a plain sum, and the truth of exact decays."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hepdl.errors import ConfigError, DataError
from hepdl.kinematics import mass
from hepdl.kinematics.assignments import Assignments, Candidates, assign, chi_square, k_best
from hepdl.kinematics.decays import Decay
from hepdl.kinematics.neutrino import neutrinos_of
from hepdl.kinematics.tth_assignments import TTH_DECAY, tth_candidates

TOPS = Decay.from_mapping(
    {
        "particles": {
            "tt": ["top1", "top2"],
            "top1": {"daughters": ["w1", "b1"], "mass": 172.5, "resolution": 20},
            "w1": {"daughters": ["q1", "q2"], "mass": 80.4, "resolution": 10},
            "top2": {"daughters": ["w2", "b2"], "mass": 172.5, "resolution": 20},
            "w2": {"daughters": ["q3", "q4"], "mass": 80.4, "resolution": 10},
        },
        "leaves": dict.fromkeys(["b1", "b2", "q1", "q2", "q3", "q4"], "jet"),
    }
)


def jets_of(counts: list[int], seed: int = 0) -> tuple[NDArray[np.float64], Candidates]:
    """Jets of each event, and all of them as candidates."""
    random = np.random.default_rng(seed)
    n = max(counts)
    p3 = random.normal(0.0, 60.0, (len(counts), n, 3))
    energy = np.sqrt((p3**2).sum(axis=2) + 5.0**2)
    places = np.tile(np.arange(n), (len(counts), 1))
    members = np.where(places < np.array(counts)[:, None], places, -1)
    return np.concatenate([p3, energy[..., None]], axis=2), Candidates("jets", members)


def nested(members: Any) -> frozenset[frozenset[Any]]:
    """Two tops, each of a set of two light jets and a b-jet."""
    wanted = ("q1", "q2", "b1", "q3", "q4", "b2")
    q1, q2, b1, q3, q4, b2 = (members[TOPS.leaves.index(name)] for name in wanted)
    return frozenset([frozenset([frozenset([q1, q2]), b1]), frozenset([frozenset([q3, q4]), b2])])


def test_every_assignment_of_all_hadronic_tops_is_there_once() -> None:
    _, candidates = jets_of([6, 7, 5])
    found = assign(TOPS, {"jet": candidates})
    # 7! / 1! orders of six out of seven, over eight symmetries; 6! / 8 of them with six jets.
    assert len(found.table) == 630
    assert found.mask.sum(axis=1).tolist() == [90, 630, 0]
    for event, n in ((0, 6), (1, 7)):
        members = found.members()[event][found.mask[event]]
        expected = {nested(order) for order in itertools.permutations(range(n), 6)}
        listed = [nested(row) for row in members.tolist()]
        assert len(listed) == len(set(listed))
        assert set(listed) == expected
    assert (found.members()[2] == -1).all()


def test_tth_has_72_assignments_for_each_neutrino() -> None:
    # 4·3 ways for the b-jets of the tops, one for the Higgs boson's, six for the two light jets.
    random = np.random.default_rng(0)
    jets = random.normal(0.0, 60.0, (2, 8, 4))
    jets[..., 3] = 500.0
    jets = np.take_along_axis(jets, np.argsort(-np.hypot(jets[..., 0], jets[..., 1]))[..., None], 1)
    candidates = tth_candidates(
        jets, np.zeros((2, 8)), np.ones((2, 8), dtype=bool), np.array([True, False])
    )
    found = assign(Decay.from_mapping(TTH_DECAY), candidates)
    assert found.mask.sum(axis=1).tolist() == [144, 72]


def test_kinds_that_share_a_collection_never_share_a_member() -> None:
    decay = Decay.from_mapping(
        {"particles": {"w": ["a", "b"]}, "leaves": {"a": "first", "b": "second"}}
    )
    candidates = {
        "first": Candidates("jets", np.array([[0, 1]])),
        "second": Candidates("jets", np.array([[1, 2]])),
    }
    found = assign(decay, candidates)
    rows = found.members()[0][found.mask[0]]
    assert {tuple(row) for row in rows.tolist()} == {(0, 1), (0, 2), (1, 2)}
    elsewhere = {**candidates, "second": Candidates("leptons", np.array([[1, 2]]))}
    assert assign(decay, elsewhere).mask.sum() == 4


def test_chi_square_is_the_sum_of_squared_pulls() -> None:
    jets, candidates = jets_of([7, 6, 7], seed=2)
    found = assign(TOPS, {"jet": candidates})
    cost = chi_square(found, {"jets": jets})
    members = found.members()
    for event, row in itertools.product(range(3), range(0, len(found.table), 7)):
        if not found.mask[event, row]:
            assert cost[event, row] == np.inf
            continue
        p4 = dict(zip(TOPS.leaves, jets[event][members[event, row]], strict=True))
        w1, w2 = p4["q1"] + p4["q2"], p4["q3"] + p4["q4"]
        pulls = [
            (mass(w1) - 80.4) / 10,
            (mass(w2) - 80.4) / 10,
            (mass(w1 + p4["b1"]) - 172.5) / 20,
            (mass(w2 + p4["b2"]) - 172.5) / 20,
        ]
        assert cost[event, row] == pytest.approx(np.square(pulls).sum(), rel=1e-10)


def test_momenta_of_particles_are_sums_and_absent_assignments_are_zero() -> None:
    jets, candidates = jets_of([7, 5], seed=3)
    found = assign(TOPS, {"jet": candidates})
    chosen = np.array([[3, -1], [-1, -1]])
    p4 = found.momenta({"jets": jets}, chosen)
    members = found.members(chosen)
    assert p4.shape == (2, 2, 11, 4)
    assert np.array_equal(p4[0, 0, :6], jets[0][members[0, 0]])
    assert p4[0, 0, -1] == pytest.approx(jets[0][members[0, 0]].sum(axis=0), rel=1e-14)
    assert not p4[0, 1].any()
    assert not p4[1].any()
    tags = found.values("b1", np.arange(14.0).reshape(2, 7), chosen)
    assert tags[0, 0] == members[0, 0, TOPS.leaves.index("b1")]
    assert np.isnan(tags[0, 1])
    assert np.isnan(tags[1]).all()


def test_the_best_are_those_of_a_stable_sort() -> None:
    random = np.random.default_rng(4)
    # Few different values, so that equal ones are common.
    cost = random.integers(0, 12, (200, 30)).astype(float)
    cost[random.random(cost.shape) < 0.4] = np.inf
    cost[3] = np.inf
    expected = np.argsort(cost, axis=1, kind="stable")[:, :8]
    expected[np.isinf(np.take_along_axis(cost, expected, axis=1))] = -1
    assert np.array_equal(k_best(cost, 8), expected)
    assert k_best(cost, 40).shape == (200, 40)
    assert k_best(cost, 0).shape == (200, 0)
    assert np.array_equal(k_best(np.array([[np.nan, 2.0]]), 2), [[1, -1]])


def exact_assignments(exact_tth: Callable[..., Any]) -> tuple[Any, Assignments, dict[str, Any]]:
    """Assignments of exact decays, with the masses that they have."""
    events = exact_tth(300, seed=7)
    met = np.hypot(events.neutrino[:, 0], events.neutrino[:, 1])
    met_phi = np.arctan2(events.neutrino[:, 1], events.neutrino[:, 0])
    neutrinos = neutrinos_of(events.lepton, met, met_phi)
    poles = {"top_lep": 172.5, "top_had": 172.5, "w_had": 80.4, "higgs": 125.0}
    particles = dict(TTH_DECAY["particles"])
    particles |= {name: {**particles[name], "mass": m} for name, m in poles.items()}
    description = {**TTH_DECAY, "particles": particles}
    decay = Decay.from_mapping(description)
    candidates = tth_candidates(events.jets, events.b_tag, events.mask, neutrinos.is_real)
    momenta = {
        "jets": events.jets, "lepton": events.lepton[:, None], "neutrino": neutrinos.p4,
    }  # fmt: skip
    return events, assign(decay, candidates), momenta


def test_the_truth_of_exact_decays_has_no_chi_square_and_comes_first(
    exact_tth: Callable[..., Any],
) -> None:
    events, found, momenta = exact_assignments(exact_tth)
    cost = chi_square(found, momenta)
    best = k_best(cost, 1)
    # Of the other 143 none hits four masses by chance within 1e-4 of a resolution; near the edge of
    # the neutrino's equation half of the digits are lost.
    smallest = np.take_along_axis(cost, best, axis=1)[:, 0]
    assert np.quantile(smallest, 0.9) < 1e-12
    assert smallest.max() < 1e-4
    members = found.members(best)[:, 0]
    quarks = ("b_lep", "q1", "q2", "b_had", "b1", "b2")
    for event in range(300):
        jet_of = {name: int(np.flatnonzero(events.quark_of_jet[event] == i)[0])
                  for i, name in enumerate(quarks)}  # fmt: skip
        got = dict(zip(found.decay.leaves, members[event].tolist(), strict=True))
        assert (got["b_lep"], got["b_had"]) == (jet_of["b_lep"], jet_of["b_had"])
        # Identical daughters come by falling pT, as the jets do.
        assert [got["q1"], got["q2"]] == sorted([jet_of["q1"], jet_of["q2"]])
        assert [got["b1"], got["b2"]] == sorted([jet_of["b1"], jet_of["b2"]])


def test_events_with_too_few_jets_have_no_assignment_and_nothing_breaks() -> None:
    jets, candidates = jets_of([3, 0], seed=5)
    found = assign(TOPS, {"jet": candidates})
    assert len(found.table) == 0
    best = k_best(chi_square(found, {"jets": jets}), 2)
    assert (best == -1).all()
    assert (found.members(best) == -1).all()
    assert not found.momenta({"jets": jets}, best).any()


def test_what_is_missing_is_named() -> None:
    jets, candidates = jets_of([6])
    with pytest.raises(
        ConfigError, match=r"unknown kind of candidates 'jet' .*did you mean 'jets'"
    ):
        assign(TOPS, {"jets": candidates})
    found = assign(TOPS, {"jet": candidates})
    with pytest.raises(DataError, match=r"unknown collection 'jets'.*\navailable: muons"):
        chi_square(found, {"muons": jets})
    plain = Decay.from_mapping({"particles": {"w": ["a", "b"]}, "leaves": {"a": "jet", "b": "jet"}})
    with pytest.raises(ConfigError, match=r"no particle of the decay has a mass \(w\)"):
        chi_square(assign(plain, {"jet": candidates}), {"jets": jets})
    mixed = Decay.from_mapping({"particles": {"w": ["a", "b"]}, "leaves": {"a": "x", "b": "y"}})
    with pytest.raises(DataError, match="different numbers of events"):
        assign(mixed, {"x": candidates, "y": jets_of([6, 6])[1]})
    _, many = jets_of([30])
    with pytest.raises(ConfigError, match="take fewer candidates"):
        assign(TOPS, {"jet": many})
