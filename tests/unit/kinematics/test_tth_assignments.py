"""Candidates and features of ttH(bb) assignments, feature by feature with the package vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import vector

from hepdl.kinematics.assignments import assign, chi_square, k_best
from hepdl.kinematics.decays import Decay
from hepdl.kinematics.neutrino import neutrinos_of
from hepdl.kinematics.tth_assignments import (
    CLASSIFICATION_FEATURES,
    RECONSTRUCTION_FEATURES,
    TTH_DECAY,
    tth_assignment_features,
    tth_candidates,
)


def test_candidates_are_the_four_highest_tags_and_the_leading_others_by_momentum() -> None:
    pt = np.array(
        [[100.0, 90.0, 80.0, 70.0, 60.0, 50.0, 40.0, 30.0], [9.0, 8.0, 7.0, 6.0, 5.0, 0, 0, 0]]
    )
    jets = np.zeros((2, 8, 4))
    jets[..., 0] = pt
    tags = np.array([[0, 4, 0, 2, 4, 0, 3, 0], [0, 0, 1, 1, 0, 4, 4, 4]])
    found = tth_candidates(jets, tags, pt > 0, np.array([True, False]), n_light=3)
    assert found["b_jet"].members.tolist() == [[1, 3, 4, 6], [0, 1, 2, 3]]
    assert found["light_jet"].members.tolist() == [[0, 2, 5], [4, -1, -1]]
    assert found["neutrino"].members.tolist() == [[0, 1], [0, -1]]
    assert found["lepton"].members.tolist() == [[0], [0]]
    assert found["b_jet"].collection == found["light_jet"].collection == "jets"


def test_more_slots_than_jets_stay_empty() -> None:
    jets = np.ones((1, 3, 4))
    found = tth_candidates(jets, np.zeros((1, 3)), np.ones((1, 3), dtype=bool), np.array([True]))
    assert found["b_jet"].members.tolist() == [[0, 1, 2, -1]]
    assert found["light_jet"].members.tolist() == [[-1, -1, -1, -1]]


def test_the_lists_are_those_of_the_sources() -> None:
    # 19 inputs of ATLAS' reconstruction BDT and six tags are Guo's 25; classification takes six.
    assert len(RECONSTRUCTION_FEATURES) == len(set(RECONSTRUCTION_FEATURES)) == 25
    assert sum(name.startswith("b_tag") for name in RECONSTRUCTION_FEATURES) == 6
    assert len(CLASSIFICATION_FEATURES) == 6


def test_features_are_what_vector_gives_for_the_members(exact_tth: Callable[..., Any]) -> None:
    events = exact_tth(12, seed=21, n_extra=2)
    met = np.hypot(events.neutrino[:, 0], events.neutrino[:, 1])
    met_phi = np.arctan2(events.neutrino[:, 1], events.neutrino[:, 0])
    neutrinos = neutrinos_of(events.lepton, met, met_phi)
    momenta = {"jets": events.jets, "lepton": events.lepton[:, None], "neutrino": neutrinos.p4}
    candidates = tth_candidates(events.jets, events.b_tag, events.mask, neutrinos.is_real)
    found = assign(Decay.from_mapping(TTH_DECAY), candidates)
    chosen = k_best(chi_square(found, momenta), 5)
    features = tth_assignment_features(found, momenta, events.b_tag, chosen)
    assert {*RECONSTRUCTION_FEATURES, *CLASSIFICATION_FEATURES} <= set(features)
    members = found.members(chosen)
    for event, k in np.ndindex(12, 5):
        place = dict(zip(found.decay.leaves, members[event, k].tolist(), strict=True))
        source = {"lepton": events.lepton[event][None], "neutrino": neutrinos.p4[event]}
        p = {
            leaf: vector.obj(**dict(zip(("px", "py", "pz", "E"), row, strict=True)))
            for leaf in place
            for row in [source.get(leaf, events.jets[event])[place[leaf]]]
        }
        tag = {leaf: events.b_tag[event][place[leaf]] for leaf in ("q1", "q2", "b1", "b2", "b_had")}
        higgs, w_had, w_lep = p["b1"] + p["b2"], p["q1"] + p["q2"], p["lepton"] + p["neutrino"]
        top_lep, top_had = w_lep + p["b_lep"], w_had + p["b_had"]
        nearer = min(p["b_had"].deltaR(p["q1"]), p["b_had"].deltaR(p["q2"]))
        expected = {
            "mass_top_lep": top_lep.mass,
            "mass_top_had": top_had.mass,
            "mass_w_had": w_had.mass,
            "mass_w_had_b_lep": (w_had + p["b_lep"]).mass,
            "mass_w_lep_b_had": (w_lep + p["b_had"]).mass,
            "delta_r_w_had_b_had": w_had.deltaR(p["b_had"]),
            "delta_r_w_had_b_lep": w_had.deltaR(p["b_lep"]),
            "delta_r_lepton_b_lep": p["lepton"].deltaR(p["b_lep"]),
            "delta_r_lepton_b_had": p["lepton"].deltaR(p["b_had"]),
            "delta_r_q1_q2": p["q1"].deltaR(p["q2"]),
            "delta_r_b_lep_b_had": p["b_lep"].deltaR(p["b_had"]),
            "delta_r_b_had_q1": p["b_had"].deltaR(p["q1"]),
            "delta_r_b_had_q2": p["b_had"].deltaR(p["q2"]),
            "delta_r_b_had_q_min": nearer,
            "delta_r_difference": nearer - p["lepton"].deltaR(p["b_lep"]),
            "mass_higgs": higgs.mass,
            "delta_r_b1_b2": p["b1"].deltaR(p["b2"]),
            "delta_r_lepton_b1": p["lepton"].deltaR(p["b1"]),
            "mass_higgs_q1": (higgs + p["q1"]).mass,
            "b_tag_b_had": tag["b_had"],
            "b_tag_b_lep": events.b_tag[event][place["b_lep"]],
            "b_tag_b1": tag["b1"],
            "b_tag_b2": tag["b2"],
            "b_tag_q_max": max(tag["q1"], tag["q2"]),
            "b_tag_q_min": min(tag["q1"], tag["q2"]),
            "delta_r_higgs_top_lep": higgs.deltaR(top_lep),
            "mass_higgs_b_lep": (higgs + p["b_lep"]).mass,
            "delta_r_higgs_tt": higgs.deltaR(top_lep + top_had),
            "b_tag_higgs": tag["b1"] + tag["b2"],
        }
        assert set(expected) == set(features)
        for name, value in expected.items():
            # Pseudorapidity of a system along the beam is what rounds most.
            assert features[name][event, k] == pytest.approx(value, rel=1e-7, abs=1e-9), name


def test_absent_assignments_have_no_features(exact_tth: Callable[..., Any]) -> None:
    events = exact_tth(2, seed=22)
    mask = events.mask.copy()
    mask[1, 5:] = False
    neutrinos = neutrinos_of(events.lepton, np.full(2, 30.0), np.zeros(2))
    momenta = {"jets": events.jets, "lepton": events.lepton[:, None], "neutrino": neutrinos.p4}
    candidates = tth_candidates(events.jets, events.b_tag, mask, neutrinos.is_real)
    found = assign(Decay.from_mapping(TTH_DECAY), candidates)
    chosen = k_best(chi_square(found, momenta), 3)
    features = tth_assignment_features(found, momenta, events.b_tag, chosen)
    for name, values in features.items():
        assert np.isfinite(values[0]).all(), name
        # Five jets leave one light jet, and a W needs two.
        assert np.isnan(values[1]).all(), name
