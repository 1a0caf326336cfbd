"""Recipes of reconstructions: written as YAML, every mistake named at once, and back again."""

from __future__ import annotations

from typing import Any

import pytest

from hepdl.errors import ConfigError
from hepdl.events.reconstruction import TTH_RECONSTRUCTION, ReconstructionRecipe
from hepdl.kinematics import TTH_DECAY, TTH_PARTONS, Decay

HIGGS: dict[str, Any] = {
    "decay": {"particles": {"higgs": ["b1", "b2"]}, "leaves": {"b1": "b_jet", "b2": "b_jet"}},
    "objects": {"jets": {"collection": "jets"}},
    "candidates": {"b_jet": {"of": "jets", "n": 4}},
}


def test_without_a_word_it_is_that_of_tth() -> None:
    recipe = ReconstructionRecipe.from_mapping({})
    assert recipe.decay == Decay.from_mapping(TTH_DECAY)
    assert recipe.truth_column == "truth_parton"
    assert dict(recipe.truth_codes) == TTH_PARTONS
    assert recipe.collections == {"jets": ("b_tag",)}
    assert set(recipe.flat_fields) == {
        "lepton_pt", "lepton_eta", "lepton_phi", "lepton_energy", "met", "met_phi",
    }  # fmt: skip
    by_kind = {source.kind: source for source in recipe.candidates}
    assert by_kind["b_jet"].by_tag
    assert by_kind["light_jet"].without == "b_jet"
    assert by_kind["neutrino"].n == 2


@pytest.mark.parametrize("mapping", [{}, HIGGS])
def test_what_is_written_down_is_read_back(mapping: dict[str, Any]) -> None:
    recipe = ReconstructionRecipe.from_mapping(mapping)
    again = ReconstructionRecipe.from_mapping(recipe.as_mapping())
    assert again == recipe
    assert hash(again) == hash(recipe)


def test_another_decay_has_no_truth_unless_it_is_told() -> None:
    assert ReconstructionRecipe.from_mapping(HIGGS).truth_column is None
    truth = {"truth": {"column": "origin", "codes": {"b1": 5, "b2": 6}}}
    assert ReconstructionRecipe.from_mapping(HIGGS | truth).truth_codes == (("b1", 5), ("b2", 6))


def test_every_mistake_is_named_at_once() -> None:
    mapping = TTH_RECONSTRUCTION | {
        "objects": {
            "jets": {"collection": "jets"},
            "lepton": {"four_vector": ["lepton_pt", "lepton_eta"]},
            "neutrino": {"lepton": "leptn", "met": ["met", "met_phi"], "w_mass": -1},
        },
        "candidates": {
            "b_jet": {"of": "jets", "highest_tags": 4},
            "light_jet": {"of": "jet", "without": "bjet", "n": 0},
            "lepton": {"of": "lepton", "n": 1},
        },
        "truth": {"column": "truth_parton", "codes": {"b3": 5}},
    }
    with pytest.raises(ConfigError) as caught:
        ReconstructionRecipe.from_mapping(mapping, where="reconstruction")
    text = str(caught.value)
    for piece in (
        "reconstruction.objects.lepton.four_vector is ['lepton_pt', 'lepton_eta']",
        "did you mean 'lepton'?",
        "w_mass is -1",
        "jets has no b_tag",
        "unknown object 'jet'",
        "did you mean 'b_jet'?",
        "light_jet: give one of n and highest_tags",
        "unknown kind of candidates 'neutrino'",
        "unknown leaf 'b3'",
    ):
        assert piece in text


def test_an_object_has_one_source() -> None:
    objects = {"jets": {"collection": "jets", "met": ["met", "met_phi"], "lepton": "jets"}}
    with pytest.raises(ConfigError, match="exactly one of collection, four_vector and met, not 2"):
        ReconstructionRecipe.from_mapping(HIGGS | {"objects": objects})


def test_unknown_keys_are_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'candidates'"):
        ReconstructionRecipe.from_mapping({"candidate": {}})
