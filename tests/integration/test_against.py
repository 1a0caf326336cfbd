"""Numbers against a part of the background: the signal stays whole, the part is the background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
import yaml
from sklearn.metrics import roc_auc_score

import hepdl
from hepdl.errors import ConfigError, DataError

SCHEMA = {
    "format_version": 1,
    "name": "flat",
    "ttree": "events",
    "branches": {
        "event_number": {"role": "event_number"},
        "x": {},
        "kind": {"type": "int32", "role": ["truth", "observer"]},
    },
}


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Background of two kinds, one of which is much more like the signal."""
    folder = tmp_path_factory.mktemp("against")
    random = np.random.default_rng(5)
    n = 600
    kind = random.integers(0, 2, n)
    for name, mean in (("signal", 1.0), ("background", 0.8 * kind - 1.0)):
        with uproot.recreate(folder / f"{name}.root") as file:
            file["events"] = {
                "event_number": np.arange(n),
                "x": (random.normal(size=n) + mean).astype(np.float32),
                "kind": kind.astype(np.int32),
            }
    (folder / "schema.yaml").write_text(yaml.safe_dump(SCHEMA))
    content: dict[str, Any] = {
        "analysis": "against",
        "schema": "schema.yaml",
        "processes": {
            name: {"label": name, "files": [f"{name}.root"]} for name in ("signal", "background")
        },
        "models": {
            name: {"model": "boosted_trees", "options": {"features": ["x"], "n_rounds": n_rounds}}
            for name, n_rounds in (("boosted_trees", 10), ("boosted_trees_one", 1))
        },
        "evaluate": {
            "bootstrap_replicas": 20,
            "against": {"near": "kind == 1"},
            "reference": "boosted_trees",
        },
    }
    (folder / "analysis.yaml").write_text(yaml.safe_dump(content))
    return folder / "analysis.yaml"


def test_the_part_is_the_only_background(analysis: Path) -> None:
    run = hepdl.run(analysis, output=analysis.parent / "run", tracking_uri="none")
    rows = uproot.open(run.folder / "scores.root")["scores"].arrays(library="np")
    kinds = {
        name: uproot.open(analysis.parent / f"{name}.root")["events"]["kind"].array(library="np")
        for name in ("signal", "background")
    }
    label, test = rows["label"], rows["part"] == 2
    kind = np.where(
        label == 1, kinds["signal"][rows["event_number"]], kinds["background"][rows["event_number"]]
    )
    chosen = test & ((label == 1) | (kind == 1))
    entry = run.metrics["models"]["boosted_trees"]
    # All weights are 1, so balancing them changes no area.
    expected = roc_auc_score(label[chosen], rows["score_boosted_trees"][chosen])
    assert entry["against"]["near"]["auc"]["value"] == pytest.approx(expected, abs=1e-6)
    assert entry["against"]["near"]["auc"]["value"] < entry["auc"]["value"]
    assert {"against near", "all"} == {row["selection"] for row in run.metrics["comparisons"]}
    assert "AUC against near" in run.table()


def test_an_empty_part_and_an_unknown_field_are_named(analysis: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"evaluate\.against\.near: none of 600 background entries"):
        hepdl.run(
            analysis,
            output=tmp_path / "run",
            set={"evaluate.against.near": "kind > 5"},
            tracking_uri="none",
        )
    with pytest.raises(ConfigError, match=r"evaluate\.against\.near.*did you mean 'kind'"):
        hepdl.run(analysis, output=tmp_path / "other", set={"evaluate.against.near": "kin > 5"})
