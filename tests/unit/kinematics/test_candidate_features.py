"""Features of any decay: closed forms of exact ones, and the package vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import vector

from hepdl.kinematics.assignments import Candidates, assign, chi_square, k_best
from hepdl.kinematics.candidate_features import candidate_features
from hepdl.kinematics.decays import Decay
from hepdl.kinematics.tth_assignments import TTH_DECAY

TRIJET = Decay.from_mapping(
    {
        "particles": {
            "top": {"daughters": ["w", "b"], "mass": 172.5, "resolution": 20},
            "w": {"daughters": ["q1", "q2"], "mass": 80.4, "resolution": 10},
        },
        "leaves": {"q1": "light", "q2": "light", "b": "b"},
    }
)


def test_an_exact_top_has_its_masses_and_the_distances_of_vector(
    exact_tth: Callable[..., Any],
) -> None:
    events = exact_tth(40, seed=41)
    light, b = (
        np.sort(np.nonzero(np.isin(events.quark_of_jet, wanted))[1].reshape(40, -1), axis=1)
        for wanted in ([1, 2], [3])
    )
    candidates = {"light": Candidates("jets", light), "b": Candidates("jets", b)}
    found = assign(TRIJET, candidates)
    features = candidate_features(found, {"jets": events.jets})
    assert list(features) == [
        "mass_w", "pt_w", "delta_r_q1_q2", "mass_top", "pt_top", "delta_r_w_b",
        "pt_q1", "eta_q1", "energy_q1",
        "pt_q2", "eta_q2", "energy_q2", "delta_phi_q1_q2",
        "pt_b", "eta_b", "energy_b", "delta_phi_q1_b",
    ]  # fmt: skip
    # m² is what is left of E² by cancellation; energies reach a few hundred GeV.
    assert features["mass_w"][:, 0] == pytest.approx(80.4, rel=1e-9)
    assert features["mass_top"][:, 0] == pytest.approx(172.5, rel=1e-9)
    for event in range(40):
        q1, q2, jet = (
            vector.obj(**dict(zip(("px", "py", "pz", "E"), events.jets[event, i], strict=True)))
            for i in (*light[event], b[event, 0])
        )
        w = q1 + q2
        assert features["delta_r_q1_q2"][event, 0] == pytest.approx(q1.deltaR(q2), rel=1e-9)
        assert features["delta_r_w_b"][event, 0] == pytest.approx(w.deltaR(jet), rel=1e-9)
        assert features["pt_w"][event, 0] == pytest.approx(w.pt, rel=1e-9)
        assert features["pt_top"][event, 0] == pytest.approx((w + jet).pt, rel=1e-9)
        for name, leaf in (("q1", q1), ("q2", q2), ("b", jet)):
            assert features[f"pt_{name}"][event, 0] == pytest.approx(leaf.pt, rel=1e-9)
            assert features[f"eta_{name}"][event, 0] == pytest.approx(leaf.eta, rel=1e-9)
            assert features[f"energy_{name}"][event, 0] == pytest.approx(leaf.E, rel=1e-9)
        for name, leaf in (("q2", q2), ("b", jet)):
            # Azimuths are counted from the first leaf.
            turned = features[f"delta_phi_q1_{name}"][event, 0]
            assert turned == pytest.approx(leaf.deltaphi(q1), abs=1e-9)


def test_chosen_assignments_come_in_their_order_and_absent_ones_are_empty() -> None:
    random = np.random.default_rng(2)
    p3 = random.normal(0.0, 60.0, (2, 5, 3))
    jets = np.concatenate([p3, np.linalg.norm(p3, axis=2)[..., None]], axis=2)
    members = {"light": np.array([[0, 1, 2], [0, -1, -1]]), "b": np.array([[3, 4], [3, 4]])}
    found = assign(TRIJET, {kind: Candidates("jets", rows) for kind, rows in members.items()})
    chosen = k_best(chi_square(found, {"jets": jets}), 4)
    some, every = (candidate_features(found, {"jets": jets}, which) for which in (chosen, None))
    for name, values in every.items():
        assert some[name][0] == pytest.approx(values[0][chosen[0]], rel=1e-14), name
        assert np.isnan(some[name][1]).all(), name
        assert np.isnan(values[1]).all(), name


def test_every_particle_and_pair_of_daughters_of_tth_has_its_features() -> None:
    decay = Decay.from_mapping(TTH_DECAY)
    members = {kind: np.zeros((1, 4), dtype=np.int64) - 1 for kind in set(decay.kinds)}
    found = assign(decay, {kind: Candidates(kind, rows) for kind, rows in members.items()})
    momenta = {kind: np.zeros((1, 0, 4)) for kind in members}
    features = candidate_features(found, momenta)
    # Three of each particle, four of each leaf; the first leaf has no azimuth from itself.
    assert len(features) == 3 * len(decay.particles) + 4 * len(decay.leaves) - 1
    assert all(np.isnan(values).all() for values in features.values())
