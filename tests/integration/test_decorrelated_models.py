"""Decorrelated models through the whole pipeline: scans, targets, trees, planing, another domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import yaml

import hepdl
from hepdl.errors import ConfigError
from hepdl.io import write_root
from hepdl.io.tables import read_table
from hepdl.pipeline.load import load_analysis
from hepdl.pipeline.run import Run
from hepdl.schema import Schema

SCHEMA: dict[str, Any] = {
    "format_version": 1,
    "name": "masses",
    "ttree": "jets",
    "branches": {
        "event_number": {"role": "event_number"},
        "w": {"role": "event_weight"},
        "a": {},
        "b": {},
        "mass": {"unit": "GeV", "role": "observer"},
        "flavour": {"role": "truth"},
    },
}
N = 1500


def table(code: int, *, seed: int, shift: float = 0.0) -> ak.Array:
    """Return events: signal peaks in the mass, which a follows; b is as good and knows nothing of it."""
    random = np.random.default_rng(seed)
    mass = random.normal(80, 10, N) if code == 1 else random.uniform(20, 140, N)
    return ak.Array(
        {
            "event_number": np.arange(N),
            "w": random.choice([1.0, 2.0], N).astype(np.float32),
            "a": (-np.abs(mass - 80) / 20 + 0.3 * random.normal(size=N) + shift).astype(np.float32),
            "b": (random.normal(size=N) + 1.2 * code).astype(np.float32),
            "mass": mass.astype(np.float32),
            "flavour": random.integers(0, 3, N).astype(np.float32),
        }
    )


def write(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    schema = Schema.from_dict(SCHEMA)
    for code, name in enumerate(("background", "signal")):
        write_root(table(code, seed=code), folder / f"{name}.root", schema)
    data = ak.concatenate([table(code, seed=code + 10, shift=1.0) for code in (0, 1)])
    data = data[[field for field in data.fields if field != "flavour"]]
    write_root(data, folder / "data.root", schema.without_truth())
    network = {"model": "mlp", "options": {"features": ["a", "b"], "hidden": [16, 16]}}
    trees = {"model": "boosted_trees", "options": {"features": ["a", "b"], "n_rounds": 80}}
    content: dict[str, Any] = {
        "analysis": "masses",
        "schema": "schema.yaml",
        "processes": {n: {"label": n, "files": f"{n}.root"} for n in ("signal", "background")},
        "models": {"mlp": network, "trees": trees},
        "train": {"epochs": 12, "minibatch_size": 128, "learning_rate": 0.01, "n_threads": 1},
        "evaluate": {"bootstrap_replicas": 20, "nuisances": ["mass"]},
    }
    (folder / "schema.yaml").write_text(yaml.safe_dump(SCHEMA))
    path = folder / "analysis.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def run(path: Path, **options: Any) -> Run:
    folder = path.parent
    return hepdl.run(
        path, output=folder / "run", data_dir=folder / "data", tracking_uri="none", **options
    )


def model(kind: str, **decorrelation: Any) -> dict[str, Any]:
    features = {"features": ["a", "b"]}
    options = {"hidden": [16, 16]} if kind == "mlp" else {"n_rounds": 80}
    wanted = {"nuisances": ["mass"], "reference": False} | decorrelation
    return {"model": kind, "options": features | options, "decorrelation": wanted}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Run:
    models = {
        "plain": {"model": "mlp", "options": {"features": ["a", "b"], "hidden": [16, 16]}},
        "disco": model("mlp", loss="distance_correlation", scan=[0.3, 30]),
        "held": model("mlp", loss="distance_correlation", strength=3, target=0.05),
        "planed": model("mlp", planing=1),
        "both": model(
            "mlp", loss="moment_decomposition", strength=30, options={"applies_to": "each_class"}
        ),
        "trees": {"model": "boosted_trees", "options": {"features": ["a", "b"]}},
        "flat_trees": model("boosted_trees", loss="flatness", strength=30, options={"warm_up": 10}),
    }
    return run(write(tmp_path_factory.mktemp("masses"), models=models, split={"folds": 2}))


def test_a_scan_is_one_model_for_each_strength(found: Run) -> None:
    assert set(found.metrics["models"]) == {
        "plain", "disco_0p3", "disco_30", "held", "planed", "both", "trees", "flat_trees"
    }  # fmt: skip
    lines = (found.folder / "record.jsonl").read_text()
    assert '"disco_0p3"' in lines


def test_scores_of_decorrelated_models_know_the_mass_less(found: Run) -> None:
    numbers = {
        name: entry["dependence"]["distance_correlation"]["value"]
        for name, entry in found.metrics["models"].items()
    }
    # 1500 background events know it to 0.01.
    assert numbers["plain"] > 0.08
    assert numbers["trees"] > 0.08
    assert numbers["disco_30"] < 0.3 * numbers["disco_0p3"]
    for name in ("disco_30", "both", "flat_trees"):
        assert numbers[name] < 0.4 * numbers["plain"], name
    assert numbers["held"] == pytest.approx(0.05, abs=0.035)
    history = (found.folder / "record.jsonl").read_text()
    assert "decorrelation_strength_fold0" in history


def test_numbers_of_folds_and_working_points_are_there(found: Run) -> None:
    entry = found.metrics["models"]["disco_30"]
    assert len(entry["fold_spread"]["inverse_jsd"]["values"]) == 2
    assert entry["fold_spread"]["inverse_jsd"]["statistical"] > 0
    assert set(entry["dependence"]["at"]) == {"0.3", "0.5", "0.8"}
    assert entry["dependence"]["inverse_jsd"]["ceiling"] > 0
    assert entry["seeds"]["0"]["inverse_jsd"] > 0
    figures = {path.stem for path in (found.folder / "figures").glob("*.png")}
    assert {"decorrelation_mass", "background_efficiency_mass", "sculpting_mass"} <= figures


def test_a_second_domain_trains_without_labels_and_is_in_no_number(tmp_path: Path) -> None:
    processes = {n: {"label": n, "files": f"{n}.root"} for n in ("signal", "background")}
    processes["data"] = {"label": "unlabelled", "files": "data.root"}
    adapted = model(
        "mlp",
        loss="domain_adversarial",
        nuisances=["domain"],
        layer="stack.blocks.0",
        strength=10,
        options={"inner_steps": 3, "learning_rate": 0.01},
    )
    adapted["train"] = {"epochs": 20, "learning_rate": 0.03, "schedule": "constant"}
    plain = {"model": "mlp", "options": {"features": ["a", "b"], "hidden": [16, 16]}}
    path = write(tmp_path, processes=processes, models={"plain": plain, "adapted": adapted})
    found = run(path, last_stage="evaluate")
    counted = sum(sum(part.values()) for part in found.metrics["data"]["splits"].values())
    assert counted == 2 * N
    assert found.metrics["data"]["unlabelled"]["accounting"]["selected"] == 2 * N
    rows = read_table(found.folder / "scores.root", ttree="scores")
    assert len(rows["label"]) == 2 * N
    assert set(rows["label"]) == {0, 1}
    # Feature a is shifted by 1 in data; the adapted network does not follow it there.
    data = table(0, seed=77, shift=1.0)
    same = ak.with_field(data, data["a"] - np.float32(1.0), "a")
    moved = {}
    for name in ("plain", "adapted"):
        tagger = hepdl.load_model(found.folder, name)
        moved[name] = float(np.abs(tagger.predict(data) - tagger.predict(same)).mean())
    assert moved["adapted"] < 0.6 * moved["plain"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"models": {"t": model("boosted_trees", loss="gradient_reversal")}},
            "an adversary, which boosted trees cannot train; use flatness",
        ),
        (
            {"models": {"t": model("boosted_trees", loss="flatness", target=0.1)}},
            "target is for networks",
        ),
        ({"models": {"m": model("mlp", planing=2)}}, "planing"),
        ({"models": {"m": model("mlp", scan=[1, 2])}}, "'loss' is missing"),
        (
            {"models": {"m": model("mlp", loss="flatness", scan=[1, 1])}},
            "names a strength twice",
        ),
        (
            {"models": {"m": model("mlp", loss="domain_adversarial", nuisances=["domain"])}},
            "domain needs events of a second domain",
        ),
        (
            {"evaluate": {"dependence": {"ranges": {"mas": [0, 1]}}}},
            "field of the schema 'mas'",
        ),
        (
            {"evaluate": {"dependence": {"ranges": {"mass": [2, 1]}}}},
            "it must rise",
        ),
    ],
)
def test_what_cannot_work_is_said_before_the_training(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_analysis(write(tmp_path, **changes))


def test_unlabelled_events_that_nobody_uses_are_an_error(tmp_path: Path) -> None:
    processes = {n: {"label": n, "files": f"{n}.root"} for n in ("signal", "background")}
    processes["data"] = {"label": "unlabelled", "files": "data.root"}
    with pytest.raises(ConfigError, match="no model has one"):
        load_analysis(write(tmp_path, processes=processes))


def test_a_column_of_the_processes_is_a_nuisance_that_no_file_has(tmp_path: Path) -> None:
    processes = {
        "signal": {"label": "signal", "files": "signal.root", "constants": {"pile_up": 0}},
        "background": {
            "label": "background",
            "files": "background.root",
            "constants": {"pile_up": 0},
        },
        "moved": {"label": "background", "files": "moved.root", "constants": {"pile_up": 1}},
        "signal_too": {"label": "signal", "files": "signal_too.root", "constants": {"pile_up": 1}},
    }
    path = write(
        tmp_path,
        processes=processes,
        models={
            "plain": {"model": "mlp", "options": {"features": ["a", "b"], "hidden": [16, 16]}},
            "blind": model(
                "mlp", loss="gradient_reversal", nuisances=["pile_up"], strength=10,
                options={"warm_up": 1, "learning_rate": 0.01},
            ),
        },
        evaluate={
            "bootstrap_replicas": 20,
            "nuisances": ["pile_up"],
            "ams": {"nuisance": "pile_up", "signal": 100, "background": 1000},
        },
    )  # fmt: skip
    schema = Schema.from_dict(SCHEMA)
    write_root(table(0, seed=20, shift=1.5), tmp_path / "moved.root", schema)
    write_root(table(1, seed=21, shift=1.5), tmp_path / "signal_too.root", schema)
    found = run(path)
    models = found.metrics["models"]
    slices = {name: entry["dependence"]["slices_ks"]["value"] for name, entry in models.items()}
    # 600 events at each value know a distance to 0.06.
    assert slices["plain"] > 0.3
    assert slices["blind"] < 0.5 * slices["plain"]
    ams = {name: entry["ams"] for name, entry in models.items()}
    for numbers in ams.values():
        assert numbers["low"] <= numbers["value"] <= numbers["high"]
    assert ams["blind"]["value"] > ams["plain"]["value"]
    assert (found.folder / "figures" / "ams.png").is_file()
    # Data have no such column.
    data = table(0, seed=30)
    assert len(hepdl.load_model(found.folder, "blind").predict(data)) == N


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ([{"mass": 1}, {"mass": 1}], "mass is a field of schema masses, too"),
        ([{"pile_up": 1}, {}], "pile_up is missing, which signal has"),
    ],
)
def test_columns_of_processes_are_checked(
    tmp_path: Path, constants: list[dict[str, float]], message: str
) -> None:
    processes = {
        name: {"label": name, "files": f"{name}.root", "constants": values}
        for name, values in zip(("signal", "background"), constants, strict=True)
    }
    with pytest.raises(ConfigError, match=message):
        load_analysis(write(tmp_path, processes=processes))
