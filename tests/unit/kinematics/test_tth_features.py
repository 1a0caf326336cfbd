"""Features of ttH(bb) events on hand-made events, and each against a plain loop over its definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import vector
from numpy.typing import NDArray

from hepdl.errors import DataError
from hepdl.kinematics import from_pt_eta_phi
from hepdl.kinematics.b_tags import highest_tags, order_by_tag
from hepdl.kinematics.tth_features import ATLAS_FEATURES, TTH_FEATURES, tth_features

Array = NDArray[np.float64]

# Massless jets at η = 0 but for two; the b-jets are numbers 0, 2, 3 and 5, of tags 4, 4, 3 and 3.
PT = np.array([100.0, 80.0, 60.0, 50.0, 40.0, 30.0])
ETA = np.array([0.0, 1.5, 0.0, 0.0, -1.0, 0.0])
PHI = np.array([0.0, 2.0, np.pi / 2, np.pi, -2.0, -np.pi / 2])
TAG = np.array([4, 0, 4, 3, 1, 3])


def by_hand() -> dict[str, float]:
    """The event above with a lepton of 50 GeV at η = 0, φ = π/4."""
    jets = from_pt_eta_phi(PT, ETA, PHI, mass=np.zeros(6))[None]
    direction = np.array([0.0]), np.array([np.pi / 4])
    lepton = from_pt_eta_phi(np.array([50.0]), *direction, mass=np.zeros(1))
    found = tth_features(jets, TAG[None], np.ones((1, 6), dtype=bool), lepton)
    return {name: values[0] for name, values in found.items()}


def test_pairs_of_b_jets_are_closed_forms() -> None:
    # At right angles m² = 2 p p', back to back m² = 4 p p'. The b-jets have 100, 60, 50, 30 GeV at
    # φ = 0, π/2, π, -π/2.
    found = by_hand()
    right = {(100, 60): 12000, (60, 50): 6000, (100, 30): 6000, (50, 30): 3000}
    opposite = {(100, 50): 20000, (60, 30): 7200}
    masses = np.sqrt([*right.values(), *opposite.values()])
    assert found["mass_bb_min"] == pytest.approx(np.sqrt(3000), rel=1e-12)
    assert found["mass_bb_max"] == pytest.approx(np.sqrt(20000), rel=1e-12)
    assert found["n_higgs_bb_30"] == np.sum(np.abs(masses - 125) < 30)
    assert found["mass_bb_higgs"] == pytest.approx(np.sqrt(12000), rel=1e-12)
    # pT of a pair at right angles is √(p² + p'²).
    assert found["delta_r_bb_max_pt"] == pytest.approx(np.pi / 2, rel=1e-12)
    assert found["mass_bb_max_pt"] == pytest.approx(np.sqrt(12000), rel=1e-12)
    assert found["delta_r_bb_mean"] == pytest.approx((4 * np.pi / 2 + 2 * np.pi) / 6, rel=1e-12)
    assert found["delta_r_bb_min"] == pytest.approx(np.pi / 2, rel=1e-12)
    assert found["delta_r_lepton_b_min"] == pytest.approx(np.pi / 4, rel=1e-12)


def test_sums_shapes_and_ranks_are_closed_forms() -> None:
    found = by_hand()
    energy = PT * np.cosh(ETA)
    assert found["scalar_pt_sum_all"] == pytest.approx(PT.sum() + 50, rel=1e-12)
    assert found["centrality_all"] == pytest.approx(
        (PT.sum() + 50) / (energy.sum() + 50), rel=1e-12
    )
    # H_0 = (Σ p)² / (Σ E)² and H_1 = (Σ p⃗)² / (Σ E)², massless.
    assert found["h0_all"] == pytest.approx(1.0, rel=1e-12)
    p = [
        [*(PT * np.cos(PHI)), 50 * np.cos(np.pi / 4)],
        [*(PT * np.sin(PHI)), 50 * np.sin(np.pi / 4)],
    ]
    total2 = np.sum(np.sum(p, axis=1) ** 2) + np.sum(PT * np.sinh(ETA)) ** 2
    assert found["h1_all"] == pytest.approx(total2 / (energy.sum() + 50) ** 2, rel=1e-12)
    assert found["mass_all"] == pytest.approx(np.sqrt((energy.sum() + 50) ** 2 - total2), rel=1e-12)
    # All b-jets lie in a plane: eigenvalues Σ px² and Σ py² over Σ p².
    assert found["aplanarity_b_jets"] == pytest.approx(0.0, abs=1e-15)
    across = 60**2 + 30**2
    assert found["sphericity_b_jets"] == pytest.approx(1.5 * across / (across + 100**2 + 50**2))
    assert found["aplanarity_jets"] > 0.01
    assert found["delta_eta_jj_max"] == pytest.approx(2.5, rel=1e-12)
    assert [found[f"pt_jet{i}"] for i in range(1, 7)] == pytest.approx(PT, rel=1e-12)
    assert [found[f"b_tag_{i}"] for i in range(1, 7)] == [4, 4, 3, 3, 1, 0]
    assert found["b_tag_sum"] == 15
    assert found["n_jets"] == 6


def random_events(n: int, seed: int) -> tuple[Array, NDArray[np.int64], NDArray[np.bool_], Array]:
    """Events of five to nine jets."""
    random = np.random.default_rng(seed)
    counts = random.integers(5, 10, n)
    mask = np.arange(9) < counts[:, None]
    pt = -np.sort(-random.exponential(50.0, (n, 9)) - 25.0, axis=1)
    shape = (n, 9)
    jets = from_pt_eta_phi(
        pt, random.uniform(-2.5, 2.5, shape), random.uniform(-3.1, 3.1, shape),
        mass=random.uniform(1.0, 15.0, shape),
    )  # fmt: skip
    lepton = from_pt_eta_phi(
        random.uniform(27, 150, n), random.uniform(-2.5, 2.5, n), random.uniform(-3.1, 3.1, n),
        mass=np.zeros(n),
    )  # fmt: skip
    return np.where(mask[..., None], jets, 0.0), random.integers(0, 5, shape), mask, lepton


def as_vectors(rows: Array) -> list[vector.VectorObject4D]:
    return [vector.obj(px=px, py=py, pz=pz, E=e) for px, py, pz, e in rows]


def test_all_of_the_atlas_list_agrees_with_loops_over_its_definition() -> None:
    jets, b_tag, mask, lepton = random_events(60, seed=11)
    found = tth_features(jets, b_tag, mask, lepton)
    for event in range(60):
        all_jets = as_vectors(jets[event][mask[event]])
        tags = b_tag[event][mask[event]]
        ranked = sorted(range(len(all_jets)), key=lambda i, t=tags: (-t[i], i))
        b_pairs = list(itertools.combinations([all_jets[i] for i in sorted(ranked[:4])], 2))
        everything = [*all_jets, *as_vectors(lepton[event : event + 1])]
        energy = sum(v.E for v in everything)
        tensor = sum(np.outer([v.x, v.y, v.z], [v.x, v.y, v.z]) for v in all_jets)
        closest = min(b_pairs, key=lambda pair: pair[0].deltaR(pair[1]))
        hardest = max(b_pairs, key=lambda pair: (pair[0] + pair[1]).pt)
        expected = {
            "centrality_all": sum(v.pt for v in everything) / energy,
            "mass_bb_min_delta_r": (closest[0] + closest[1]).mass,
            "delta_r_bb_max_pt": hardest[0].deltaR(hardest[1]),
            "pt_jet5": all_jets[4].pt,
            "h1_all": sum(
                a.to_3D().dot(b.to_3D()) for a in everything for b in everything
            ) / energy**2,
            "delta_r_bb_mean": np.mean([a.deltaR(b) for a, b in b_pairs]),
            "n_higgs_bb_30": sum(abs((a + b).mass - 125) < 30 for a, b in b_pairs),
            "delta_eta_jj_max": max(
                abs(a.deltaeta(b)) for a, b in itertools.combinations(all_jets, 2)
            ),
            "aplanarity_jets": 1.5 * np.linalg.eigvalsh(tensor / np.trace(tensor))[0],
            "b_tag_3": tags[ranked[2]],
            "b_tag_4": tags[ranked[3]],
            "b_tag_5": tags[ranked[4]],
        }  # fmt: skip
        assert tuple(expected) == ATLAS_FEATURES
        for name, value in expected.items():
            assert found[name][event] == pytest.approx(value, rel=1e-10, abs=1e-13), name


def test_every_feature_is_there_finite_and_in_order() -> None:
    found = tth_features(*random_events(200, seed=12))
    assert tuple(found) == TTH_FEATURES
    assert len(set(TTH_FEATURES)) == len(TTH_FEATURES)
    for name, values in found.items():
        assert values.shape == (200,), name
        assert np.isfinite(values).all(), name
        assert np.ptp(values) > 0.0 or name == "b_tag_1", name


def test_more_padding_changes_nothing() -> None:
    jets, b_tag, mask, lepton = random_events(30, seed=13)
    wide = np.concatenate([jets, np.zeros((30, 4, 4))], axis=1)
    wide_tag = np.concatenate([b_tag, np.full((30, 4), 4)], axis=1)
    wide_mask = np.concatenate([mask, np.zeros((30, 4), dtype=bool)], axis=1)
    expected = tth_features(jets, b_tag, mask, lepton)
    for name, values in tth_features(wide, wide_tag, wide_mask, lepton).items():
        # Sums over more zeros may be done in another order.
        assert values == pytest.approx(expected[name], rel=1e-12, abs=1e-14), name


def test_equal_tags_are_ordered_by_momentum_and_padding_comes_last() -> None:
    b_tag, pt = np.array([[1, 4, 1, 4]]), np.array([[90.0, 40.0, 95.0, 60.0]])
    mask = np.array([[True, True, True, False]])
    assert order_by_tag(b_tag, pt, mask).tolist() == [[1, 2, 0, 3]]
    assert highest_tags(b_tag, pt, mask, n=2).tolist() == [[False, True, True, False]]
    assert highest_tags(b_tag, pt, mask, n=9).tolist() == mask.tolist()


def test_events_that_cannot_be_described_are_named() -> None:
    jets, b_tag, mask, lepton = random_events(10, seed=14)
    mask[7, 3:] = False
    with pytest.raises(
        DataError, match=r"event 7 has 3 jets \(and 1 of 10 events have fewer than 5"
    ):
        tth_features(jets, b_tag, mask, lepton)
    jets, b_tag, mask, lepton = random_events(10, seed=14)
    jets[4, :2] = jets[4, 1::-1].copy()
    with pytest.raises(DataError, match=r"event 4: jets of .* are not ordered by falling pT"):
        tth_features(jets, b_tag, mask, lepton)
    jets, b_tag, mask, lepton = random_events(10, seed=14)
    lepton[6] = 0.0
    with pytest.raises(DataError, match=r"event 6: lepton pT is 0 GeV, and 1 of 10 events"):
        tth_features(jets, b_tag, mask, lepton)
