"""Reconstructions find the particle that is there, honestly, and are the same from disk."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hepdl.errors import ConfigError, DataError
from hepdl.events import AssignmentInputs, Events, Jagged
from hepdl.events.candidates import candidates_of
from hepdl.events.reconstruction import ReconstructionRecipe
from hepdl.kinematics import mass
from hepdl.models.reconstruction.fitted import Reconstruction, known_features
from hepdl.models.reconstruction.ranking_trees import RankingOptions
from tests.unit.models.assignment_toys import N_JETS, RECIPE, toy_events

OPTIONS = RankingOptions(n_rounds=60, max_depth=3, cross_fits=2)
WANTED = AssignmentInputs(3, ("mass_higgs", "b_tag_b1", "pt_b2"))
# Pairs of five jets.
N_PAIRS = 10


def made(ranking: str = "boosted_trees", **changes: object) -> Reconstruction:
    recipe = ReconstructionRecipe.from_mapping(RECIPE)
    options = RankingOptions(**{**OPTIONS.__dict__, **changes})
    return Reconstruction(recipe, ranking=ranking, options=options)


def share_right(reconstruction: Reconstruction, events: Events) -> float:
    """Return the share of signal events whose best assignment is right."""
    found = reconstruction.assign(events, AssignmentInputs(1))
    assert found.truth is not None
    signal = events.label == 1
    return float(found.truth.is_right[signal, 0, -1].double().mean())


def test_chi_square_takes_the_pair_whose_mass_is_nearest() -> None:
    events = toy_events(50)
    found = made("chi_square").assign(events, WANTED)
    jets = events.collections["jets"].values.numpy().astype(np.float64)
    p4 = jets[:, :4].reshape(len(events), N_JETS, 4)
    for event in range(len(events)):
        pulls = sorted(
            ((float(mass(p4[event, i] + p4[event, j])) - 125.0) / 10.0) ** 2
            for i, j in itertools.combinations(range(N_JETS), 2)
        )
        # Scores are float32.
        assert found.score[event].numpy() == pytest.approx(-0.5 * np.array(pulls[:3]), rel=1e-4)
    assert found.mask.all()


def test_features_and_leaves_are_those_of_the_same_assignment() -> None:
    events = toy_events(40)
    found = made("chi_square").assign(events, WANTED)
    total = found.leaves[..., :4].double().sum(dim=2).numpy()
    # Float32 momenta of some 100 GeV cancel in the mass.
    assert found.features[..., 0].numpy() == pytest.approx(mass(total), rel=1e-3)
    assert torch.equal(found.features[..., 1], found.leaves[:, :, 0, 4])
    transverse = torch.hypot(found.leaves[:, :, 1, 0], found.leaves[:, :, 1, 1])
    assert found.features[..., 2].numpy() == pytest.approx(transverse.numpy(), rel=1e-5)


def test_trees_find_more_right_pairs_than_chance_on_events_they_have_not_seen() -> None:
    trained = made()
    trained.fit(toy_events(1500, seed=1), seed=3)
    unseen = toy_events(1000, seed=2)
    n = len(unseen) // 2
    chance = 1 / N_PAIRS
    assert share_right(trained, unseen) > chance + 5 * np.sqrt(chance * (1 - chance) / n)


def test_no_event_is_ranked_by_trees_that_have_seen_it() -> None:
    # Which jets are marked says nothing: trees that know an event by heart would be right about
    # it, trees that have not seen it by chance.
    train = toy_events(1200, seed=4, random_truth=True)
    deep = made(n_rounds=200, max_depth=8, n_wrong=9)
    deep.fit(train, seed=1)
    n = len(train) // 2
    chance = 1 / N_PAIRS
    sigma = np.sqrt(chance * (1 - chance) / n)
    assert abs(share_right(deep, train) - chance) < 5 * sigma
    # The other set of trees has seen them, and knows.
    deep.trees = deep.trees[::-1]
    assert share_right(deep, train) > 0.5


def test_truth_is_no_input() -> None:
    trained = made()
    train = toy_events(800, seed=5)
    trained.fit(train, seed=1)
    jets = train.collections["jets"]
    scrambled = jets.values.clone()
    scrambled[:, 5] = scrambled[torch.randperm(len(scrambled)), 5]
    other = replace(train, collections={"jets": replace(jets, values=scrambled)})
    without = replace(
        train, collections={"jets": Jagged(jets.values[:, :5], jets.offsets, jets.columns[:5])}
    )
    score = trained.assign(train, WANTED).score
    assert torch.equal(trained.assign(other, WANTED).score, score)
    found = trained.assign(without, WANTED)
    assert torch.equal(found.score, score)
    assert found.truth is None


@pytest.mark.parametrize("ranking", ["chi_square", "boosted_trees"])
def test_from_disk_it_ranks_the_same(ranking: str, tmp_path: Path) -> None:
    one = made(ranking)
    one.fit(toy_events(800, seed=6), seed=1)
    one.save(tmp_path)
    other = Reconstruction.load(tmp_path)
    events = toy_events(100, seed=7)
    assert torch.equal(one.assign(events, WANTED).score, other.assign(events, WANTED).score)
    assert one.key == other.key


def test_the_same_events_and_seed_give_the_same_trees() -> None:
    train = toy_events(600, seed=8)
    keys = []
    for seed in (1, 1, 2):
        again = made()
        again.fit(train, seed=seed)
        keys.append(again.key)
    assert keys[0] == keys[1] != keys[2]


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    from hepdl.models.reconstruction import fitted

    events = toy_events(50)
    whole = made("chi_square").assign(events, WANTED)
    monkeypatch.setattr(fitted, "_EVENTS_AT_ONCE", 7)
    assert torch.equal(made("chi_square").assign(events, WANTED).features, whole.features)
    assert len(made("chi_square").assign(events.slice(0, 0), WANTED)) == 0


def test_events_with_too_few_objects_have_no_assignment() -> None:
    events = toy_events(4)
    jets = events.collections["jets"]
    few = Jagged(jets.values[:1], torch.tensor([0, 1, 1, 1, 1]), jets.columns)
    found = made("chi_square").assign(replace(events, collections={"jets": few}), WANTED)
    assert not found.mask.any()
    assert not found.leaves.any()
    assert not found.score.any()


def test_too_few_matched_events_are_refused() -> None:
    with pytest.raises(DataError, match=r"right and \d+ wrong assignments to learn from"):
        made().fit(toy_events(20), seed=1)


def test_trees_without_truth_are_refused() -> None:
    events = toy_events(100)
    jets = events.collections["jets"]
    bare = Jagged(jets.values[:, :5], jets.offsets, jets.columns[:5])
    with pytest.raises(DataError, match="no collection has the column 'origin'"):
        made().fit(replace(events, collections={"jets": bare}), seed=1)
    recipe = ReconstructionRecipe.from_mapping({k: v for k, v in RECIPE.items() if k != "truth"})
    with pytest.raises(ConfigError, match=r"reconstruction\.truth is not given"):
        Reconstruction(recipe)


def test_unknown_names_and_values_are_refused() -> None:
    recipe = ReconstructionRecipe.from_mapping(RECIPE)
    with pytest.raises(ConfigError, match="did you mean 'chi_square'"):
        Reconstruction(recipe, ranking="chi_squared")
    with pytest.raises(ConfigError, match="did you mean 'mass_higgs'"):
        Reconstruction(recipe, features=("mass_higs",))
    with pytest.raises(ConfigError, match=r"cross_fits is 1.*\n.*subsample is 0"):
        RankingOptions(cross_fits=1, subsample=0)
    with pytest.raises(DataError, match="did you mean 'mass_higgs'"):
        made("chi_square").assign(toy_events(4), AssignmentInputs(1, ("mass_hggs",)))
    with pytest.raises(DataError, match="call fit first"):
        made().assign(toy_events(4), WANTED)
    with pytest.raises(DataError, match="unknown collection 'jets'"):
        candidates_of(replace(toy_events(4), collections={}), recipe)


def test_every_feature_that_is_known_can_be_made() -> None:
    recipe = ReconstructionRecipe.from_mapping(RECIPE)
    names = known_features(recipe)
    found = made("chi_square").assign(toy_events(10), AssignmentInputs(2, names))
    assert found.features.shape == (10, 2, len(names))
    assert torch.isfinite(found.features).all()


def test_the_default_recipe_has_the_features_of_the_sources() -> None:
    names = known_features(ReconstructionRecipe.from_mapping({}))
    assert {"mass_top_lep", "b_tag_higgs", "delta_phi_lepton_q1", "pt_tth"} <= set(names)
    assert "b_tag_lepton" not in names
    assert "delta_phi_lepton_lepton" not in names


def test_the_verdict_is_that_of_all_assignments(monkeypatch: pytest.MonkeyPatch) -> None:
    events = toy_events(50)
    monkeypatch.setattr("hepdl.models.reconstruction.fitted._EVENTS_AT_ONCE", 20)
    verdict = made("chi_square").verdict(events)
    truth = made("chi_square").assign(events, AssignmentInputs(N_PAIRS)).truth
    assert verdict is not None
    assert truth is not None
    assert torch.equal(verdict.is_right, truth.is_right)
    assert torch.equal(verdict.is_known, truth.is_known)


# A parallel loop of Numba sets the number of threads, once in the life of a process.
FIRST_LOOP = """
import torch
from tests.unit.models.test_fitted_reconstruction import WANTED, made, toy_events
torch.set_num_threads(7)
made("chi_square").assign(toy_events(4), WANTED)
assert torch.get_num_threads() == 7, torch.get_num_threads()
"""


def test_torch_keeps_its_number_of_threads() -> None:
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", FIRST_LOOP], cwd=root, check=True)
