"""Maps against nuisances from one end to the other: fit, numbers, report, prediction, resume, MLflow."""

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
from hepdl.errors import ConfigError, DataError, SchemaError
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
from hepdl.posthoc.conditional_cdf import ConditionalCDF
from hepdl.track import sync
from hepdl.track.store import connect

N_FOLDS = 2
N_EVENTS = 3000
MODELS = ["mlp", "boosted_trees"]
# A number that is derived, and a category.
NUISANCES = ["log_mass", "n_jets"]
POSTHOC: dict[str, dict[str, Any]] = {
    "trees_flat": {
        "of": "boosted_trees",
        "nuisances": ["log_mass"],
        "options": {"n_centres": 10},
    },
    "mlp_flat": {"of": "mlp", "nuisances": NUISANCES},
}
SCHEMA: dict[str, Any] = {
    "format_version": 1,
    "name": "own",
    "ttree": "events",
    "branches": {
        "number": {"role": "event_number"},
        "x": {},
        "y": {},
        "mass": {"unit": "GeV", "role": "observer"},
        "n_jets": {"role": "observer", "type": "int32"},
        "mc_weight": {"role": "event_weight"},
    },
    "derived": {"log_mass": {"expression": "log(mass)", "role": "observer"}},
    "selection": {"hard": "mass > 1"},
}


def write_files(folder: Path, n: int = N_EVENTS) -> None:
    """Write signal and background whose features grow with the mass and the number of jets."""
    random = np.random.default_rng(6)
    for number, name in enumerate(("signal", "background")):
        log_mass = random.normal(4.0 + 0.3 * (name == "signal"), 0.4, n)
        n_jets = random.integers(2, 4, n)
        x = random.normal(size=n) + 2.5 * (log_mass - 4.0) + (name == "signal")
        y = random.normal(size=n) + 0.8 * (n_jets - 2) + 0.7 * (name == "signal")
        table = {
            "number": np.arange(n) + number * n,
            "x": x,
            "y": y,
            "mass": np.exp(log_mass),
            "n_jets": n_jets.astype(np.int32),
            "mc_weight": random.choice([-0.5, 1.0, 1.5], n, p=[0.1, 0.5, 0.4]),
        }
        write_table(table, folder / f"{name}.root", ttree="events")


