"""Combinations of models from one end to the other: fit, numbers, report, prediction, resume, MLflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import hepdl
from hepdl.errors import ConfigError, DataError
from hepdl.evaluate.roc import auc
from hepdl.io import write_table
from hepdl.io.tables import read_table
from hepdl.pipeline.check import check_analysis
from hepdl.pipeline.folders import RunFolder, file_hash
from hepdl.pipeline.load import load_analysis
from hepdl.pipeline.mapped import MappedTagger, load_maps
from hepdl.pipeline.predict import predict_files
from hepdl.pipeline.run import Run
from hepdl.pipeline.saved import load_saved
from hepdl.pipeline.stages.prepare import read_dataset
from hepdl.pipeline.tagger import Tagger
from hepdl.posthoc.stack import Stack
from hepdl.track import sync
from hepdl.track.store import connect

ROOT = Path(__file__).parents[2]
FEATURES = ["jet_mass", "tau21", "n_constituents"]
MEMBERS = ["mlp", "boosted_trees"]
COMBINATIONS = {
    "stack": {"of": MEMBERS, "method": "stack"},
    "stack_rank": {"of": MEMBERS, "method": "rank_average"},
}
N_FOLDS = 2
N_EVENTS = 300


def write_analysis(folder: Path, **changes: Any) -> Path:
    content: dict[str, Any] = {
        "analysis": "combined",
        "schema": str(ROOT / "data_schemas" / "w_jets.yaml"),
        "simulate": {"n_events": N_EVENTS, "seed": 5},
        "processes": {
            "w": {"label": "signal", "simulate": {"generator": "synthetic"}},
            "qcd": {"label": "background", "simulate": {"generator": "synthetic"}},
        },
        "split": {"folds": N_FOLDS, "validation_fraction": 0.3},
        "models": {
            "mlp": {
                "model": "mlp",
                "options": {"features": FEATURES, "hidden": [8]},
                "train": {"seeds": [0, 1]},
                "calibration": {"method": "temperature"},
            },
            "boosted_trees": {
                "model": "boosted_trees",
                "options": {"features": ["jet_pt", "jet_mass"], "n_rounds": 8},
            },
        },
        "combinations": COMBINATIONS,
        "train": {
            "epochs": 2,
            "minibatch_size": 32,
            "learning_rate": 0.03,
            "deterministic": True,
        },
        "evaluate": {"bootstrap_replicas": 20, "reference": "stack"},
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
    return tmp_path_factory.mktemp("combined")


@pytest.fixture(scope="module")
def folded(folder: Path) -> Run:
    return run(write_analysis(folder), folder / "run", data_dir=folder / "data")


@pytest.fixture
def copied(folded: Run, tmp_path: Path) -> Path:
    shutil.copytree(folded.folder, tmp_path / "run")
    return tmp_path / "run"


def scores_of(run_folder: Path) -> dict[str, Any]:
    return read_table(run_folder / "scores.root", ttree="scores")


def simulated(folder: Path) -> list[str]:
    return sorted(str(p) for p in (folder / "data" / "simulated").glob("*/part_*.root"))


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_score_is_that_of_the_members_through_the_map_of_the_fold(
    folded: Run, name: str
) -> None:
    table = scores_of(folded.folder)
    maps = load_maps(folded.folder / "models" / name)
    assert len(maps) == N_FOLDS
    for fold, fitted in enumerate(maps):
        for suffix, rows in (
            ("", table["fold"] == fold),
            ("_seen", table["fold"] == (fold - 1) % N_FOLDS),
        ):
            columns = np.column_stack([table[f"score_{m}{suffix}"][rows] for m in MEMBERS])
            found = table[f"score_{name}{suffix}"][rows]
            np.testing.assert_array_equal(found, fitted.transform(columns).astype(np.float32))
    assert f"score_{name}_seed0" not in table


def test_the_map_of_a_fold_was_fitted_to_the_validation_part_of_that_fold(folded: Run) -> None:
    """Fitted once more, from ``scores.root``: with two folds the other fold's events are `seen`."""
    table = scores_of(folded.folder)
    analysis = load_analysis(folded.folder / "config.yaml")
    dataset = read_dataset(RunFolder(folded.folder, folded.folder.parent), analysis)
    for fold, fitted in enumerate(load_maps(folded.folder / "models" / "stack")):
        part = dataset.of_fold(fold)
        rows = part.index("validation")
        assert (table["fold"][rows] != fold).all()
        columns = np.column_stack([table[f"score_{m}_seen"][rows] for m in MEMBERS])
        again = Stack.fit(columns, dataset.label[rows], part.training_weight[rows])
        # Scores of another minibatch are rounded elsewhere.
        np.testing.assert_allclose(fitted.coefficients, again.coefficients, atol=1e-4)


