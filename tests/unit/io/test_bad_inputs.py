"""Every bad input is refused before training, with file, branch, first bad entry and remedy."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from hepdl import io
from hepdl.errors import ConfigError, DataError, EnvironmentFailure, HepdlError, SchemaError
from hepdl.schema import Schema

Write = Callable[..., Path]


def changed(values: np.ndarray, entry: int, value: float) -> np.ndarray:
    values = values.copy()
    values[entry] = value
    return values


N = 10
PT = np.arange(N, dtype=np.float32)
ONES = np.ones(N, dtype=np.float32)
LABELS = np.zeros(N, dtype=np.int32)
# Magic, version 6.24, first record at byte 100, end at byte 300: then rubbish.
ROOT_HEADER = b"root" + struct.pack(">iii", 62400, 100, 300)
TEN_LISTS = ak.Array([[1.0]] * N)


@pytest.mark.parametrize("rntuple", [False, True], ids=["ttree", "rntuple"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"drop": ("pt",), "PT": PT}, SchemaError,
         r"a\.root:events: no branch 'pt' \(branches\.pt of schema tiny\); did you mean 'PT'\? \(branches: "),
        ({"drop": ("jet_eta",), "jet_etaa": TEN_LISTS}, SchemaError,
         r"no branch 'jet_eta' \(collections\.jets\.branches\.eta of schema tiny\); did you mean 'jet_etaa'"),
        ({"pt": TEN_LISTS}, SchemaError,
         r"branch 'pt' .*holds a list per entry; the schema declares one value per entry: declare it into a collection"),
        ({"jet_pt": PT}, SchemaError,
         r"branch 'jet_pt' .*holds one value per entry; the schema declares a list per entry: declare it under 'branches'"),
        ({"eventNumber": PT}, SchemaError,
         r"branch 'eventNumber' .*holds float32; the schema declares int64: .*write it as an integer"),
        ({"pt": changed(PT, 7, np.nan)}, DataError,
         r"a\.root:events: branch 'pt' \(pt\) is not finite .* in 1 of 10 .*first is entry 7: .*'isfinite\(pt\)'"),
        ({"weight": changed(changed(ONES, 3, np.inf), 8, np.nan)}, DataError,
         r"branch 'weight' \(weight\) is not finite .* in 2 of 10 .*first is entry 3"),
        ({"pt": PT.astype(np.float64) + 1e45}, DataError,
         r"branch 'pt' \(pt\) is not finite \(as its type in memory\) in 10 of 10"),
        ({"jet_pt": ak.Array([[1.0]] * 4 + [[2.0, np.nan]] + [[1.0]] * 5),
          "jet_eta": ak.Array([[1.0]] * 4 + [[2.0, 3.0]] + [[1.0]] * 5)}, DataError,
         r"branch 'jet_pt' \(jets\.pt\) is not finite .*first is entry 4: .*'all\(isfinite\(jets\.pt\)\)'"),
        ({"jet_pt": ak.Array([[1.0]] * 5 + [[1.0, 2.0]] * 5), "jet_eta": TEN_LISTS}, DataError,
         r"branch 'jet_eta' \(jets\.eta\), entry 5: it has 1 values where 'jet_pt' has 2; 5 entries .*two collections"),
        ({"is_signal": changed(LABELS, 6, 7)}, DataError,
         r"branch 'is_signal' \(is_signal\) is 7 in entry 6, which is none of its classes \(signal = 1, background = 0\)"),
        ({"eventNumber": np.full(N, 2**63 + 5, dtype=np.uint64)}, DataError,
         r"branch 'eventNumber' \(event_number\), entry 0: 9223372036854775813 does not fit int64"),
        ({"ttree": "event"}, DataError,
         r"a\.root: no ttree 'events'; did you mean 'event'\? \(ttrees and RNTuples: event\); name it under 'ttree:'"),
        ({"n": 0}, DataError, r"no entry to read: ttree 'events' is empty in all 1 file"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused(
    write_events: Write, schema: Schema, rntuple: bool, change: dict[str, Any],
    error: type[HepdlError], message: str,
) -> None:  # fmt: skip
    path = write_events(rntuple=rntuple, **change)
    with pytest.raises(error, match=message):
        io.read(path, schema)
    assert "did you" not in message or "did you" in "".join(io.check_files(path, schema))
    assert io.check_files(path, schema) != []


def test_text_is_no_number(tmp_path: Path, make_schema: Callable[..., Schema]) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file.mkrntuple("events", {"pt": ak.Array(["a", "b"])})
    schema = make_schema(branches={"pt": {}}, collections={})
    with pytest.raises(SchemaError, match=r"branch 'pt' .*holds text; the schema declares float32"):
        io.read(path, schema)


def test_lists_of_lists_cannot_be_declared(
    tmp_path: Path, make_schema: Callable[..., Schema]
) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file.mkrntuple("events", {"x": ak.Array([[[1.0], [2.0]], []])})
    schema = make_schema(branches={}, collections={"a": {"branches": {"x": {"branch": "x"}}}})
    with pytest.raises(
        SchemaError, match="holds a list of lists per entry; the schema declares a li"
    ):
        io.read(path, schema)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"not a ROOT file: it is empty \(0 bytes\)"),
        (b"<!DOCTYPE html><html>404", "it is a web page .*download it again"),
        (b"\n<html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer; run 'git lfs pull'"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file"),
        (b"PAR1....", "it is a Parquet file"),
        (b"hello world, no data", "it begins with b'hello world,' instead of b'root'"),
        (b"root", "the file is truncated: its header is incomplete, it has 4"),
        (b"root" + bytes(96), "the file is truncated: its header is incomplete, it has 100"),
        (ROOT_HEADER + b"x" * 284, r"a\.root: the ROOT file cannot be opened .* is it damaged"),
    ],
)
def test_what_is_no_root_file_is_named(
    tmp_path: Path, schema: Schema, content: bytes, message: str
) -> None:
    path = tmp_path / "a.root"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        io.read(path, schema)
    with pytest.raises(DataError, match=message):
        io.inspect(path)


@pytest.mark.parametrize("keep", [0.5, -1, -2000])
def test_a_truncated_file_is_named_with_both_sizes(
    write_events: Write, schema: Schema, keep: float
) -> None:
    path = write_events(n=2000)
    content = path.read_bytes()
    size = int(keep * len(content)) if keep > 0 else len(content) + int(keep)
    path.write_bytes(content[:size])
    message = rf"truncated: its header says {len(content)} bytes, it has {size}; fetch it again"
    with pytest.raises(DataError, match=message):
        io.read(path, schema)


def test_a_damaged_basket_is_named_with_branch_and_entries(
    write_events: Write, schema: Schema
) -> None:
    path = write_events(n=2000)
    content = bytearray(path.read_bytes())
    with uproot.open(path) as file:
        seek = int(file["events"]["pt"].member("fBasketSeek")[0])
    content[seek + 80 : seek + 480] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"branch 'pt', entries 0 to 1999, cannot be decoded .*damaged"
    ):
        io.read(path, schema)


def test_files_that_are_not_there_are_all_named(
    tmp_path: Path, write_events: Write, schema: Schema
) -> None:
    write_events("signal.root")
    files = [tmp_path / "signl.root", tmp_path / "*.rot", tmp_path]
    with pytest.raises(ConfigError) as caught:
        io.read(files, schema)
    text = str(caught.value)
    assert "signl.root; did you mean 'signal.root'? (in " in text
    assert f"nothing matches '{tmp_path}/*.rot'; in {tmp_path}: signal.root" in text
    assert f"{tmp_path} is a folder: name its files, e.g. {tmp_path}/*.root" in text
    assert io.check_files(files, schema) == text.splitlines()


def test_the_same_file_twice_would_count_twice(tmp_path: Path, write_events: Write) -> None:
    path = write_events()
    with pytest.raises(ConfigError, match=r"a\.root is listed twice \(by .*\*\.root'\)"):
        io.expand([path, tmp_path / "*.root"])
    with pytest.raises(ConfigError, match="no files are given"):
        io.expand([])


def test_problems_of_all_files_come_before_the_first_entry(
    write_events: Write, schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        write_events("a.root"),
        write_events("b.root", drop=("pt",)),
        write_events("c.root", drop=("weight",)),
    ]
    monkeypatch.setattr("hepdl.io.root.RootTable.array", lambda *_: pytest.fail("data were read"))
    with pytest.raises(
        SchemaError, match=r"(?s)b\.root:events: no branch 'pt'.*c\.root:events: no branch 'weight'"
    ):
        io.iterate(files, schema)


def test_jagged_in_one_file_and_flat_in_the_next_is_refused(
    write_events: Write, schema: Schema
) -> None:
    files = [write_events("a.root"), write_events("b.root", jet_pt=PT, jet_eta=PT)]
    with pytest.raises(SchemaError, match=r"b\.root:events: branch 'jet_pt' .*one value per entry"):
        io.read(files, schema)


def test_an_empty_file_among_others_is_fine(write_events: Write, schema: Schema) -> None:
    accounting = io.Accounting()
    files = [write_events("a.root", 0), write_events("b.root", 4)]
    assert len(io.read(files, schema, accounting=accounting)) == 4
    assert list(accounting.files.values()) == [0, 4]


def test_a_selection_that_leaves_nothing_says_what_happened(
    write_events: Write, make_schema: Callable[..., Schema]
) -> None:
    schema = make_schema(selection={"low": "pt > 3", "high": "pt > 1000"})
    with pytest.raises(
        DataError, match=r"rejects every entry: 10 entries read from 1 .*3 by low, 7 by high"
    ):
        io.read(write_events(), schema)


def test_bad_values_may_be_cut_away(
    write_events: Write, make_schema: Callable[..., Schema]
) -> None:
    pt = changed(1000 * PT, 7, np.nan)
    schema = make_schema(selection={"finite": "isfinite(pt)", "known": "is_signal >= 0"})
    path = write_events(pt=pt, is_signal=changed(LABELS, 2, -1))
    table = io.read(path, schema)
    assert table.pt.tolist() == [0, 1, 3, 4, 5, 6, 8, 9]


def test_bad_files_are_skipped_on_request_and_named(
    tmp_path: Path, write_events: Write, schema: Schema, caplog: pytest.LogCaptureFixture
) -> None:
    good, other = write_events("a.root"), write_events("b.root", ttree="other")
    (tmp_path / "c.root").write_bytes(b"")
    files = [good, other, tmp_path / "c.root", tmp_path / "d.root"]
    with pytest.raises(DataError, match=r"(?s)b\.root: no ttree.*c\.root: not a ROOT file"):
        io.read(files, schema)
    accounting = io.Accounting()
    assert len(io.read(files, schema, accounting=accounting, skip_bad_files=True)) == 10
    assert set(accounting.skipped) == {str(path) for path in files[1:]}
    assert "skipped: " in caplog.text
    assert f"skipped {files[3]}, {other}" in caplog.text
    with pytest.raises(DataError, match=r"b\.root: no ttree"):
        io.read(other, schema, skip_bad_files=True)


def test_a_wrong_branch_is_never_skipped(write_events: Write, schema: Schema) -> None:
    files = [write_events("a.root"), write_events("b.root", drop=("pt",))]
    with pytest.raises(SchemaError, match=r"b\.root:events: no branch 'pt'"):
        io.read(files, schema, skip_bad_files=True)


@pytest.mark.parametrize("step", ["50 XB", "-1 MB", 0, "0 kB", "many"])
def test_a_step_is_entries_or_a_size(write_events: Write, schema: Schema, step: str | int) -> None:
    with pytest.raises(ConfigError, match="write a number of entries, or a size such as '50 MB'"):
        io.iterate(write_events(), schema, step=step)


def test_max_entries_is_positive(write_events: Write, schema: Schema) -> None:
    with pytest.raises(ConfigError, match="max_entries must be at least 1"):
        io.read(write_events(), schema, max_entries=0)


def test_a_file_without_permission_is_a_failure_of_the_environment(
    write_events: Write, schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_events()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # tests may run as root, whom no mode bit stops
    for action in (io.read, io.check_files):
        if action is io.check_files:
            assert action(path, schema) == [f"{path}: cannot be read: Permission denied"]
        else:
            with pytest.raises(
                EnvironmentFailure, match=r"a\.root: cannot be read: Permission denied"
            ):
                action(path, schema)
    with pytest.raises(EnvironmentFailure, match="Permission denied"):
        io.file_checksum(path)