def write_analysis(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.yaml").write_text(yaml.safe_dump(SCHEMA))
    content: dict[str, Any] = {
        "analysis": "flattened",
        "schema": "own.yaml",
        "processes": {
            name: {
                "label": name,
                "files": [f"{name}.root"],
                "cross_section": 0.1,
                "sum_of_weights": 3000.0,
            }
            for name in ("signal", "background")
        },
        "split": {"folds": N_FOLDS, "validation_fraction": 0.4},
        "models": {
            "mlp": {
                "model": "mlp",
                "options": {"features": ["x", "y"], "hidden": [8]},
                "train": {"seeds": [0, 1]},
            },
            "boosted_trees": {
                "model": "boosted_trees",
                "options": {"features": ["x", "y"], "n_rounds": 20},
            },
        },
        "posthoc": POSTHOC,
        "train": {
            "epochs": 3,
            "minibatch_size": 64,
            "learning_rate": 0.03,
            "deterministic": True,
        },
        "evaluate": {"bootstrap_replicas": 20, "luminosity": 10.0},
    }
    content |= changes
    path = folder / "analysis.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def run(path: Path, output: Path, **options: Any) -> Run:
    return hepdl.run(path, output=output, tracking_uri="none", nproc=1, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flattened")
    write_files(folder)
    return folder


@pytest.fixture(scope="module")
def folded(folder: Path) -> Run:
    return run(write_analysis(folder), folder / "run")


@pytest.fixture
def copied(folded: Run, tmp_path: Path) -> Path:
    shutil.copytree(folded.folder, tmp_path / "run")
    return tmp_path / "run"


def scores_of(run_folder: Path) -> dict[str, Any]:
    return read_table(run_folder / "scores.root", ttree="scores")


def columns_of(folder: Path, names: list[str]) -> Any:
    """Return fields in the order of ``scores.root``: signal, then background."""
    schema = hepdl.load_schema(folder / "own.yaml")
    events = [hepdl.read([str(folder / f"{n}.root")], schema) for n in ("signal", "background")]
    return np.concatenate(
        [np.stack([np.asarray(e[name], dtype=float) for name in names], axis=1) for e in events]
    )


def files(folder: Path) -> list[str]:
    return [str(folder / f"{name}.root") for name in ("signal", "background")]


@pytest.mark.parametrize("name", POSTHOC)
def test_every_score_is_that_of_the_member_through_the_map_of_the_fold(
    folded: Run, folder: Path, name: str
) -> None:
    table = scores_of(folded.folder)
    nuisance = columns_of(folder, POSTHOC[name]["nuisances"])
    maps = load_maps(folded.folder / "models" / name)
    assert len(maps) == N_FOLDS
    for fold, fitted in enumerate(maps):
        assert isinstance(fitted, ConditionalCDF)
        for suffix, rows in (
            ("", table["fold"] == fold),
            ("_seen", table["fold"] == (fold - 1) % N_FOLDS),
        ):
            member = table[f"score_{POSTHOC[name]['of']}{suffix}"][rows]
            expected = fitted.transform(member, nuisance[rows]).astype(np.float32)
            np.testing.assert_array_equal(table[f"score_{name}{suffix}"][rows], expected)
    assert f"score_{name}_seed0" not in table


def test_the_map_of_a_fold_was_fitted_to_the_background_of_its_validation_part(
    folded: Run, folder: Path
) -> None:
    """Fitted once more, from ``scores.root``: with two folds the other fold's events are `seen`."""
    table = scores_of(folded.folder)
    analysis = load_analysis(folded.folder / "config.yaml")
    dataset = read_dataset(RunFolder(folded.folder, folded.folder.parent), analysis)
    nuisance = columns_of(folder, NUISANCES)
    for fold, fitted in enumerate(load_maps(folded.folder / "models" / "mlp_flat")):
        part = dataset.of_fold(fold)
        rows = part.index("validation")
        rows = rows[dataset.label[rows] == 0]
        assert (table["fold"][rows] != fold).all()
        weight = part.training_weight[rows]
        assert weight.min() < 0
        member = table["score_mlp_seen"][rows]
        again = ConditionalCDF.fit(member, nuisance[rows], weight)
        # Scores of another minibatch are rounded elsewhere.
        grid, places = np.linspace(0, 1, len(rows)), nuisance[rows]
        one, two = (found.transform(grid, places) for found in (fitted, again))
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_the_score_is_flatter_than_its_member_and_no_weaker_at_a_fixed_nuisance(
    folded: Run, folder: Path
) -> None:
    models, table = folded.metrics["models"], scores_of(folded.folder)
    for name, entry in models.items():
        assert list(entry["dependence_on"]) == sorted(NUISANCES), name
    for name, wanted in POSTHOC.items():
        for nuisance in wanted["nuisances"]:
            before = models[wanted["of"]]["dependence_on"][nuisance]
            after = models[name]["dependence_on"][nuisance]
            for metric in ("distance_correlation", "ks"):
                assert after[metric]["value"] < before[metric]["value"] / 3, (name, metric)
    mass = columns_of(folder, ["log_mass"])[:, 0]
    for low in (3.6, 4.0, 4.4):
        inside = (mass > low) & (mass < low + 0.1)
        old, new = (
            auc(table["label"][inside], table[f"score_{n}"][inside], table["event_weight"][inside])
            for n in ("boosted_trees", "trees_flat")
        )
        # Within a slice a mass of 0.1 still makes a little difference.
        assert new == pytest.approx(old, abs=0.03)


def test_the_numbers_say_how_it_was_made(folded: Run) -> None:
    table, models = scores_of(folded.folder), folded.metrics["models"]
    assert list(models) == [*MODELS, *POSTHOC]
    for name, wanted in POSTHOC.items():
        entry = models[name]
        found = auc(table["label"], table[f"score_{name}"], table["weight"])
        assert entry["auc"]["value"] == pytest.approx(found, abs=1e-12)
        member = models[wanted["of"]]
        assert entry["posthoc"] == {
            "method": "conditional_cdf",
            "members": {wanted["of"]: member["chosen_seed"]},
            "nuisances": wanted["nuisances"],
            "options": wanted.get("options", {}),
        }
        assert "combination" not in entry
        assert entry["n_parameters"] == member["n_parameters"]
        assert (entry["seeds"], entry["chosen_seed"], entry["best_epoch"]) == ({}, None, None)
        assert entry["fold_spread"]["n"] == N_FOLDS
        # Cuts are chosen on the validation part of the other folds, with its nuisances.
        assert len(entry["significance"]["cuts"]) == N_FOLDS
        assert entry["significance"]["value"] > 0
    pairs = {frozenset((e["a"], e["b"])) for e in folded.metrics["comparisons"]}
    assert frozenset(("boosted_trees", "trees_flat")) in pairs


def test_the_report_says_what_it_is(folded: Run) -> None:
    page = (folded.folder / "report.html").read_text()
    assert "2 models, each trained 2 times" in page
    assert "mlp_flat: conditional_cdf of mlp against log_mass, n_jets" in page
    assert "trees_flat" in folded.table()
    for name in ("roc", "scores", "sculpting_log_mass", "sculpting_n_jets"):
        assert (folded.folder / "figures" / f"{name}.png").is_file()


@pytest.mark.parametrize("mode", ["new", "friend"])
def test_predict_gives_the_scores_of_the_run(
    folded: Run, folder: Path, tmp_path: Path, mode: str
) -> None:
    output = tmp_path / "out.root"
    predict_files(folded.folder, files(folder), output=output, mode=mode)
    found, expected = read_table(output, ttree="scores"), scores_of(folded.folder)
    rows = found["hepdl_selected"].astype(bool) if mode == "friend" else slice(None)
    for name in (*MODELS, *POSTHOC):
        # Minibatches of another size: matrix products round differently in the last digits, and
        # where background is dense a map makes more of it.
        np.testing.assert_allclose(
            found[f"score_{name}"][rows], expected[f"score_{name}"], atol=1e-4
        )
    np.testing.assert_array_equal(found["score_trees_flat"][rows], expected["score_trees_flat"])


def test_it_is_loaded_and_used_like_a_model(folded: Run, folder: Path, tmp_path: Path) -> None:
    tagger = folded.load_model("trees_flat")
    assert isinstance(tagger, MappedTagger)
    assert [member.name for member in tagger.members] == ["boosted_trees"]
    assert tagger.card["nuisances"] == ["log_mass"]
    expected = scores_of(folded.folder)["score_trees_flat"]
    np.testing.assert_array_equal(tagger.predict(files(folder)), expected)
    events = hepdl.read(files(folder), tagger.schema)
    np.testing.assert_array_equal(tagger.predict(events), expected)
    # A table as a generator gives it: the derived nuisance is added.
    raw = events[[name for name in events.fields if name != "log_mass"]]
    np.testing.assert_array_equal(tagger.predict(raw), expected)
    without = events[[name for name in events.fields if name not in ("log_mass", "mass")]]
    with pytest.raises(SchemaError, match="mass"):
        tagger.predict(without)
    with pytest.raises(ConfigError, match="conditional_cdf of the model boosted_trees beside it"):
        load_saved(folded.folder / "models" / "trees_flat")
    output = tmp_path / "out.root"
    predict_files(folded.folder, files(folder), output=output, models=["trees_flat"])
    assert {n for n in read_table(output, ttree="scores") if "score" in n} == {"score_trees_flat"}


def test_a_nuisance_that_is_not_finite_is_an_error_that_names_it(folded: Run, folder: Path) -> None:
    tagger = folded.load_model("trees_flat")
    events = hepdl.read(files(folder), tagger.schema)[:5]
    events["log_mass"] = np.array([4.0, 4.0, np.nan, 4.0, 4.0])
    with pytest.raises(DataError, match="nuisance 0 is nan at entry"):
        tagger.predict(events)


def test_a_run_whose_map_is_gone_makes_the_same_one_again(copied: Path, folder: Path) -> None:
    before = scores_of(copied)
    numbers = json.loads((copied / "metrics.json").read_text())
    shutil.rmtree(copied / "models" / "mlp_flat" / "folds" / "1")
    (copied / "scores.root").unlink()
    hashes = {p: file_hash(p) for p in (copied / "models" / "mlp").rglob("*") if p.is_file()}
    done = run(write_analysis(folder), copied, resume=True)
    after = scores_of(copied)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    assert done.metrics == numbers
    assert {path: file_hash(path) for path in hashes} == hashes
    text = (copied / "log.txt").read_text()
    assert "mlp_flat, fold 0: already flattened" in text
    assert "trees_flat, fold 1: already flattened" in text
    assert "mlp_flat, fold 1: already flattened" not in text


def test_a_member_that_was_trained_again_is_mapped_again_and_never_mixed_up(
    copied: Path, folder: Path
) -> None:
    card = copied / "models" / "boosted_trees" / "folds" / "1" / "model.json"
    card.write_text(card.read_text() + " ")
    with pytest.raises(
        DataError, match="fitted to the scores of another training of boosted_trees"
    ):
        hepdl.load_model(copied, "trees_flat")
    old = (copied / "models" / "trees_flat" / "folds" / "0" / "model.json").read_text()
    shutil.rmtree(copied / "models" / "boosted_trees" / "folds" / "0")
    run(write_analysis(folder), copied, resume=True)
    new = (copied / "models" / "trees_flat" / "folds" / "0" / "model.json").read_text()
    assert json.loads(new)["map"] == json.loads(old)["map"]
    assert json.loads(new)["trained"] != json.loads(old)["trained"]
    hepdl.load_model(copied, "trees_flat")


def test_an_older_hepdl_refuses_the_map_by_its_format(folded: Run) -> None:
    card = json.loads((folded.folder / "models" / "mlp_flat" / "model.json").read_text())
    assert (card["format_version"], card["kind"]) == (4, "posthoc")


def test_the_served_map_brings_its_member_and_asks_for_the_nuisances(
    folded: Run, folder: Path, mlflow_store: str
) -> None:
    (sent,) = sync([folded.folder])

    import mlflow.pyfunc

    client = connect(mlflow_store)
    record = client.get_run(sent.record)
    (model,) = [
        m for m in client.search_logged_models([record.info.experiment_id]) if m.name == "mlp_flat"
    ]
    served = mlflow.pyfunc.load_model(model.artifact_location)
    columns = ["number", "x", "y", *NUISANCES]
    assert served.metadata.signature.inputs.input_names() == columns
    tagger = folded.load_model("mlp_flat")
    events = hepdl.read(files(folder), tagger.schema)[:20]
    table = pd.DataFrame(
        {name: np.asarray(events[name], dtype=np.float32) for name in columns[1:]}
        | {"number": np.asarray(events.number)}
    )
    # The nuisance is float32 in the table and in memory.
    np.testing.assert_allclose(served.predict(table), tagger.predict(events), atol=1e-6)


def test_too_few_events_name_map_fold_and_part(tmp_path: Path) -> None:
    write_files(tmp_path, n=200)
    path = write_analysis(
        tmp_path,
        models={
            "boosted_trees": {
                "model": "boosted_trees",
                "options": {"features": ["x"], "n_rounds": 2},
            }
        },
        posthoc={
            "flat": {
                "of": "boosted_trees",
                "nuisances": ["log_mass"],
                "options": {"n_neighbours": 100},
            }
        },
    )
    with pytest.raises(
        DataError,
        match=r"posthoc flat against log_mass, fold 0, \d+ validation entries: .* 100 neighbours",
    ):
        run(path, tmp_path / "run")


def test_without_folds_a_map_lies_in_one_file(tmp_path: Path) -> None:
    write_files(tmp_path, n=500)
    trees = {"model": "boosted_trees", "options": {"features": ["x"], "n_rounds": 5}}
    done = run(
        write_analysis(
            tmp_path,
            split={"fractions": {"train": 0.4, "validation": 0.2, "test": 0.4}},
            models={"boosted_trees": trees},
            posthoc={"flat": POSTHOC["trees_flat"]},
            report={"title": "flat"},
        ),
        tmp_path / "run",
    )
    place = done.folder / "models" / "flat"
    assert [path.name for path in place.iterdir()] == ["model.json"]
    np.testing.assert_array_equal(
        hepdl.load_model(place).predict(files(tmp_path)), scores_of(done.folder)["score_flat"]
    )


def test_check_names_the_maps(folder: Path) -> None:
    text = check_analysis(write_analysis(folder))
    assert "posthoc mlp_flat: conditional_cdf of mlp against log_mass, n_jets" in text
