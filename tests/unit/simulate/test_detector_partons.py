"""Matching of partons and jets on hand-made events, and against a plain loop."""

from __future__ import annotations

import numpy as np

from hepdl.simulate.detector.parton_matching import PARTONS, match_partons, partons_of_jets


def match(partons: list[tuple[float, float]], jets: list[tuple[float, float]]) -> list[int]:
    parton, jet = np.array(partons)[None], np.array(jets)[None]
    is_jet = np.ones(jet.shape[:2], dtype=bool)
    found, _ = match_partons(parton[..., 0], parton[..., 1], jet[..., 0], jet[..., 1], is_jet)
    return found[0].tolist()


def test_a_parton_takes_the_nearest_jet() -> None:
    assert match([(0.0, 0.0)], [(0.3, 0.0), (0.1, 0.1), (2.0, 0.0)]) == [1]


def test_a_jet_at_the_radius_is_too_far() -> None:
    assert match([(0.0, 0.0), (1.0, 0.0)], [(0.41, 0.0), (1.0, 0.39)]) == [-1, 1]


def test_phi_is_periodic() -> None:
    assert match([(0.0, 3.1)], [(0.0, -3.1)]) == [0]


def test_the_nearer_of_two_partons_keeps_the_jet_and_the_other_has_none() -> None:
    partons, jets = [(0.0, 0.0), (0.3, 0.0)], [(0.1, 0.0), (0.6, 0.0)]
    # The second parton is 0.2 from the first jet and 0.3 from the second, which it does not take.
    assert match(partons, jets) == [0, -1]


def test_lost_jets_are_counted() -> None:
    eta = np.array([[0.0, 0.1, 0.2, np.nan, np.nan, np.nan]])
    zeros = np.zeros((1, 1))
    jet, n_lost = match_partons(eta, 0.0 * eta, zeros, zeros, np.ones((1, 1), dtype=bool))
    assert jet.tolist() == [[0, -1, -1, -1, -1, -1]]
    assert n_lost.tolist() == [2]


def test_absent_partons_and_jets_that_are_not_selected_match_nothing() -> None:
    eta = np.array([[np.nan, 0.0]])
    jet, n_lost = match_partons(eta, eta, np.zeros((1, 1)), np.zeros((1, 1)), np.array([[False]]))
    assert jet.tolist() == [[-1, -1]]
    assert n_lost.tolist() == [0]
    none = np.zeros((1, 0))
    jet, _ = match_partons(eta, eta, none, none, none.astype(bool))
    assert jet.tolist() == [[-1, -1]]


def test_matching_is_that_of_a_loop() -> None:
    random = np.random.default_rng(2)
    parton, jet = random.uniform(-1.2, 1.2, (300, 6, 2)), random.uniform(-1.2, 1.2, (300, 8, 2))
    is_jet = random.random((300, 8)) < 0.8
    found, n_lost = match_partons(parton[..., 0], parton[..., 1], jet[..., 0], jet[..., 1], is_jet)
    for event in range(300):
        takers: dict[int, list[tuple[float, int]]] = {}
        for p in range(6):
            distances = {
                j: float(np.hypot(*(parton[event, p] - jet[event, j])))
                for j in range(8)
                if is_jet[event, j]
            }
            nearest = min(distances, key=distances.__getitem__)
            if distances[nearest] < 0.4:
                takers.setdefault(nearest, []).append((distances[nearest], p))
        expected = [-1] * 6
        for j, candidates in takers.items():
            expected[min(candidates)[1]] = j
        assert found[event].tolist() == expected
        assert n_lost[event] == sum(len(candidates) - 1 for candidates in takers.values())
    used = np.sort(np.where(found < 0, -1 - np.arange(6), found), axis=1)
    assert (np.diff(used, axis=1) > 0).all()


def test_the_code_of_a_jet_names_its_parton() -> None:
    jet = np.array([[2, -1, 0, -1, -1, 3]])
    codes = partons_of_jets(jet, 5)
    assert codes.tolist() == [[3, 0, 1, 6, 0]]
    assert [PARTONS[code - 1] for code in codes[0] if code] == ["q1", "b_lep", "b2"]
