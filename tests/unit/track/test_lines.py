from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from hepdl.errors import DataError
from hepdl.track.lines import FILE_NAME, append, fold, open_record, read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    open_record(tmp_path / "one", analysis="w_tagging")
    return tmp_path / "one"


def _point(value: float, step: int) -> dict[str, object]:
    return {"what": "metrics", "model": "mlp", "step": step, "values": {"loss": value}}


def test_the_first_line_names_the_record_and_stays_the_same_on_resume(folder: Path) -> None:
    first = read(folder)[0]
    assert open_record(folder, analysis="w_tagging") == first
    assert first["analysis"] == "w_tagging"
    assert first["name"] == "one"
    assert [line["what"] for line in read(folder)] == ["record", "resumed"]


def test_a_repeated_epoch_leaves_one_point_a_step_and_the_later_one_wins(folder: Path) -> None:
    for value, step in ((0.7, 0), (0.6, 1), (0.65, 1), (0.5, 2)):
        append(folder, _point(value, step))
    points = {key[2]: value for key, (value, _) in fold(read(folder)).metrics.items()}
    assert points == {0: 0.7, 1: 0.65, 2: 0.5}


@pytest.mark.parametrize("n_bytes", range(1, 40, 6))
def test_a_line_torn_by_a_kill_is_cut_off_and_the_record_goes_on(
    folder: Path, n_bytes: int
) -> None:
    append(folder, _point(0.7, 0))
    whole = (folder / FILE_NAME).read_bytes()
    append(folder, _point(0.6, 1))
    (folder / FILE_NAME).write_bytes((folder / FILE_NAME).read_bytes()[: len(whole) + n_bytes])
    assert len(read(folder)) == 2  # reading alone changes nothing
    open_record(folder, analysis="w_tagging")
    append(folder, _point(0.6, 1))
    assert [line["what"] for line in read(folder)] == ["record", "metrics", "resumed", "metrics"]


def test_a_whole_line_without_its_line_break_is_kept(folder: Path) -> None:
    append(folder, _point(0.7, 0))
    path = folder / FILE_NAME
    path.write_bytes(path.read_bytes()[:-1])
    open_record(folder, analysis="w_tagging")
    assert [line["what"] for line in read(folder)] == ["record", "metrics", "resumed"]


def test_a_first_line_torn_by_a_kill_starts_the_record_afresh(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"what": "rec')
    open_record(tmp_path, analysis="w_tagging")
    assert [line["what"] for line in read(tmp_path)] == ["record"]


def test_a_damaged_line_in_the_middle_is_named(folder: Path) -> None:
    with (folder / FILE_NAME).open("a") as file:
        file.write("half a li\n")
    append(folder, _point(0.7, 0))
    with pytest.raises(DataError, match=r"record\.jsonl, line 2 is no JSON object: b'half a li'"):
        read(folder)


def test_a_folder_without_a_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no record\.jsonl.*give the folder"):
        read(tmp_path)


def test_a_record_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"what": "record", "format_version": 9}\n')
    with pytest.raises(DataError, match="format_version 9; this version of hepdl reads 1"):
        read(tmp_path)


def test_a_file_that_begins_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"epoch": 1}\n')
    with pytest.raises(DataError, match=r"begins with \{'epoch': 1\}"):
        read(tmp_path)


def test_every_line_is_strict_json_also_with_nan_paths_and_numpy_scalars(folder: Path) -> None:
    values = {"nan": math.nan, "inf": -math.inf, "np": np.float32(0.5), "n": np.int64(3)}
    append(folder, {"what": "metrics", "model": None, "step": 0, "values": values})
    append(folder, {"what": "params", "model": None, "values": {"p": Path("a/b"), "l": (1, 2)}})

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    for row in (folder / FILE_NAME).read_text().splitlines():
        json.loads(row, parse_constant=refuse)
    content = fold(read(folder))
    assert math.isnan(content.metrics[None, "nan", 0][0])
    assert content.metrics[None, "inf", 0][0] == -math.inf
    assert content.metrics[None, "np", 0][0] == 0.5
    assert content.params[None, "p"] == "a/b"
    assert content.params[None, "l"] == [1, 2]


def test_the_status_follows_the_last_end_and_a_resumed_run_is_running(folder: Path) -> None:
    append(folder, {"what": "end", "status": "KILLED"})
    assert fold(read(folder)).status == "KILLED"
    open_record(folder, analysis="w_tagging")
    assert fold(read(folder)).status == "RUNNING"
    assert fold(read(folder)).ended is None
