"""Negative weights, calibration and streaming from the YAML to the scores of a saved model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import hepdl
from hepdl.errors import DataError
from hepdl.io import write_table
from hepdl.io.tables import read_table
from hepdl.pipeline.run import Run
from hepdl.pipeline.saved import load_saved

FEATURES = ["x", "y"]
N = 2500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of two classes with negative weights, and a schema for them."""
    folder = tmp_path_factory.mktemp("weights")
    random = np.random.default_rng(1)
    for number, name in enumerate(("signal", "background")):
        x, y = random.normal(size=(2, N))
        x += 0.8 * (name == "signal")
        negative = random.random(N) < (0.4 / (1 + np.exp(-y)) if name == "signal" else 0.15)
        table = {
            "event_number": np.arange(N) + number * N,
            "weight": np.where(negative, -1.0, 1.0),
            "x": x,
            "y": y,
        }
        write_table(table, folder / f"{name}.root", ttree="events")
    schema = {
        "format_version": 1,
        "name": "signed",
        "ttree": "events",
        "branches": {
            "event_number": {"role": "event_number"},
            "weight": {"role": "event_weight"},
            "x": {},
            "y": {},
        },
    }
    (folder / "signed.yaml").write_text(yaml.safe_dump(schema))
    return folder


def analysis(folder: Path, name: str, **changes: Any) -> Path:
    content: dict[str, Any] = {
        "analysis": name,
        "schema": "signed.yaml",
        "processes": {
            kind: {"label": kind, "files": [f"{kind}.root"]} for kind in ("signal", "background")
        },
        "weights": {"training": {"negative": "reweight"}},
        "models": {
            "mlp": {"model": "mlp", "options": {"features": FEATURES, "hidden": [8]}},
            "boosted_trees": {
                "model": "boosted_trees",
                "options": {"features": FEATURES, "n_rounds": 20},
                "calibration": {"method": "none"},
            },
        },
        "train": {"epochs": 2, "minibatch_size": 256, "stream": 1024, "deterministic": True},
        "calibration": {"method": "isotonic"},
        "evaluate": {"bootstrap_replicas": 20},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def signed(folder: Path) -> Run:
    return hepdl.run(analysis(folder, "signed_run"), output=folder / "run", tracking_uri="none")


def test_all_of_it_runs_and_separates(signed: Run) -> None:
    for entry in signed.metrics["models"].values():
        # A shift of 0.8 alone gives Φ(0.8/√2) = 0.714.
        assert entry["auc"]["value"] > 0.65
    assert "mean weights of" in (signed.folder / "log.txt").read_text()


def test_each_model_has_the_calibration_that_was_asked_for_and_applies_it(
    signed: Run, folder: Path
) -> None:
    cards = {
        name: json.loads((signed.folder / "models" / name / "model.json").read_text())
        for name in ("mlp", "boosted_trees")
    }
    assert cards["boosted_trees"]["calibration"] == {"method": "none"}
    assert cards["boosted_trees"]["format_version"] == 1
    assert cards["mlp"]["calibration"]["method"] == "isotonic"
    assert cards["mlp"]["format_version"] == 2
    table = read_table(signed.folder / "scores.root", ttree="scores")
    tagger = signed.load_model("mlp")
    scores = tagger.predict(str(folder / "signal.root"))
    # Minibatches of another size: matrix products round differently in the last digits.
    np.testing.assert_allclose(scores, table["score_mlp"][table["process"] == 0], atol=1e-5)
    saved = load_saved(signed.folder / "models" / "mlp")
    assert saved.calibration is not None
    heights = np.array(cards["mlp"]["calibration"]["probabilities"], dtype=np.float32)
    assert heights.min() - 1e-7 <= scores.min() <= scores.max() <= heights.max() + 1e-7


def test_the_streamed_network_saw_only_the_events_that_it_may(signed: Run) -> None:
    log = (signed.folder / "log.txt").read_text()
    assert "scaling fitted on 1024 of" in log


def test_a_constant_feature_is_refused_by_networks_and_named_for_trees(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schema = yaml.safe_load((folder / "signed.yaml").read_text())
    schema["name"] = "constant"
    schema["derived"] = {"one": {"expression": "x * 0 + 1"}}
    (folder / "constant.yaml").write_text(yaml.safe_dump(schema))
    features = [*FEATURES, "one"]
    models: dict[str, Any] = {
        "boosted_trees": {
            "model": "boosted_trees",
            "options": {"features": features, "n_rounds": 2},
        },
        "mlp": {"model": "mlp", "options": {"features": features}},
    }
    path = analysis(folder, "constant_run", schema="constant.yaml", models=models)
    with pytest.raises(DataError, match=r"feature 'one' is 1 in all \d+ training"):
        hepdl.run(path, output=folder / "constant", tracking_uri="none")
    assert "feature 'one' is 1 in all" in caplog.text
    assert "no tree can use it" in caplog.text


def test_a_minibatch_larger_than_the_data_is_all_of_it(folder: Path) -> None:
    path = analysis(
        folder,
        "large",
        models={"mlp": {"model": "mlp", "options": {"features": FEATURES, "hidden": [4]}}},
        train={"epochs": 20, "minibatch_size": 10**6, "learning_rate": 0.05},
        calibration={"method": "temperature"},
    )
    run = hepdl.run(path, output=folder / "large_run", tracking_uri="none", last_stage="fit")
    history = json.loads((run.folder / "models" / "mlp" / "history.json").read_text())
    assert len(history) == 20
    assert "one step an epoch" in (run.folder / "log.txt").read_text()
    card = json.loads((run.folder / "models" / "mlp" / "model.json").read_text())
    assert 0.01 < card["calibration"]["temperature"] < 100


def test_evaluation_keeps_the_signs_of_the_weights(signed: Run) -> None:
    table = read_table(signed.folder / "scores.root", ttree="scores")
    np.testing.assert_array_equal(np.sign(table["weight"]), np.sign(table["event_weight"]))
    assert (table["weight"] < 0).any()
