"""Folds from one end to the other: out-of-fold scores, predictions that pick their model, resume."""

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
from hepdl.evaluate.roc import auc
from hepdl.io.tables import read_table
from hepdl.pipeline.check import check_analysis
from hepdl.pipeline.fold_models import load_folds
from hepdl.pipeline.predict import predict_files
from hepdl.pipeline.run import Run
from hepdl.pipeline.saved import load_saved
from hepdl.pipeline.served import ServedModel
from hepdl.track import Recorder, sync
from hepdl.track.store import connect

ROOT = Path(__file__).parents[2]
FEATURES = ["jet_mass", "tau21", "n_constituents"]
N_FOLDS = 3
N_EVENTS = 300


def write_analysis(folder: Path, **changes: Any) -> Path:
    content: dict[str, Any] = {
        "analysis": "folds",
        "schema": str(ROOT / "data_schemas" / "w_jets.yaml"),
        "simulate": {"n_events": N_EVENTS, "seed": 3},
        "processes": {
            "w": {"label": "signal", "simulate": {"generator": "synthetic"}},
            "qcd": {"label": "background", "simulate": {"generator": "synthetic"}},
        },
        "split": {"folds": N_FOLDS, "validation_fraction": 0.2},
        "models": {
            "mlp": {
                "model": "mlp",
                "options": {"features": FEATURES, "hidden": [8]},
                "train": {"seeds": [0, 1]},
            },
            "boosted_trees": {
                "model": "boosted_trees",
                "options": {"features": FEATURES, "n_rounds": 8},
            },
        },
        "train": {
            "epochs": 2,
            "minibatch_size": 32,
            "learning_rate": 0.03,
            "deterministic": True,
        },
        "calibration": {"method": "temperature"},
        "evaluate": {"bootstrap_replicas": 20},
    }
    content |= changes
    path = folder / "analysis.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def run(path: Path, output: Path, **options: Any) -> Run:
    return hepdl.run(path, output=output, tracking_uri="none", nproc=1, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folds")


@pytest.fixture(scope="module")
def folded(folder: Path) -> Run:
    return run(write_analysis(folder), folder / "run", data_dir=folder / "data")


def files(folder: Path, process: str = "*") -> list[str]:
    return sorted(str(p) for p in (folder / "data" / "simulated").glob(f"{process}-*/part_*.root"))


def expected_scores(folded: Run, model: str) -> dict[tuple[int, int], float]:
    table = read_table(folded.folder / "scores.root", ttree="scores")
    return {
        (int(process), int(number)): float(score)
        for process, number, score in zip(
            table["process"], table["event_number"], table[f"score_{model}"], strict=True
        )
    }


def test_each_fold_is_the_event_number_modulo_k_and_every_entry_is_tested(folded: Run) -> None:
    table = read_table(folded.folder / "scores.root", ttree="scores")
    np.testing.assert_array_equal(table["fold"], table["event_number"] % N_FOLDS)
    assert set(table["part"]) == {2}
    assert len(table["fold"]) == 2 * N_EVENTS
    splits = folded.metrics["data"]["splits"]
    assert splits["test"] == {"signal": N_EVENTS, "background": N_EVENTS}
    folds = folded.metrics["data"]["folds"]
    assert sum(parts["test"]["signal"] for parts in folds.values()) == N_EVENTS
    for parts in folds.values():
        assert sum(part["signal"] for part in parts.values()) == N_EVENTS


@pytest.mark.parametrize("model", ["mlp", "boosted_trees"])
def test_every_score_is_by_the_model_that_left_the_fold_out(folded: Run, model: str) -> None:
    table = read_table(folded.folder / "scores.root", ttree="scores")
    card = json.loads((folded.folder / "models" / model / "model.json").read_text())
    assert card["folds"]["n"] == N_FOLDS
    assert card["folds"]["by"] == f"event_number % {N_FOLDS}"
    models = load_folds(folded.folder / "models" / model)
    assert [saved.card["fold"] for saved in models] == list(range(N_FOLDS))
    if model == "mlp":
        for fold, saved in enumerate(models):
            seed = saved.card["seed"]
            inside = table["fold"] == fold
            np.testing.assert_array_equal(
                table["score_mlp"][inside], table[f"score_mlp_seed{seed}"][inside]
            )
    # The model of one fold gives other scores to the entries of another one.
    assert (table[f"score_{model}"] != table[f"score_{model}_seen"]).mean() > 0.9


@pytest.mark.parametrize("model", ["mlp", "boosted_trees"])
def test_a_tagger_picks_the_model_of_each_entry_by_itself(
    folded: Run, folder: Path, model: str
) -> None:
    tagger = folded.load_model(model)
    expected = expected_scores(folded, model)
    for code, process in enumerate(("w", "qcd")):
        events = hepdl.read(files(folder, process), tagger.schema)
        wanted = [expected[code, int(number)] for number in events.event_number]
        # Minibatches of another size: matrix products round differently in the last digits.
        np.testing.assert_allclose(tagger.predict(events), wanted, atol=1e-6)
    assert tagger.card["folds"]["n"] == N_FOLDS


def test_predict_writes_out_of_fold_scores_in_both_modes(
    folded: Run, folder: Path, tmp_path: Path
) -> None:
    expected = expected_scores(folded, "boosted_trees")
    for mode in ("new", "friend"):
        output = tmp_path / f"{mode}.root"
        predict_files(folded.folder, files(folder, "qcd"), output=output, mode=mode)
        table = read_table(output, ttree="scores")
        rows = np.ones(len(table["event_number"]), bool)
        if mode == "friend":
            rows = table["hepdl_selected"].astype(bool)
        numbers = table["event_number"][rows]
        assert len(numbers) == N_EVENTS
        wanted = [expected[1, int(number)] for number in numbers]
        np.testing.assert_allclose(table["score_boosted_trees"][rows], wanted, atol=1e-6)


def test_the_served_model_picks_the_fold_and_refuses_to_guess_event_numbers(
    folded: Run, folder: Path, mlflow_store: str
) -> None:
    (sent,) = sync([folded.folder])

    import mlflow.pyfunc

    client = connect(mlflow_store)
    experiment = client.get_run(sent.record).info.experiment_id
    (model,) = [m for m in client.search_logged_models([experiment]) if m.name == "mlp"]
    served = mlflow.pyfunc.load_model(model.artifact_location)
    assert served.metadata.signature.inputs.input_names() == ["event_number", *FEATURES]
    tagger = folded.load_model("mlp")
    events = hepdl.read(files(folder, "w"), tagger.schema)[:20]
    table = pd.DataFrame(
        {name: np.asarray(events[name], dtype=np.float32) for name in FEATURES}
        | {"event_number": np.asarray(events.event_number)}
    )
    np.testing.assert_array_equal(served.predict(table), tagger.predict(events))
    with pytest.raises(DataError, match=r"3 folds .* needs the column 'event_number'"):
        ServedModel(tagger).predict(table.drop(columns="event_number"))
    with pytest.raises(DataError, match="whole numbers"):
        ServedModel(tagger).predict(table.astype({"event_number": np.float64}))


def test_the_numbers_are_those_of_all_entries_out_of_fold(folded: Run) -> None:
    table = read_table(folded.folder / "scores.root", ttree="scores")
    for name, entry in folded.metrics["models"].items():
        if name == "boosted_trees":
            found = auc(table["label"], table[f"score_{name}"], table["weight"])
            assert found == pytest.approx(entry["auc"]["value"], abs=1e-12)
        areas = []
        for fold, numbers in entry["folds"].items():
            inside = table["fold"] == int(fold)
            area = auc(
                table["label"][inside], table[f"score_{name}"][inside], table["weight"][inside]
            )
            assert numbers["auc"] == pytest.approx(area, abs=1e-12)
            assert numbers["n_entries"] == inside.sum()
            areas.append(area)
        assert entry["fold_spread"]["n"] == N_FOLDS
        assert entry["fold_spread"]["auc"]["mean"] == pytest.approx(np.mean(areas))
        assert entry["fold_spread"]["auc"]["standard_deviation"] == pytest.approx(
            np.std(areas, ddof=1)
        )


def test_the_spread_between_seeds_is_in_the_numbers_and_in_the_table(folded: Run) -> None:
    entry = folded.metrics["models"]["mlp"]
    areas = [seed["auc"] for seed in entry["seeds"].values()]
    spread = entry["seed_spread"]
    assert spread["n"] == 2
    assert spread["auc"]["mean"] == pytest.approx(np.mean(areas))
    assert spread["auc"]["standard_deviation"] == pytest.approx(np.std(areas, ddof=1))
    assert set(spread["background_rejection"]) == {"0.3", "0.5", "0.8"}
    assert "seed_spread" not in folded.metrics["models"]["boosted_trees"]
    assert "spread of seeds" in folded.table()
    page = (folded.folder / "report.html").read_text()
    assert "each trained 3 times" in page


def test_a_folded_model_is_no_single_model(folded: Run) -> None:
    with pytest.raises(ConfigError, match="holds 3 models, one for each fold"):
        load_saved(folded.folder / "models" / "mlp")


@pytest.mark.parametrize(
    ("number", "step"), [("validation_auc_seed1_fold1", 1), ("validation_auc_fold2", 5)]
)
def test_a_run_that_was_stopped_within_a_fold_ends_in_the_same_scores(
    folded: Run,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: str,
    step: int,
) -> None:
    path, output = write_analysis(tmp_path), tmp_path / "again"
    original = Recorder.metrics

    def dies(self: Recorder, values: Any, at: int = 0, *, model: str | None = None) -> None:
        if number in values and at == step:
            raise KeyboardInterrupt
        original(self, values, at, model=model)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "metrics", dies)
        with pytest.raises(KeyboardInterrupt):
            run(path, output, data_dir=folder / "data")
    if "seed1" in number:
        # Boosted trees write a checkpoint every 25 rounds; this network has one of its epoch 0.
        assert (output / "checkpoints" / "mlp" / "folds" / "1" / "1" / "last.pt").is_file()
    second = run(path, output, data_dir=folder / "data", resume=True, last_stage="evaluate")
    one, two = (
        read_table(each.folder / "scores.root", ttree="scores") for each in (folded, second)
    )
    assert set(one) == set(two)
    for name, column in one.items():
        np.testing.assert_array_equal(two[name], column, err_msg=name)


def test_check_says_how_many_fits_there_will_be(tmp_path: Path) -> None:
    assert "3 folds by event_number % 3" in check_analysis(write_analysis(tmp_path))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"folds": 1}, r"split\.folds"),
        (
            {"folds": 2, "expression": "event_number % 2", "parts": {"train": [0], "test": [1]}},
            "two ways to split",
        ),
        ({"folds": 2, "validation_fraction": 0.0}, "validation_fraction"),
    ],
)
def test_folds_that_make_no_sense_are_refused_on_loading(
    split: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_analysis(write_analysis(tmp_path, split=split))


def test_folds_without_an_event_number_in_the_schema_are_refused(tmp_path: Path) -> None:
    schema = yaml.safe_load((ROOT / "data_schemas" / "w_jets.yaml").read_text())
    schema["name"] = "no_number"
    for branch in schema["branches"].values():
        if branch.get("role") == "event_number":
            branch["role"] = "observer"
    (tmp_path / "no_number.yaml").write_text(yaml.safe_dump(schema))
    path = write_analysis(tmp_path, schema="no_number.yaml")
    with pytest.raises(ConfigError, match=r"no branch .* has the role event_number"):
        check_analysis(path)
