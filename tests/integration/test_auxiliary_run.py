"""Auxiliary heads from the YAML to the saved model: there while training, gone afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hepdl
from hepdl.io.tables import read_table
from hepdl.models.mlp import Mlp
from hepdl.pipeline.run import Run

ANALYSIS = Path(__file__).parents[2] / "analyses" / "w_tagging"
MLP = {
    "model": "mlp",
    "options": {"features": ["jet_mass", "tau21"], "hidden": [16, 16], "dropout": 0.1},
}
EARLY = {"layer": "stack.blocks.0", "schedule": "cosine"}
PT = {"layer": "stack.blocks.1", "loss": "mean_squared_error", "target": "jet_pt"}


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, small_overrides: dict[str, Any], small_data: Path
) -> Run:
    models = {
        "plain": MLP,
        "watched": {**MLP, "auxiliary": {"early": {**EARLY, "weight": 0}}},
        "helped": {**MLP, "auxiliary": {"early": EARLY, "pt": {**PT, "weight": 0.1}}},
    }
    # The recursive networks and the trees of the analysis are not trained here.
    others = {key: value for key, value in small_overrides.items() if "models." not in key}
    return hepdl.run(
        ANALYSIS,
        output=tmp_path_factory.mktemp("auxiliary") / "run",
        set=others | {"models": models, "decorrelation": {}, "evaluate.reference": "plain"},
        data_dir=small_data,
        tracking_uri="none",
        nproc=1,
        last_stage="evaluate",
    )


def test_the_saved_network_has_no_heads(run: Run) -> None:
    expected = set(Mlp(["a", "b"], (16, 16)).state_dict())
    for name in ("plain", "watched", "helped"):
        saved = torch.load(run.folder / "models" / name / "parameters.pt", weights_only=True)
        assert set(saved) == expected
        assert run.metrics["models"][name]["n_parameters"] == sum(
            p.numel() for p in Mlp(["a", "b"], (16, 16)).parameters()
        )


def test_a_head_without_weight_changes_no_score_and_one_with_weight_does(run: Run) -> None:
    table = read_table(run.folder / "scores.root", ttree="scores")
    assert np.array_equal(table["score_plain"], table["score_watched"])
    assert not np.array_equal(table["score_plain"], table["score_helped"])


def test_the_saved_model_predicts_what_the_run_scored(run: Run) -> None:
    tagger = hepdl.load_model(run.folder, "helped", device="cpu")
    assert not any(module._forward_hooks for module in tagger.saved.model.modules())
    assert set(tagger.card["auxiliary"]) == {"early", "pt"}
    assert tagger.card["auxiliary"]["pt"]["target"] == "jet_pt"


def test_the_loss_of_each_head_is_in_history_and_record(run: Run) -> None:
    history = json.loads((run.folder / "models" / "helped" / "history.json").read_text())
    assert {"train_auxiliary_early", "train_auxiliary_pt"} <= set(history[0])
    lines = [json.loads(line) for line in (run.folder / "record.jsonl").read_text().splitlines()]
    observed = [line for line in lines if "train_auxiliary_pt" in str(line)]
    assert len(observed) == len(history)


def test_a_wrong_layer_is_known_before_anything_is_simulated(
    small_overrides: dict[str, Any], tmp_path: Path
) -> None:
    wrong = {"models.mlp.auxiliary": {"early": {"layer": "stack.block.0"}}}
    with pytest.raises(hepdl.errors.ConfigError, match=r"did you mean 'stack\.blocks\.0'"):
        hepdl.run(ANALYSIS, output=tmp_path / "run", set={**small_overrides, **wrong})
    assert not (tmp_path / "run").exists()
