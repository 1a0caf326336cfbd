"""Reading gives every selected entry once, in the house's units and types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from hepdl import io
from hepdl.io.root import RootTable
from hepdl.schema import Schema

Write = Callable[..., Path]


@pytest.mark.parametrize("rntuple", [False, True], ids=["ttree", "rntuple"])
def test_values_arrive_in_house_units_and_declared_types(
    write_events: Write, schema: Schema, rntuple: bool
) -> None:
    table = io.read(write_events(n=4, rntuple=rntuple), schema)
    assert str(table.type) == (
        "4 * {event_number: int64, weight: float32, pt: float32, is_signal: int64, "
        "jets: var * {pt: float32, eta: float32}}"
    )
    assert table.event_number.tolist() == [2**60 + k for k in (1, 2, 3, 4)]
    assert table.pt.tolist() == [1, 2, 3, 4]
    assert table.jets.pt.tolist() == [[0.0], [0.5, 1.0], [], [1.5]]
    assert table.is_signal.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("rntuple", "step"),
    [*((False, step) for step in (1, 9, 10, 11, "60 B", "2 GB")), (True, 9), (True, "60 B")],
)
def test_chunks_together_are_the_whole(
    write_events: Write, make_schema: Callable[..., Schema], rntuple: bool, step: str | int
) -> None:
    schema = make_schema(
        selection={"even": "event_number % 2 == 0", "some_jet": "count(jets.pt) > 0"}
    )
    files = [
        write_events("a.root", 10, rntuple=rntuple),
        write_events("b.root", 7, first=11, rntuple=rntuple),
    ]
    whole = io.read(files, schema)
    accounting = io.Accounting()
    chunks = list(io.iterate(files, schema, step=step, accounting=accounting))
    assert ak.array_equal(ak.concatenate(chunks), whole, dtype_exact=True)
    if isinstance(step, int):
        assert max(len(chunk) for chunk in chunks) <= step
    assert accounting.as_dict() == {
        "read": 17, "rejected": {"even": 9, "some_jet": 2}, "selected": 6, "files": 2, "skipped": {},
    }  # fmt: skip
    assert accounting.read == accounting.selected + sum(accounting.rejected.values())


def test_no_more_than_a_chunk_is_read_at_once(
    write_events: Write, schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges: list[tuple[str, int, int]] = []
    original = RootTable.array

    def spy(self: RootTable, branch: str, start: int, stop: int) -> ak.Array:
        ranges.append((branch, start, stop))
        return original(self, branch, start, stop)

    monkeypatch.setattr(RootTable, "array", spy)
    path = write_events(n=1000)
    chunks = io.iterate(path, schema, step="4 kB")
    assert ranges == []  # nothing is read before the first chunk is asked for
    next(chunks)
    # 4 + 4 + 4 + 8 bytes flat and, on average, one jet of 8 bytes and an offset per list.
    assert max(stop - start for _, start, stop in ranges) < 4000 / 28 + 1
    list(chunks)
    assert {branch for branch, _, _ in ranges} == {field.branch for field in schema.fields}
    read = [(start, stop) for branch, start, stop in ranges if branch == "pt"]
    assert [stop for _, stop in read[:-1]] == [start for start, _ in read[1:]]


def test_max_entries_bounds_what_is_read(write_events: Write, schema: Schema) -> None:
    files = [write_events("a.root", 10), write_events("b.root", 10, first=11)]
    accounting = io.Accounting()
    table = io.read(files, schema, max_entries=13, accounting=accounting)
    assert (table.event_number - 2**60).tolist() == list(range(1, 14))
    assert accounting.read == 13


def test_entry_numbers_count_over_all_files(
    write_events: Write, make_schema: Callable[..., Schema]
) -> None:
    schema = make_schema(selection={"pt": "pt % 3 == 0"})
    files = [write_events("a.root", 10), write_events("b.root", 10, first=11)]
    chunks = io.iterate(files, schema, step=4, with_entry=True)
    assert ak.concatenate([chunk.hepdl_entry for chunk in chunks]).tolist() == [2, 5, 8, 11, 14, 17]


def test_derived_fields_are_added_before_the_selection(
    write_events: Write, make_schema: Callable[..., Schema]
) -> None:
    schema = make_schema(
        derived={"ht": {"expression": "sum(jets.pt)", "unit": "GeV"}}, selection={"ht": "ht > 1"}
    )
    table = io.read(write_events(n=5), schema)
    assert table.ht.tolist() == [1.5, 1.5, 4.5]


def test_glob_and_ttree_suffix(tmp_path: Path, write_events: Write, schema: Schema) -> None:
    write_events("b.root", 3, first=4)
    write_events("a.root", 3)
    write_events("other.txt.root", 2, ttree="folder/data", first=7)
    table = io.read([tmp_path / "[ab].root", f"{tmp_path}/other.txt.root:folder/data"], schema)
    assert (table.event_number - 2**60).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_float64_and_integers_in_another_file_become_the_declared_type(
    write_events: Write, schema: Schema
) -> None:
    files = [
        write_events("a.root", 2),
        write_events("b.root", 2, first=3, pt=np.array([3000, 4000], dtype=np.int64)),
        write_events("c.root", 2, first=5, pt=np.array([5000.0, 6000.0])),
    ]
    table = io.read(files, schema)
    assert table.pt.tolist() == [1, 2, 3, 4, 5, 6]
    assert str(table.pt.type) == "6 * float32"


def test_one_line_tells_what_became_of_the_entries(
    write_events: Write, make_schema: Callable[..., Schema], caplog: pytest.LogCaptureFixture
) -> None:
    io.read(write_events(), make_schema(selection={"hard": "pt > 4"}))
    assert [record.getMessage() for record in caplog.records if record.name == "hepdl.io.read"] == [
        "10 entries read from 1 file(s), 4 rejected (4 by hard), 6 selected"
    ]


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_entries_read(write_events: Write, schema: Schema, n: int) -> None:
    assert len(io.read(write_events(n=n), schema)) == n


def test_all_lists_empty_is_fine(write_events: Write, schema: Schema) -> None:
    empty = ak.values_astype(ak.Array([[], [], []]), np.float32)
    table = io.read(write_events(n=3, jet_pt=empty, jet_eta=empty), schema)
    assert table.jets.pt.tolist() == [[], [], []]


def test_the_newest_cycle_is_read(tmp_path: Path, write_events: Write, schema: Schema) -> None:
    import uproot

    path = write_events(n=3)
    columns: dict[str, Any] = {
        key: branch.array() for key, branch in uproot.open(path)["events"].iteritems()
    }
    with uproot.update(path) as file:
        types = {
            k: v.type.content if v.ndim > 1 else np.asarray(v).dtype for k, v in columns.items()
        }
        del types["njet_pt"], types["njet_eta"]
        file.mktree("events", types).extend({key: columns[key][:2] for key in types})
    assert len(io.read(path, schema)) == 2
    assert len(io.read(f"{path}:events;1", schema)) == 3
    assert io.inspect(path).tables[0].cycles == 2


def test_accountings_merge() -> None:
    one, two = io.Accounting(), io.Accounting()
    one.add("a", 10, {"x": 3})
    two.add("b", 5, {"x": 1, "y": 1})
    two.skipped["c"] = "empty"
    one.merge(two)
    assert one.as_dict() == {
        "read": 15, "rejected": {"x": 4, "y": 1}, "selected": 10, "files": 2,
        "skipped": {"c": "empty"},
    }  # fmt: skip
