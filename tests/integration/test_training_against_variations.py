"""Networks trained against a variation: what they are given, and that they depend on it less."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import yaml

import hepdl
from hepdl.errors import ConfigError
from hepdl.events.split import PARTS
from hepdl.io import write_root
from hepdl.io.tables import read_table
from hepdl.pipeline.check import check_analysis
from hepdl.pipeline.folders import RunFolder
from hepdl.pipeline.load import load_analysis
from hepdl.pipeline.run import Run
from hepdl.pipeline.stages.prepare import load_varied, read_dataset
from hepdl.pipeline.systematics import varied_dataset
from hepdl.pipeline.varied_training import with_varied_training
from hepdl.schema import Schema

SCHEMA: dict[str, Any] = {
    "format_version": 1,
    "name": "shifted",
    "ttree": "nominal",
    "branches": {
        "event_number": {"role": "event_number"},
        "w": {"role": "event_weight"},
        "x": {},
        "y": {},
    },
}
N = 1500
SHIFTS = {"up": 1.0, "down": -1.0}
AGAINST: dict[str, Any] = {
    "loss": "gradient_reversal",
    "nuisances": ["systematic"],
    "strength": 4.0,
    "options": {"warm_up": 0.0, "n_bins": 3},
}


def write(folder: Path, **changes: Any) -> Path:
    """Write samples in which x separates best and varies, and y separates as it is."""
    schema = Schema.from_dict(SCHEMA)
    for code, name in enumerate(("background", "signal")):
        random = np.random.default_rng(code)
        nominal = ak.Array(
            {
                "event_number": np.arange(N),
                "w": random.choice([1.0, 2.0], N).astype(np.float32),
                "x": (random.normal(size=N) + 1.5 * code).astype(np.float32),
                "y": (random.normal(size=N) + 1.0 * code).astype(np.float32),
            }
        )
        variations = {
            key: ak.with_field(nominal, nominal["x"] + np.float32(shift), "x")[5:]
            for key, shift in SHIFTS.items()
        }
        write_root(nominal, folder / f"{name}.root", schema, variations=variations)
    content: dict[str, Any] = {
        "analysis": "shifted",
        "schema": "schema.yaml",
        "processes": {n: {"label": n, "files": f"{n}.root"} for n in ("signal", "background")},
        "systematics": {"ttrees": ["up", "down"], "nuisance": {"up": 1, "down": -1}},
        "models": {"mlp": {"model": "mlp", "options": {"features": ["x", "y"], "hidden": [16]}}},
        "train": {"epochs": 6, "minibatch_size": 64, "learning_rate": 0.01, "deterministic": True},
        "decorrelation": AGAINST,
        "evaluate": {"bootstrap_replicas": 20},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.yaml").write_text(yaml.safe_dump(SCHEMA))
    path = folder / "analysis.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def run(path: Path, **options: Any) -> Run:
    folder = path.parent
    return hepdl.run(
        path, output=folder / "run", data_dir=folder / "data", tracking_uri="none", **options
    )


def moved(found: Run, model: str) -> float:
    """Return by how much the background's mean score differs between up and down."""
    means = []
    for variation in SHIFTS:
        rows = read_table(found.folder / f"scores_{variation}.root", ttree="scores")
        means.append(rows[f"score_{model}"][rows["label"] == 0].mean())
    return float(means[0] - means[1])


def test_a_network_trained_against_a_variation_moves_less_with_it(tmp_path: Path) -> None:
    found = run(write(tmp_path))
    assert set(found.metrics["models"]) == {"mlp", "mlp_plain"}
    # The plain network follows x; 600 test events know a mean of scores to 0.02.
    assert moved(found, "mlp_plain") > 0.3
    assert moved(found, "mlp") < 0.5 * moved(found, "mlp_plain")
    changes = {
        name: abs(entry["systematics"]["up"]["background_yield"]["value"] - 1.0)
        for name, entry in found.metrics["models"].items()
    }
    # All events: no cut, and the same for every model.
    assert changes["mlp"] == changes["mlp_plain"]
    for entry in found.metrics["models"].values():
        assert "dependence" not in entry


@pytest.mark.parametrize("split", [{}, {"folds": 2}], ids=["fractions", "folds"])
def test_every_version_of_a_training_event_is_there_with_its_share_of_the_weight(
    tmp_path: Path, split: dict[str, Any]
) -> None:
    found = run(write(tmp_path, split=split), last_stage="prepare")
    analysis = load_analysis(tmp_path)
    folder = RunFolder(found.folder, tmp_path)
    nominal = read_dataset(folder, analysis)
    config, schema = analysis.config, analysis.schema
    variations = {
        name: varied_dataset(load_varied(folder, name), nominal, config, schema) for name in SHIFTS
    }
    for fold in config.split.fold_numbers:
        base = nominal.of_fold(fold)
        both = with_varied_training(nominal, variations, fold, config, schema).of_fold(fold)
        versions = both.column("systematic")
        for part in ("validation", "test"):
            index = both.index(part)
            np.testing.assert_array_equal(index, base.index(part))
            assert not versions[index].any()
            np.testing.assert_array_equal(both.training_weight[index], base.training_weight[index])
        train = both.index("train")
        trained = {tuple(event) for event in base.groups(base.index("train")).tolist()}
        for value in (-1.0, 0.0, 1.0):
            own = train[versions[train] == value]
            events = {tuple(event) for event in both.groups(own).tolist()}
            assert events <= trained
            # Varied events 0 to 4 of each class were not selected.
            assert len(trained - events) <= (0 if value == 0 else 10)
            for code in (0, 1):
                share = both.training_weight[own][both.label[own] == code].sum()
                inside = base.index("train")
                whole = base.training_weight[inside][base.label[inside] == code].sum()
                assert share == pytest.approx(whole / 3)
        assert both.part.shape == versions.shape
        assert (both.part[len(base) :] == PARTS.index("train")).all()


def test_a_training_part_that_stays_on_disk_is_trained_against_variations_too(
    tmp_path: Path,
) -> None:
    train = {"epochs": 1, "minibatch_size": 64, "stream": 500}
    found = run(write(tmp_path, train=train, split={"folds": 2}), last_stage="fit")
    log = (found.folder / "log.txt").read_text()
    sizes = {
        (name, fold): int(number)
        for name, fold, number in re.findall(r"(mlp\w*), seed 0, (fold \d): (\d+) entries", log)
    }
    for fold in ("fold 0", "fold 1"):
        # Five events of each class are not in each of the two variations.
        nominal, both = sizes["mlp_plain", fold], sizes["mlp", fold]
        assert 3 * nominal - 20 <= both < 3 * nominal
    assert (found.folder / "models" / "mlp" / "model.json").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systematics": {"ttrees": ["up"]}}, "nuisance for up is missing, e.g. up: 1"),
        ({"systematics": {}}, "systematic needs variations; name their ttrees"),
        ({"evaluate": {"nuisances": ["systematic"]}}, "unknown field of the schema 'systematic'"),
    ],
)
def test_a_nuisance_without_values_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_analysis(write(tmp_path, **changes))
