"""Auxiliary heads in an analysis: every mistake is found when the analysis is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from hepdl.errors import ConfigError
from hepdl.pipeline.auxiliary import build_auxiliary
from hepdl.pipeline.load import Analysis, load_analysis

ANALYSIS = Path(__file__).parents[3] / "analyses" / "w_tagging"
MLP = {"model": "mlp", "options": {"features": ["jet_mass", "tau21"], "hidden": [8, 8]}}


def load(folder: Path, heads: dict[str, Any], model: dict[str, Any] = MLP) -> Analysis:
    content = yaml.safe_load((ANALYSIS / "analysis.yaml").read_text())
    content["schema"] = str(ANALYSIS.parents[1] / "data_schemas" / "w_jets.yaml")
    content["models"] = {"tagger": {**model, "auxiliary": heads}}
    content.pop("decorrelation", None)
    content.get("evaluate", {}).pop("reference", None)
    path = folder / "analysis.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_analysis(path)


def test_heads_come_from_the_configuration_with_its_defaults(tmp_path: Path) -> None:
    wanted = {
        "early": {"layer": "stack.blocks.0"},
        "mass": {
            "layer": "stack.blocks.1.activation",
            "loss": "mean_squared_error",
            "target": "jet_pt",
            "weight": 0.1,
            "schedule": "cosine",
            "detach": True,
        },
    }
    heads = build_auxiliary(load(tmp_path, wanted).config.models["tagger"], seed=4)
    assert heads is not None
    early, mass = heads.options
    assert (early.name, early.layer, early.loss, early.target, early.weight) == (
        "early",
        "stack.blocks.0",
        "binary_cross_entropy",
        "label",
        0.3,
    )
    assert (early.schedule, early.detach) == ("constant", False)
    assert {"name": mass.name, **wanted["mass"]} == vars(mass)
    assert heads.seed == 4


def test_a_model_without_heads_has_none(tmp_path: Path) -> None:
    assert build_auxiliary(load(tmp_path, {}).config.models["tagger"], seed=0) is None


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    load(tmp_path, {"early": {"layer": "stack.blocks.0"}})
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("head", "messages"),
    [
        (
            {"layer": "stack.block.0"},
            ["models.tagger.auxiliary.early.layer", "did you mean 'stack.blocks.0'"],
        ),
        (
            {"layer": "stack.blocks.0", "target": "jet_mas"},
            ["models.tagger.auxiliary.early.target", "did you mean 'jet_mass'"],
        ),
        (
            {"layer": "stack.blocks.0", "loss": "mean_square_error"},
            ["models.tagger.auxiliary.early.loss", "mean_squared_error"],
        ),
        (
            {"layer": "stack.blocks.0", "wieght": 0.2},
            ["models.tagger.auxiliary.early.wieght", "did you mean 'weight'"],
        ),
        (
            {"layer": "stack.blocks.0", "weight": -1},
            ["models.tagger.auxiliary.early.weight", "greater than or equal to 0"],
        ),
        ({}, ["models.tagger.auxiliary.early.layer"]),
    ],
)
def test_a_mistake_is_named_with_its_key(
    tmp_path: Path, head: dict[str, Any], messages: list[str]
) -> None:
    with pytest.raises(ConfigError, match="early") as caught:
        load(tmp_path, {"early": head})
    for message in messages:
        assert message in str(caught.value)


def test_a_name_that_cannot_be_a_metric_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.tagger\.auxiliary"):
        load(tmp_path, {"early head": {"layer": "stack.blocks.0"}})


def test_trees_have_no_layers(tmp_path: Path) -> None:
    trees = {"model": "boosted_trees", "options": {"features": ["jet_mass"]}}
    with pytest.raises(ConfigError, match="boosted_trees has no layers that early could read"):
        load(tmp_path, {"early": {"layer": "x"}}, trees)


def test_an_option_that_the_model_refuses_is_named_once(tmp_path: Path) -> None:
    wrong = {**MLP, "options": {**MLP["options"], "hiden": [3]}}
    with pytest.raises(ConfigError, match="did you mean 'hidden'") as caught:
        load(tmp_path, {"early": {"layer": "stack.blocks.0"}}, wrong)
    assert str(caught.value).count("did you mean 'hidden'") == 1