def test_the_numbers_are_those_of_the_scores_and_sums_over_the_members(folded: Run) -> None:
    table, models = scores_of(folded.folder), folded.metrics["models"]
    assert list(models) == [*MEMBERS, *COMBINATIONS]
    cards = {
        (name, fold): json.loads(
            (folded.folder / "models" / name / "folds" / str(fold) / "model.json").read_text()
        )
        for name in models
        for fold in range(N_FOLDS)
    }
    for name, combination in COMBINATIONS.items():
        entry = models[name]
        found = auc(table["label"], table[f"score_{name}"], table["weight"])
        assert entry["auc"]["value"] == pytest.approx(found, abs=1e-12)
        assert entry["auc"]["low"] < entry["auc"]["value"] < entry["auc"]["high"]
        sizes = [sum(cards[m, f]["n_parameters"] for m in MEMBERS) for f in range(N_FOLDS)]
        assert entry["n_parameters"] == round(np.mean(sizes))
        spent = sum(cards[m, fold]["fit_seconds"] for m in MEMBERS for fold in range(N_FOLDS))
        assert entry["fit_seconds"] == pytest.approx(spent)
        assert entry["seeds"] == {}
        assert "seed_spread" not in entry
        assert entry["fold_spread"]["n"] == N_FOLDS
        for key in ("chosen_seed", "best_epoch", "events_per_second"):
            assert entry[key] is None
        assert entry["combination"] == {
            "method": combination["method"],
            "members": {m: models[m]["chosen_seed"] for m in MEMBERS},
        }
        for fold in range(N_FOLDS):
            trained = cards[name, fold]["trained"]
            assert {m: trained[m]["seed"] for m in MEMBERS} == {
                m: cards[m, fold]["seed"] for m in MEMBERS
            }
    pairs = {(entry["a"], entry["b"]) for entry in folded.metrics["comparisons"]}
    assert pairs == {(name, "stack") for name in (*MEMBERS, "stack_rank")}


def test_the_report_has_a_line_for_it_and_figures_of_trainings_leave_it_out(folded: Run) -> None:
    page = (folded.folder / "report.html").read_text()
    assert "2 models, each trained 2 times" in page
    assert "stack_rank: rank_average of mlp, boosted_trees" in page
    table = folded.table()
    assert "stack_rank" in table
    for name in ("roc", "cost", "training", "scores"):
        assert (folded.folder / "figures" / f"{name}.png").is_file()


