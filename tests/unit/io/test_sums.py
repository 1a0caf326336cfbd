"""Sums of a branch over whole files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot

from hepdl.errors import DataError, SchemaError
from hepdl.io import sum_branch, sums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k in range(2):
        with uproot.recreate(tmp_path / f"{k}.root") as file:
            file["events"] = {
                "w": np.array([1.0, -0.25, 10.0 * k], dtype=np.float32),
                "n": np.array([1, 2, 3], dtype=np.int32),
                "bad": np.array([1.0, np.nan, 2.0]),
                "two": np.zeros((3, 2)),
            }
            file["counts"] = {"total": np.array([100.5])}
    return tmp_path


def test_every_entry_of_every_file_counts_once(folder: Path) -> None:
    assert sum_branch(f"{folder}/*.root", "w", ttree="events") == 11.5
    assert sum_branch(f"{folder}/*.root", "n", ttree="events") == 12.0
    assert sum_branch([f"{folder}/0.root"], "w", ttree="events") == 0.75


def test_pieces_do_not_change_the_sum(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "STEP", 2)
    assert sum_branch(f"{folder}/*.root", "w", ttree="events") == 11.5


def test_the_branch_may_be_in_another_ttree(folder: Path) -> None:
    assert sum_branch(f"{folder}/*.root", "counts:total", ttree="events") == 201.0
    # A ttree beside the file's name is that of the events.
    assert sum_branch(f"{folder}/1.root:events", "counts:total", ttree="x") == 100.5
    assert sum_branch(f"{folder}/1.root:events", "w", ttree="x") == 10.75


def test_a_file_that_cannot_be_read_is_left_out_on_request_alone(folder: Path) -> None:
    (folder / "2.root").write_text("not ROOT")
    with pytest.raises(DataError, match=r"2\.root: not a ROOT file"):
        sum_branch(f"{folder}/*.root", "w", ttree="events")
    assert sum_branch(f"{folder}/*.root", "w", ttree="events", skip_bad_files=True) == 11.5


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        ("ww", "unknown branch 'ww'.*did you mean 'w'"),
        ("two", "branch 'two' cannot be summed"),
        ("bad", "branch 'bad' is nan in entry 1"),
        ("count:total", "no ttree 'count'; did you mean 'counts'"),
    ],
)
def test_what_has_no_sum_is_named(folder: Path, branch: str, message: str) -> None:
    with pytest.raises((SchemaError, DataError), match=message):
        sum_branch(f"{folder}/0.root", branch, ttree="events")
