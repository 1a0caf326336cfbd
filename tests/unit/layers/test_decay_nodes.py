"""Nodes of a decay: who is identical, what their momenta and features are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hepdl.kinematics import Decay, delta_r, eta, mass, phi, pt
from hepdl.layers.decay_nodes import (
    PHYSICAL_FEATURES,
    guo_features,
    identical_nodes,
    node_momenta,
    physical_features,
)
from tests.unit.models.decay_toys import DECAYS, HIGGS, assigned_events, assignments_of

MADE = {name: Decay.from_mapping(decay) for name, decay in DECAYS.items()}


def column(name: str) -> int:
    return PHYSICAL_FEATURES.index(name)


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("higgs", [{"b1", "b2"}]),
        ("tth", [{"b1", "b2"}, {"q1", "q2"}]),
        ("wz", [{"q1", "q2"}, {"q3", "q4"}]),
        ("pair", [{"q1", "q2", "q3", "q4"}, {"b1", "b2"}, {"w1", "w2"}, {"top1", "top2"}]),
        ("three", [{"g1", "g2", "g3"}]),
    ],
)
def test_identical_nodes_are_those_that_may_be_exchanged(name: str, groups: list[set[str]]) -> None:
    decay = MADE[name]
    first = identical_nodes(decay)
    found: dict[int, set[str]] = {}
    for node, one in zip(decay.names, first, strict=True):
        found.setdefault(one, set()).add(node)
    assert sorted(map(sorted, groups)) == sorted(sorted(g) for g in found.values() if len(g) > 1)


@pytest.mark.parametrize("name", DECAYS)
def test_momenta_of_particles_are_sums_of_their_leaves(name: str) -> None:
    decay = MADE[name]
    leaves = assignments_of(assigned_events(decay=DECAYS[name])).leaves
    momenta = node_momenta(leaves, decay)
    assert torch.equal(momenta[:, : len(decay.leaves)], leaves.permute(3, 2, 0, 1))
    expected = np.einsum("pl,nklc->cpnk", decay.membership, leaves.double().numpy())
    # Some 1000 GeV in float32.
    np.testing.assert_allclose(momenta[:, len(decay.leaves) :], expected, rtol=1e-5, atol=1e-3)


def test_features_of_a_boson_at_rest_by_hand() -> None:
    decay = MADE["higgs"]
    # 30 and 40 GeV of px and py against each other, massless: a mass of 100 GeV.
    leaves = torch.tensor([[30.0, 40, 0, 50, 4], [-30, -40, 0, 50, 1]])
    b1, b2, higgs = physical_features(node_momenta(leaves, decay), decay, "b1").tolist()
    log = math.log
    # Values of order one in float32.
    assert b1 == pytest.approx([log(50), 0, 1, 0, log(50), 0, 0, 4, 0], abs=1e-6)
    assert b2 == pytest.approx([log(50), 0, -1, 0, log(50), 0, 0, 1, 0], abs=1e-6)
    assert higgs == pytest.approx([0, 0, 0, 0, log(100), log(101), 1, 5, math.pi], abs=1e-6)


@pytest.mark.parametrize("name", DECAYS)
def test_features_are_those_of_the_kinematics(name: str) -> None:
    decay = MADE[name]
    assigned = assignments_of(assigned_events(decay=DECAYS[name]))
    momenta = node_momenta(assigned.leaves, decay)
    found = physical_features(momenta, decay, decay.leaves[-1])[:, assigned.mask].numpy()
    p4 = momenta[:4][:, :, assigned.mask].double().permute(1, 2, 0).numpy()
    relative = phi(p4) - phi(p4)[len(decay.leaves) - 1]
    expected = {
        "log_pt": np.log(pt(p4)),
        "eta": np.clip(eta(p4), -6, 6),
        "cos_phi": np.cos(relative),
        "sin_phi": np.sin(relative),
        "log_energy": np.log(p4[..., 3]),
        "log_mass": np.log1p(mass(p4)),
        "mass": np.minimum(mass(p4) / 100, 15),
        "b_tag": momenta[4][:, assigned.mask].numpy(),
    }
    is_hard = pt(p4) > 1.0
    for key, values in expected.items():
        # E² - p² of float32: 1e-6 of (1000 GeV)² against masses above 5 GeV.
        tolerance = 2e-2 if "mass" in key else 1e-4
        np.testing.assert_allclose(
            found[..., column(key)][is_hard], values[is_hard], atol=tolerance, err_msg=key
        )
    names = list(decay.names)
    for particle in decay.particles:
        rows = [names.index(daughter) for daughter in particle.daughters]
        distances = [
            delta_r(eta(p4)[i], phi(p4)[i], eta(p4)[j], phi(p4)[j])
            for i in rows
            for j in rows
            if i < j
        ]
        got = found[names.index(particle.name), :, column("delta_r")]
        near = (np.abs(eta(p4)[rows]) < 6).all(axis=0)
        np.testing.assert_allclose(got[near], np.mean(distances, axis=0)[near], atol=1e-4)


def test_nothing_at_all_has_finite_features() -> None:
    decay = MADE["tth"]
    momenta = node_momenta(torch.zeros(2, 8, 5), decay)
    assert not physical_features(momenta, decay, "lepton").any()
    assert not guo_features(momenta).any()


def test_what_is_massless_has_no_mass_from_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    momenta = 300 * torch.randn(1000, 2, 3, generator=generator, dtype=torch.float64)
    leaves = torch.cat((momenta, momenta.norm(dim=2, keepdim=True), 0 * momenta[..., :1]), dim=2)
    decay = Decay.from_mapping(HIGGS)
    features = physical_features(node_momenta(leaves.float(), decay), decay, "higgs")
    assert not features[:2, :, column("mass")].any()
    assert (features[2, :, column("mass")] > 0.0).all()


def test_the_angles_of_the_thesis_are_folded() -> None:
    # (x, y, z) and its opposites: arctan(y/x) and arctan(pT/z) cannot tell quadrants apart.
    momenta = torch.tensor(
        [[[3.0, 4, 5, 9, 2]], [[-3.0, -4, 5, 9, 2]], [[3.0, -4, -5, 9, 2]]]
    ).movedim(-1, 0)
    found = guo_features(momenta)[:, 0]
    size, angle, theta = math.sqrt(50), math.atan(4 / 3), math.pi / 4
    # eta = asinh(z/pT) = asinh(1)
    one = [size, math.asinh(1), theta, angle, 9, 5, 2]
    # Values of order ten in float32.
    assert found[0].tolist() == pytest.approx(one, rel=1e-6)
    assert found[1].tolist() == pytest.approx(one, rel=1e-6)
    other = [size, -math.asinh(1), -theta, -angle, 9, 5, 2]
    assert found[2].tolist() == pytest.approx(other, rel=1e-6)