@pytest.mark.parametrize("mode", ["new", "friend"])
def test_predict_gives_the_scores_of_the_run_and_computes_each_member_once(
    folded: Run, folder: Path, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    original = Tagger.predict

    def counted(self: Tagger, events: Any) -> Any:
        calls.append(self.name)
        return original(self, events)

    monkeypatch.setattr(Tagger, "predict", counted)
    output = tmp_path / "out.root"
    predict_files(folded.folder, simulated(folder), output=output, mode=mode)
    found, expected = read_table(output, ttree="scores"), scores_of(folded.folder)
    assert sorted(calls) == sorted(2 * MEMBERS)  # once for each file
    rows = found["hepdl_selected"].astype(bool) if mode == "friend" else slice(None)
    for name in (*MEMBERS, *COMBINATIONS):
        # Files come in the order of their names, qcd before w. Minibatches of another size:
        # matrix products round differently in the last digits.
        by_process = [expected[f"score_{name}"][expected["process"] == p] for p in (1, 0)]
        np.testing.assert_allclose(
            found[f"score_{name}"][rows], np.concatenate(by_process), atol=1e-5
        )


def test_a_combination_alone_can_be_predicted(folded: Run, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.root"
    predict_files(folded.folder, simulated(folder), output=output, models=["stack"])
    assert {n for n in read_table(output, ttree="scores") if "score" in n} == {"score_stack"}


def test_a_combination_is_loaded_and_used_like_a_model(folded: Run, folder: Path) -> None:
    tagger = folded.load_model("stack")
    assert isinstance(tagger, MappedTagger)
    assert [member.name for member in tagger.members] == MEMBERS
    assert tagger.card["members"] == MEMBERS
    files = simulated(folder)
    events = hepdl.read(files, tagger.schema)
    table = scores_of(folded.folder)
    expected = np.concatenate([table["score_stack"][table["process"] == p] for p in (1, 0)])
    np.testing.assert_allclose(tagger.predict(events), expected, atol=1e-5)
    np.testing.assert_allclose(tagger.predict(files), expected, atol=1e-5)
    by_folder = hepdl.load_model(folded.folder / "models" / "stack")
    np.testing.assert_array_equal(by_folder.predict(events[:5]), tagger.predict(events[:5]))
    with pytest.raises(ConfigError, match="stack of the models mlp, boosted_trees beside it"):
        load_saved(folded.folder / "models" / "stack")


def test_a_run_whose_combination_is_gone_makes_the_same_one_again(
    copied: Path, folder: Path
) -> None:
    before = scores_of(copied)
    numbers = json.loads((copied / "metrics.json").read_text())
    shutil.rmtree(copied / "models" / "stack")
    (copied / "scores.root").unlink()
    hashes = {p: file_hash(p) for p in (copied / "models" / "mlp").rglob("*") if p.is_file()}
    done = run(write_analysis(folder), copied, data_dir=folder / "data", resume=True)
    after = scores_of(copied)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    assert done.metrics == numbers
    assert {path: file_hash(path) for path in hashes} == hashes
    assert "stack_rank, fold 1: already combined" in (copied / "log.txt").read_text()


def test_a_member_that_was_trained_again_is_combined_again(copied: Path, folder: Path) -> None:
    old = (copied / "models" / "stack" / "folds" / "0" / "model.json").read_text()
    shutil.rmtree(copied / "models" / "boosted_trees" / "folds" / "0")
    run(write_analysis(folder), copied, data_dir=folder / "data", resume=True)
    new = (copied / "models" / "stack" / "folds" / "0" / "model.json").read_text()
    # The trees are the same, their time is not: it is another training.
    assert json.loads(new)["map"] == json.loads(old)["map"]
    assert json.loads(new)["trained"] != json.loads(old)["trained"]
    hepdl.load_model(copied, "stack")


def test_a_combination_without_its_members_or_with_others_is_refused(copied: Path) -> None:
    card = copied / "models" / "mlp" / "folds" / "1" / "model.json"
    card.write_text(card.read_text() + " ")
    with pytest.raises(DataError, match="fitted to the scores of another training of mlp"):
        hepdl.load_model(copied, "stack")
    shutil.rmtree(copied / "models" / "mlp")
    with pytest.raises(ConfigError, match=r"rank_average of mlp, .* has no model mlp"):
        hepdl.load_model(copied, "stack_rank")


def test_the_served_combination_brings_its_members(
    folded: Run, folder: Path, mlflow_store: str
) -> None:
    (sent,) = sync([folded.folder])

    import mlflow.pyfunc

    client = connect(mlflow_store)
    experiment = client.get_run(sent.record).info.experiment_id
    (model,) = [m for m in client.search_logged_models([experiment]) if m.name == "stack"]
    served = mlflow.pyfunc.load_model(model.artifact_location)
    columns = ["event_number", *FEATURES, "jet_pt"]
    assert served.metadata.signature.inputs.input_names() == columns
    tagger = folded.load_model("stack")
    events = hepdl.read(simulated(folder), tagger.schema)[:20]
    table = pd.DataFrame(
        {name: np.asarray(events[name], dtype=np.float32) for name in columns[1:]}
        | {"event_number": np.asarray(events.event_number)}
    )
    np.testing.assert_array_equal(served.predict(table), tagger.predict(events))


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two models that each know one of two independent features, and one that knows noise."""
    folder, n = tmp_path_factory.mktemp("honest"), 4000
    random = np.random.default_rng(6)
    for number, name in enumerate(("signal", "background")):
        x, y, noise = random.normal(size=(3, n))
        shift = 1.0 * (name == "signal")
        table = {"number": np.arange(n) + number * n, "x": x + shift, "y": y + shift}
        write_table(table | {"noise": noise}, folder / f"{name}.root", ttree="events")
    branches: dict[str, Any] = {name: {} for name in ("x", "y", "noise")}
    schema = {
        "format_version": 1,
        "name": "two",
        "ttree": "events",
        "branches": {"number": {"role": "event_number"}, **branches},
    }
    (folder / "two.yaml").write_text(yaml.safe_dump(schema))
    trees = {"model": "boosted_trees", "options": {"features": ["y"], "n_rounds": 20}}
    path = write_analysis(
        folder,
        schema="two.yaml",
        simulate={},
        processes={
            name: {"label": name, "files": [f"{name}.root"]} for name in ("signal", "background")
        },
        split={"fractions": {"train": 0.4, "validation": 0.1, "test": 0.5}},
        models={
            "mlp_x": {"model": "mlp", "options": {"features": ["x"], "hidden": [8]}},
            "trees_y": trees,
            "trees_noise": trees | {"options": {"features": ["noise"], "n_rounds": 5}},
        },
        combinations={
            "both": {"of": ["mlp_x", "trees_y"]},
            "both_rank": {"of": ["mlp_x", "trees_y"], "method": "rank_average"},
            "with_noise": {"of": ["mlp_x", "trees_noise"]},
            "all_three": {"of": ["mlp_x", "trees_y", "trees_noise"]},
        },
        evaluate={"bootstrap_replicas": 100},
    )
    return run(path, folder / "run")


def difference(found: Run, a: str, b: str) -> dict[str, Any]:
    (entry,) = [
        e | {"sign": 1 if (e["a"], e["b"]) == (a, b) else -1}
        for e in found.metrics["comparisons"]
        if {e["a"], e["b"]} == {a, b} and e["metric"] == "auc"
    ]
    return entry


@pytest.mark.parametrize("combined", ["both", "both_rank", "all_three"])
@pytest.mark.parametrize("member", ["mlp_x", "trees_y"])
def test_models_that_know_different_features_are_beaten_by_their_combination(
    honest: Run, combined: str, member: str
) -> None:
    entry = difference(honest, combined, member)
    # Shifts of 1 give Φ(1/√2) = 0.760 alone and Φ(1) = 0.841 together; trees are a little worse.
    assert entry["sign"] * entry["value"] == pytest.approx(0.08, abs=0.03)
    assert entry["sign"] * entry["significance"] > 3


@pytest.mark.parametrize(("combined", "best"), [("with_noise", "mlp_x"), ("all_three", "both")])
def test_a_member_that_knows_nothing_costs_nothing_significant(
    honest: Run, combined: str, best: str
) -> None:
    entry = difference(honest, combined, best)
    assert entry["sign"] * entry["value"] > -0.005
    assert entry["sign"] * entry["significance"] > -5


def test_without_folds_a_combination_lies_in_one_file(honest: Run) -> None:
    folder = honest.folder / "models" / "both"
    assert [path.name for path in folder.iterdir()] == ["model.json"]
    tagger = hepdl.load_model(honest.folder, "all_three")
    events = hepdl.read([str(honest.folder.parent / "signal.root")], tagger.schema)
    table = scores_of(honest.folder)
    np.testing.assert_allclose(
        tagger.predict(events), table["score_all_three"][table["process"] == 0], atol=1e-5
    )


def test_a_combination_of_events_that_cannot_be_used_names_fold_and_part(
    copied: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(scores: object, label: object, event_weight: object) -> Stack:
        message = "the event weights add up to -1"
        raise DataError(message)

    monkeypatch.setattr(Stack, "fit", fails)
    shutil.rmtree(copied / "models" / "stack" / "folds" / "1")
    with pytest.raises(DataError, match=r"combination stack, fold 1, \d+ validation .* to -1"):
        run(write_analysis(folder), copied, data_dir=folder / "data", resume=True)


def test_check_names_the_combinations(folder: Path) -> None:
    text = check_analysis(write_analysis(folder))
    assert "combination stack_rank: rank_average of mlp, boosted_trees" in text
