"""Networks on particles from simulation to prediction: deep sets, ParticleNet, LSTM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import hepdl
from hepdl.errors import ConfigError, DataError
from hepdl.io.tables import read_table
from hepdl.pipeline.check import check_analysis
from hepdl.pipeline.load import load_analysis
from hepdl.pipeline.run import Run
from hepdl.pipeline.served import ServedModel

ANALYSIS = Path(__file__).parents[2] / "analyses" / "w_tagging"
MODELS: dict[str, Any] = {
    "models.deep_sets": {
        "model": "deep_sets",
        "options": {"particle_hidden": [16, 16], "hidden": [16], "features": ["jet_mass"]},
    },
    "models.deep_sets_weighted": {
        "model": "deep_sets",
        "options": {"weighted": True, "particle_hidden": [16, 16], "hidden": [16]},
    },
    "models.particle_net": {
        "model": "particle_net",
        "options": {"blocks": [[8, 8], [12]], "n_neighbours": 4, "max_particles": 20},
    },
    "models.lstm": {"model": "lstm", "options": {"units": 8, "max_particles": 20}},
}


@pytest.fixture(scope="module")
def overrides(small_overrides: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in small_overrides.items() if not key.startswith("models.")}
    absent = ("recnn", "recnn_gated", "mlp", "boosted_trees")
    others = dict.fromkeys(f"models.{name}" for name in absent)
    return {**kept, **others, **MODELS, "evaluate.reference": "deep_sets", "train.epochs": 3}


@pytest.fixture(scope="module")
def run(
    overrides: dict[str, Any], small_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    return hepdl.run(
        ANALYSIS,
        output=tmp_path_factory.mktemp("particles") / "run",
        set=overrides,
        data_dir=small_data,
        tracking_uri="none",
        nproc=1,
    )


def test_they_learn_what_the_synthetic_jets_have(run: Run) -> None:
    models = run.metrics["models"]
    assert set(models) == {key.partition(".")[2] for key in MODELS}
    for name, numbers in models.items():
        # Two prongs against one: 0.5 is five of its own uncertainties away.
        value = numbers["auc"]
        assert value["value"] - 5 * (value["high"] - value["low"]) / 2 > 0.5, name


def test_the_saved_models_score_as_the_run_did(run: Run, small_data: Path) -> None:
    scores = read_table(run.folder / "scores.root", ttree="scores")
    of_w = scores["process"] == 0
    files = [str(p) for p in sorted((small_data / "simulated").glob("w-synthetic-*/part_*.root"))]
    for name in run.metrics["models"]:
        tagger = run.load_model(name)
        jets = hepdl.read(files, tagger.schema)
        expected = dict(
            zip(scores["event_number"][of_w], scores[f"score_{name}"][of_w], strict=True)
        )
        found = tagger.predict(jets)
        wanted = [expected[int(number)] for number in jets.event_number]
        # Minibatches of another size: matrix products round differently in the last digits.
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        columns = tagger.schema.collections["constituents"].four_vector or ()
        table = pd.DataFrame(
            {
                **{
                    f"constituents.{c}": [np.asarray(row) for row in jets[:20].constituents[c]]
                    for c in columns
                },
                "jet_mass": np.asarray(jets[:20].jet_mass),
            }
        )
        np.testing.assert_allclose(ServedModel(tagger).predict(table), found[:20], atol=1e-5)


def test_the_record_names_the_columns_of_the_particles(run: Run) -> None:
    lines = map(json.loads, (run.folder / "record.jsonl").read_text().splitlines())
    signatures = {line["model"]: line["inputs"] for line in lines if line.get("what") == "model"}
    assert signatures["deep_sets"] == {
        "jet_mass": "float",
        **{f"constituents.{field}": "array" for field in ("pt", "eta", "phi", "energy")},
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"collection": "tracks"}, "collection 'tracks' WHERE.*constituents"),
        (
            {"particle_features": ["delta_etas"]},
            "particle feature 'delta_etas' WHERE; did you mean 'delta_eta'",
        ),
    ],
)
def test_unknown_collections_and_particle_features_are_found_before_anything_runs(
    overrides: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    wrong = overrides | {"models.lstm": {"model": "lstm", "options": options}}
    message = message.replace("WHERE", r"\(models\.lstm\.options in analysis\.yaml\)")
    with pytest.raises(ConfigError, match=rf"(?s){message}"):
        load_analysis(ANALYSIS, wrong)


def test_check_finds_that_a_model_needs_a_collection_that_is_not_there(
    overrides: dict[str, Any], tmp_path: Path, w_jets_schema: Path
) -> None:
    schema = yaml.safe_load(w_jets_schema.read_text(encoding="utf-8"))
    schema["collections"]["towers"] = schema["collections"].pop("constituents")
    schema["derived"] = {}
    (tmp_path / "w_jets.yaml").write_text(yaml.safe_dump(schema), encoding="utf-8")
    texts = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    message = r"(?s)collection 'constituents' \(models\.lstm\.options.*towers"
    with pytest.raises(DataError, match=message):
        check_analysis(ANALYSIS, [*texts, f"schema={tmp_path / 'w_jets.yaml'}"])
