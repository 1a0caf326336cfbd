"""The output folder: markers, locks, and where data and the store live."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hepdl.errors import ConfigError, DataError
from hepdl.pipeline.folders import (
    RunFolder,
    choose_folder,
    content_hash,
    data_folder,
    write_json,
    write_text,
)


def test_a_stage_is_done_only_with_the_same_inputs_and_whole_outputs(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, tmp_path)
    output = tmp_path / "metrics.json"
    write_json(output, {"a": 1})
    assert not folder.has_finished("fit", "x")
    folder.mark("fit", "x", outputs=[output], notes={"files": 3})
    assert folder.has_finished("fit", "x")
    assert not folder.has_finished("fit", "y")
    output.write_text("{}")
    assert not folder.has_finished("fit", "x")


def test_a_torn_marker_counts_as_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, tmp_path)
    folder.mark("fit", "x", outputs=[], notes={})
    marker = tmp_path / "stages" / "fit.json"
    marker.write_text(marker.read_text()[:20])
    assert not folder.has_finished("fit", "x")


def test_a_named_output_that_is_not_empty_needs_resume(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("x")
    with pytest.raises(ConfigError, match="not empty: add --resume"):
        choose_folder("a", output=tmp_path, resume=False)
    assert choose_folder("a", output=tmp_path, resume=True).path == tmp_path


def test_resume_without_output_takes_the_newest_unfinished_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, done in (("2026-01-01T00-00-00Z", False), ("2026-02-01T00-00-00Z", True)):
        stages = tmp_path / "runs" / "a" / name / "stages"
        stages.mkdir(parents=True)
        if done:
            (stages / "report.json").write_text("{}")
    found = choose_folder("a", output=None, resume=True)
    assert found.path.name == "2026-01-01T00-00-00Z"
    assert found.root == tmp_path / "runs"
    fresh = choose_folder("a", output=None, resume=False)
    assert fresh.path.name not in {"2026-01-01T00-00-00Z", "2026-02-01T00-00-00Z"}


def test_two_processes_never_hold_one_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", tmp_path)
    with (
        folder.lock(),
        pytest.raises(ConfigError, match="another process is working in"),
        folder.lock(),
    ):
        pass


def test_data_live_beside_the_runs_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEPDL_DATA", raising=False)
    inside = choose_folder("a", output=tmp_path / "runs" / "a" / "x", resume=False)
    assert inside.root == tmp_path / "runs"
    assert data_folder(inside, None) == tmp_path / "runs" / "data"
    monkeypatch.setenv("HEPDL_DATA", str(tmp_path / "pool"))
    assert data_folder(inside, None) == tmp_path / "pool"
    assert data_folder(inside, tmp_path / "mine") == tmp_path / "mine"


def test_json_refuses_what_is_not_finite_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"auc": 0.5})
    with pytest.raises(DataError, match="not finite"):
        write_json(path, {"auc": float("nan")})
    assert json.loads(path.read_text()) == {"auc": 0.5}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_a_text_is_written_whole_and_hashes_ignore_key_order(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "x")
    assert (tmp_path / "a" / "b.txt").read_text() == "x"
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
