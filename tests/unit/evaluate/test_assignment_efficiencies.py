"""Efficiencies of reconstructed particles: by hand, by a plain loop, and for a blind choice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hepdl.errors import ConfigError, DataError
from hepdl.evaluate.assignments import (
    JudgedAssignments,
    assignment_efficiencies,
    groups_by_number,
)
from hepdl.evaluate.efficiency import binned_efficiency
from hepdl.kinematics import (
    TTH_DECAY,
    TTH_PARTONS,
    Candidates,
    Decay,
    assign,
    compare_with_truth,
)

NAMES = ("top_had", "higgs")


def judged(n_events, *, seed=0, n_candidates=3):
    """Return verdicts in which nothing is right where truth cannot tell."""
    rng = np.random.default_rng(seed)
    known = rng.random((n_events, 2)) < 0.7
    right = (rng.random((n_events, n_candidates, 2)) < 0.3) & known[:, None]
    weight = rng.normal(0.7, 0.6, n_events)
    return right, known, weight, rng.integers(5, 11, n_events)


def test_shares_by_hand():
    right = np.array([[[1, 1]], [[1, 0]], [[0, 1]], [[0, 0]]], dtype=bool)
    known = np.array([[1, 1], [1, 1], [0, 1], [1, 0]], dtype=bool)
    weight = [1.0, 2.0, 3.0, 4.0]
    found = assignment_efficiencies(
        JudgedAssignments.best_first(right, known, names=NAMES), weight
    )["all"]
    assert list(found) == ["top_had", "higgs", "event"]
    # Known in events of weight 1, 2, 4 and right in 1, 2; known in 1, 2, 3 and right in 1, 3.
    assert found["top_had"].efficiency.value == pytest.approx(3 / 7, rel=1e-14)
    assert found["higgs"].efficiency.value == pytest.approx(4 / 6, rel=1e-14)
    assert found["event"].efficiency.value == pytest.approx(1 / 3, rel=1e-14)
    assert found["top_had"].known.value == pytest.approx(0.7, rel=1e-14)
    assert found["event"].known.value == pytest.approx(0.3, rel=1e-14)
    assert [entry.n_known for entry in found.values()] == [3, 3, 2]
    assert found["event"].n_effective == pytest.approx(9 / 5, rel=1e-14)
    # With one candidate the ceiling is the efficiency, and the choice among one is always pure.
    assert found["higgs"].ceiling == found["higgs"].efficiency
    assert found["higgs"].purity.value == 1.0


def test_all_shares_equal_a_plain_loop_over_events():
    right, known, weight, n_jets = judged(500)
    verdicts = JudgedAssignments.best_first(right, known, names=NAMES)
    found = assignment_efficiencies(verdicts, weight, groups=groups_by_number(n_jets))
    assert list(found) == ["6", "7", "≥ 8", "all"]
    is_in = {
        "6": lambda n: n == 6,
        "7": lambda n: n == 7,
        "≥ 8": lambda n: n >= 8,
        "all": lambda n: True,
    }
    columns = {"top_had": [0], "higgs": [1], "event": [0, 1]}
    for group, condition in is_in.items():
        for name, chosen in columns.items():
            total = known_sum = right_sum = any_sum = 0.0
            for i in range(500):
                if not condition(n_jets[i]):
                    continue
                total += weight[i]
                if not all(known[i, k] for k in chosen):
                    continue
                known_sum += weight[i]
                candidates = [all(right[i, c, k] for k in chosen) for c in range(3)]
                right_sum += weight[i] * candidates[0]
                any_sum += weight[i] * any(candidates)
            entry = found[group][name]
            # Sums of at most 500 signed numbers.
            assert entry.known.value == pytest.approx(known_sum / total, rel=1e-10)
            assert entry.efficiency.value == pytest.approx(right_sum / known_sum, rel=1e-10)
            assert entry.ceiling.value == pytest.approx(any_sum / known_sum, rel=1e-10)
            assert entry.purity.value == pytest.approx(right_sum / any_sum, rel=1e-10)


def test_interval_is_that_of_a_weighted_efficiency():
    right, known, weight, n_jets = judged(300, seed=1)
    weight = np.abs(weight)
    found = assignment_efficiencies(
        JudgedAssignments.best_first(right, known, names=NAMES),
        weight,
        groups={"seven": n_jets == 7},
    )["seven"]["higgs"].efficiency
    use = known[:, 1] & (n_jets == 7)
    expected = binned_efficiency(np.zeros(use.sum()), right[use, 0, 1], weight[use], edges=[-1, 1])
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value[0], expected.low[0], expected.high[0]), rel=1e-12
    )
    assert 0.0 < found.low < found.value < found.high < 1.0


def test_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(2)
    n_trials, n_events, truth = 500, 150, 0.4
    right = rng.random((n_trials * n_events, 1, 1)) < truth
    known = np.ones((n_trials * n_events, 1), dtype=bool)
    trial = np.repeat(np.arange(n_trials), n_events)
    found = assignment_efficiencies(
        JudgedAssignments.best_first(right, known, names=["higgs"]),
        rng.exponential(size=len(trial)),
        groups={str(k): trial == k for k in range(n_trials)},
    )
    hits = [
        entry["higgs"].efficiency.low <= truth <= entry["higgs"].efficiency.high
        for entry in found.values()
    ]
    assert abs(np.mean(hits) - 0.683) < 5 * math.sqrt(0.683 * 0.317 / n_trials)


def test_blind_choice_finds_the_higgs_in_a_sixth_and_the_event_in_a_twelfth():
    # Four candidates for b-jets and two for light jets: the pair of the Higgs boson is one of six,
    # the two b-jets of the tops can be swapped, and the light jets make one W: 12 assignments.
    n_events = 4000
    decay = Decay.from_mapping(TTH_DECAY)
    rng = np.random.default_rng(3)
    b_jets, light = np.tile([0, 1, 2, 3], (n_events, 1)), np.tile([4, 5], (n_events, 1))
    one = np.zeros((n_events, 1), dtype=np.int64)
    made = assign(
        decay,
        {
            "b_jet": Candidates("jets", b_jets),
            "light_jet": Candidates("jets", light),
            "lepton": Candidates("lepton", one),
            "neutrino": Candidates("neutrino", one),
        },
    )
    n_assignments = made.mask.shape[1]
    assert n_assignments == 12
    order = np.argsort(rng.random((n_events, n_assignments)), axis=1)
    truth = np.full((n_events, len(decay.leaves)), -1)
    for leaf, jet in {"b_lep": 0, "b_had": 1, "q1": 4, "q2": 5, "b1": 2, "b2": 3}.items():
        truth[:, decay.leaves.index(leaf)] = jet
    compared = compare_with_truth(
        decay, made.members(order), truth,
        collections=made.collections, leaves=tuple(TTH_PARTONS),
    )  # fmt: skip
    found = assignment_efficiencies(
        JudgedAssignments.best_first(
            compared.is_right,
            compared.is_known,
            names=[particle.name for particle in decay.particles],
            particles=("top_lep", "top_had", "higgs"),
        )
    )["all"]
    for name, expected in {
        "higgs": 1 / 6,
        "top_lep": 1 / 4,
        "top_had": 1 / 4,
        "event": 1 / 12,
    }.items():
        error = math.sqrt(expected * (1 - expected) / n_events)
        assert found[name].efficiency.value == pytest.approx(expected, abs=5 * error)
        assert found[name].ceiling.value == 1.0
        assert found[name].known.value == 1.0


def test_group_without_known_events_is_unknown_and_not_zero():
    right, known = np.zeros((3, 1, 1), dtype=bool), np.zeros((3, 1), dtype=bool)
    known[0] = True
    verdicts = JudgedAssignments.best_first(right, known, names=["higgs"])
    found = assignment_efficiencies(
        verdicts, groups={"none": [False] * 3, "last": [False, False, True]}
    )
    assert math.isnan(found["none"]["higgs"].known.value)
    assert found["last"]["higgs"].known.value == 0.0
    assert math.isnan(found["last"]["higgs"].efficiency.value)
    assert found["last"]["higgs"].efficiency.as_dict()["value"] is None
    assert found["last"]["event"].n_known == 0


def test_methods_that_judge_one_candidate_need_say_nothing_of_others():
    right, known = np.ones((2, 1), dtype=bool), np.ones((2, 1), dtype=bool)
    entry = assignment_efficiencies(JudgedAssignments(("higgs",), right, known))["all"]["event"]
    assert (entry.ceiling, entry.purity) == (None, None)
    assert entry.efficiency.value == 1.0


def test_unusable_input_is_refused():
    right, known, weight, _ = judged(10)
    with pytest.raises(ConfigError, match="did you mean 'higgs'"):
        JudgedAssignments.best_first(right, known, names=NAMES, particles=["higs"])
    with pytest.raises(DataError, match=r"is_right has shape \(10, 2\)"):
        JudgedAssignments.best_first(right[:, 0], known, names=NAMES)
    with pytest.raises(DataError, match=r"10 events .*is_known.*\(9, 2\)"):
        JudgedAssignments(NAMES, right[:, 0], known[:9])
    with pytest.raises(DataError, match="any_whole"):
        JudgedAssignments(NAMES, right[:, 0], known, any_whole=known)
    with pytest.raises(ConfigError, match="a particle is called 'event'"):
        JudgedAssignments(("event", "higgs"), right[:, 0], known)
    verdicts = JudgedAssignments(NAMES, right[:, 0], known)
    with pytest.raises(DataError, match="9 event weights for 10 events"):
        assignment_efficiencies(verdicts, weight[:9])
    with pytest.raises(DataError, match=r"group 'six' has shape \(9,\) for 10 events"):
        assignment_efficiencies(verdicts, groups={"six": np.ones(9, dtype=bool)})
