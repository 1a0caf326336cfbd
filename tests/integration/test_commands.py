"""The commands beside ``run``: check, inspect, predict, compare, list; and stops by signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import hepdl
from hepdl.cli import main
from hepdl.io.tables import read_table
from hepdl.pipeline.run import Run

ROOT = Path(__file__).parents[2]
ANALYSIS = ROOT / "analyses" / "w_tagging"


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    assert isinstance(left.value.code, int)
    return left.value.code


def as_options(overrides: dict[str, Any]) -> list[str]:
    options = []
    for key, value in overrides.items():
        options += ["--set", f"{key}={json.dumps(value)}"]
    return options


@pytest.fixture(scope="module")
def w_file(small_run: Run, small_data: Path) -> str:
    assert small_run.folder.is_dir()
    return str(next((small_data / "simulated").glob("w-*/part_0000.root")))


def test_help_answers_and_an_unknown_command_leaves_with_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("--help") == 0
    assert "check" in capsys.readouterr().out
    assert call("fly") == 2
    assert "No such command 'fly'" in capsys.readouterr().err


def test_check_finds_nothing_wrong_with_the_shipped_analysis(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("check", str(ANALYSIS)) == 0
    assert "nothing wrong found" in capsys.readouterr().out


def test_check_names_every_bad_file_at_once(
    w_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.root"
    page.write_text("<html>not found</html>")
    short = tmp_path / "short.root"
    short.write_bytes(Path(w_file).read_bytes()[:2000])
    status = call(
        "check",
        str(ANALYSIS),
        "--set",
        f"processes.w={{label: signal, files: ['{page}']}}",
        "--set",
        f"processes.qcd={{label: background, files: ['{short}']}}",
    )
    assert status == 2
    text = capsys.readouterr().err
    assert "page.root" in text
    assert "short.root" in text


def test_inspect_shows_branches_and_drafts_a_schema_that_loads(
    w_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = tmp_path / "draft.yaml"
    assert call("inspect", w_file, "--schema", str(draft)) == 0
    text = capsys.readouterr().out
    assert "jet_mass" in text
    assert "400 entries" in text
    schema = hepdl.load_schema(draft)
    assert "constituents" in schema.collections
    assert call("inspect", w_file, "--schema", str(draft)) == 2
    assert "exists" in capsys.readouterr().err


def test_predict_writes_the_selected_entries_or_an_aligned_friend(
    small_run: Run, w_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, friend = tmp_path / "new.root", tmp_path / "friend.root"
    run = str(small_run.folder)
    assert call("predict", run, w_file, "--output", str(new)) == 0
    assert call("predict", run, w_file, "--output", str(friend), "--mode", "friend") == 0
    out = capsys.readouterr().out
    assert "400 rows" in out
    table = read_table(new, ttree="scores")
    aligned = read_table(friend, ttree="scores")
    for name in ("score_recnn", "score_mlp", "score_boosted_trees"):
        assert np.isfinite(table[name]).all()
        np.testing.assert_array_equal(table[name], aligned[name])
    assert aligned["hepdl_selected"].all()
    assert call("predict", run, w_file, "--output", str(new)) == 2
    assert "exists" in capsys.readouterr().err
    assert call("predict", run, w_file, "--output", str(tmp_path / "x"), "--model", "recn") == 2
    assert "did you mean 'recnn'?" in capsys.readouterr().err


def test_a_friend_has_a_row_for_each_entry_of_the_input(
    small_run: Run, w_file: str, tmp_path: Path
) -> None:
    # The same model behind a schema that rejects half of the entries.
    folder = tmp_path / "run"
    for name in ("model.json", "boosted_trees.json"):
        source = small_run.folder / "models" / "boosted_trees" / name
        target = folder / "models" / "boosted_trees" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    path = folder / "models" / "boosted_trees" / "model.json"
    card = json.loads(path.read_text())
    card["schema"]["selection"]["hard"] = "jet_mass > 80"
    schema = hepdl.load_schema(ROOT / "data_schemas" / "w_jets.yaml")
    card["schema_fingerprint"] = type(schema).from_dict(card["schema"]).fingerprint()
    path.write_text(json.dumps(card))
    output = tmp_path / "friend.root"
    assert call("predict", str(folder), w_file, "--output", str(output), "--mode", "friend") == 0
    table = read_table(output, ttree="scores")
    mass = np.asarray(hepdl.read(w_file, schema).jet_mass)
    assert len(table["hepdl_selected"]) == 400
    np.testing.assert_array_equal(table["hepdl_selected"], mass > 80)
    assert (table["score_boosted_trees"][mass <= 80] == -1).all()
    assert (table["score_boosted_trees"][mass > 80] >= 0).all()


def test_compare_reads_run_folders(small_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("compare", str(small_run.folder), "--format", "csv") == 0
    text = capsys.readouterr().out
    assert "boosted_trees" in text
    assert "auc_low" in text


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("models", "recnn"),
        ("losses", "gradient_reversal"),
        ("loops", "supervised"),
        ("generators", "pythia_jets"),
        ("metrics", "roc"),
        ("schemas", "w_jets"),
        ("analyses", "w_tagging"),
    ],
)
def test_list_names_what_there_is(
    kind: str, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert call("list", kind) == 0
    assert name in capsys.readouterr().out


def test_a_model_that_is_not_there_is_named(
    small_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(hepdl.errors.ConfigError, match=r"models of this run: .*recnn"):
        hepdl.load_model(small_run.folder, "recnn_gated")
    assert capsys.readouterr().out == ""


def test_sigterm_leaves_with_85_and_resume_ends_in_the_same_model(
    small_run: Run, small_overrides: dict[str, Any], small_data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "hepdl", "run", str(ANALYSIS), "--output", str(output)),
        *("--data-dir", str(small_data), "--tracking-uri", "none"),
        *as_options(small_overrides),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    checkpoint = output / "checkpoints" / "recnn" / "0" / "last.pt"
    while not checkpoint.is_file() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=120)
    assert process.returncode == 85, text
    assert "--resume" in text
    subprocess.run([*command, "--resume"], env=environment, check=True, capture_output=True)
    for name in ("recnn/parameters.pt", "boosted_trees/boosted_trees.json"):
        assert (output / "models" / name).read_bytes() == (
            small_run.folder / "models" / name
        ).read_bytes(), name
    assert yaml.safe_load((output / "config.yaml").read_text())["train"]["epochs"] == 2
