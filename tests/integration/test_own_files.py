"""A user's own flat ROOT file: MeV, a label branch, signed weights, a split by event number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import yaml

import hepdl
from hepdl.errors import ConfigError, HepdlError
from hepdl.io import write_root
from hepdl.io.tables import read_table

SCHEMA: dict[str, Any] = {
    "format_version": 1,
    "name": "mixed",
    "ttree": "nominal",
    "branches": {
        "event_number": {"branch": "eventNumber", "role": "event_number"},
        "mc_weight": {"role": "event_weight"},
        "met": {"branch": "met_met", "unit": "MeV"},
        "ht": {"unit": "MeV", "role": ["feature", "observer"]},
        "is_signal": {"role": "label", "classes": {"signal": 1, "background": 0}},
    },
    "derived": {"log_ht": {"expression": "log(ht)"}},
    "selection": {"trigger": "met > 20", "hard": "ht > 50"},
}
ANALYSIS: dict[str, Any] = {
    "analysis": "mixed",
    "schema": "schema.yaml",
    "processes": {"all": {"files": ["events_*.root"]}},
    "split": {"expression": "event_number % 2", "parts": {"train": [0], "test": [1]}},
    "models": {
        "mlp": {"model": "mlp", "options": {"features": ["met", "log_ht"], "hidden": [8]}},
        "boosted_trees": {
            "model": "boosted_trees",
            "options": {"features": ["met", "log_ht"], "n_rounds": 20},
        },
    },
    "train": {"epochs": 10, "minibatch_size": 64},
    "evaluate": {"bootstrap_replicas": 20},
}


def events(n_events: int, generator: np.random.Generator, first: int) -> dict[str, Any]:
    is_signal = generator.integers(0, 2, n_events)
    return {
        "event_number": np.arange(first, first + n_events),
        # One in ten weights is negative, as in a sample of next-to-leading order.
        "mc_weight": np.where(generator.random(n_events) < 0.1, -1.0, 1.0),
        "met": generator.exponential(30.0 + 90.0 * is_signal) + 10.0,
        "ht": generator.exponential(200.0 + 50.0 * is_signal) + 30.0,
        "is_signal": is_signal,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(SCHEMA, sort_keys=False))
    (tmp_path / "analysis.yaml").write_text(yaml.safe_dump(ANALYSIS, sort_keys=False))
    schema = hepdl.load_schema(tmp_path / "schema.yaml")
    generator = np.random.default_rng(1)
    for k in range(2):
        table = ak.Array(events(1500, generator, 2 * 1500 * k))
        write_root(table, tmp_path / f"events_{k}.root", schema)
    return tmp_path


def test_labels_units_weights_and_cuts_reach_the_numbers(folder: Path) -> None:
    run = hepdl.run(folder, output=folder / "run", tracking_uri="none")
    metrics = run.metrics
    accounting = metrics["data"]["accounting"]
    assert accounting["read"] == 3000
    assert accounting["rejected"]["trigger"] > 0
    assert accounting["read"] == accounting["selected"] + sum(accounting["rejected"].values())
    for name in ("mlp", "boosted_trees"):
        # Exponentials of scale 30 and 120 GeV alone have 120 / 150 = 0.80; the error is 0.02.
        assert 0.7 < metrics["models"][name]["auc"]["value"] < 0.9
    table = read_table(run.folder / "scores.root", ttree="scores")
    assert (table["event_weight"] < 0).any()
    assert set(table["event_number"][table["part"] == 2] % 2) == {1}
    assert set(table["event_number"][table["part"] != 2] % 2) == {0}


def test_a_bad_file_ends_the_run_by_name_unless_it_may_be_skipped(folder: Path) -> None:
    (folder / "events_2.root").write_bytes(b"<html>404</html>")
    with pytest.raises(HepdlError, match=r"events_2\.root"):
        hepdl.run(folder, output=folder / "run", tracking_uri="none")
    run = hepdl.run(folder, output=folder / "other", tracking_uri="none", skip_bad_files=True)
    (name,) = run.metrics["data"]["accounting"]["skipped"]
    assert "events_2.root" in name
    assert "events_2.root" in (run.folder / "report.html").read_text()


def test_without_a_label_branch_each_process_needs_a_label(folder: Path) -> None:
    schema = {**SCHEMA, "branches": {k: v for k, v in SCHEMA["branches"].items() if k[:3] != "is_"}}
    (folder / "schema.yaml").write_text(yaml.safe_dump(schema, sort_keys=False))
    with pytest.raises(ConfigError, match=r"processes\.all\.label .*required"):
        hepdl.run(folder, output=folder / "run", tracking_uri="none")
