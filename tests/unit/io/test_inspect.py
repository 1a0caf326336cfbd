"""Inspecting names what is in a file, and drafts a schema that loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml

from hepdl import io
from hepdl.errors import ConfigError, DataError
from hepdl.io.root import RootTable
from hepdl.schema import load_schema

Write = Callable[..., Path]


@pytest.mark.parametrize(("rntuple", "kind"), [(False, "TTree"), (True, "RNTuple")])
def test_a_summary_names_branches_types_and_depths_without_reading_data(
    write_events: Write, rntuple: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_events(n=6, rntuple=rntuple)
    monkeypatch.setattr(RootTable, "array", lambda *_: pytest.fail("data were read"))
    summary = io.inspect(path)
    (table,) = summary.tables
    assert (table.name, table.kind, table.n_entries, table.cycles) == ("events", kind, 6, 1)
    assert table.compression == "ZLIB(1)"
    found = {b.name: (b.depth, b.leaf, b.unit) for b in table.branches}
    assert found["eventNumber"] == (1, "int64", None)
    assert found["jet_pt"] == (2, "float32", None)
    assert summary.size == path.stat().st_size


def test_one_ttree_of_many(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file.mktree("one", {"x": np.dtype("f4")})
        file.mktree("deep/two", {"y": np.dtype("f4"), "z": np.dtype("i4")})
        file["histogram"] = np.histogram([1, 2])
    assert [table.name for table in io.inspect(path).tables] == ["one", "deep/two"]
    assert list(io.inspect(path).others) == ["histogram;1", "deep;1"] or io.inspect(path).others
    assert [table.name for table in io.inspect(f"{path}:deep/two").tables] == ["deep/two"]
    with pytest.raises(DataError, match=r"no ttree 'deep/to'; did you mean 'deep/two'"):
        io.inspect(f"{path}:deep/to")
    with pytest.raises(ConfigError, match=r"unknown ttree 'tow'"):
        io.draft_schema(io.inspect(path), ttree="tow")
    assert io.draft_schema(io.inspect(path))["ttree"] == "deep/two"


@pytest.mark.parametrize("rntuple", [False, True], ids=["ttree", "rntuple"])
def test_a_draft_loads_and_reads(tmp_path: Path, write_events: Write, rntuple: bool) -> None:
    jet_id = ak.values_astype(ak.Array([[1], [2, 3], []]), np.int32)
    path = write_events(
        n=3, rntuple=rntuple, drop=("unused",), **{"class": np.zeros(3), "jet_id": jet_id}
    )
    draft = io.draft_schema(io.inspect(path))
    (tmp_path / "draft.yaml").write_text(yaml.safe_dump(draft, sort_keys=False))
    schema = load_schema(tmp_path / "draft.yaml")
    assert schema.event_number == "eventNumber"
    assert schema.event_weights == ("weight",)
    assert set(schema.features) == {"pt", "is_signal", "field_class"}
    assert set(schema.collections["jet"].branches) == {"pt", "eta", "id"}
    table = io.read(path, schema)
    assert table.jet.pt.tolist() == [[0.0], [500.0, 1000.0], []]
    assert table.jet.id.tolist() == [[1], [2, 3], []]


def test_units_in_titles_are_taken_over(
    monkeypatch: pytest.MonkeyPatch, write_events: Write
) -> None:
    path = write_events()
    title = property(lambda self: "transverse momentum [MeV]" if self.name == "pt" else self.name)
    monkeypatch.setattr(uproot.behaviors.TBranch.TBranch, "title", title)
    summary = io.inspect(path)
    assert {b.name: b.unit for b in summary.tables[0].branches if b.unit} == {"pt": "MeV"}
    assert io.draft_schema(summary)["branches"]["pt"]["unit"] == "MeV"


def test_a_file_without_numbers_gives_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file["histogram"] = np.histogram([1, 2])
    with pytest.raises(ConfigError, match="has no ttree and no RNTuple to draft a schema from"):
        io.draft_schema(io.inspect(path))


def test_files_are_inspected_one_by_one(tmp_path: Path, write_events: Write) -> None:
    write_events("a.root")
    write_events("b.root")
    with pytest.raises(ConfigError, match="matches 2 files: inspect them one by one"):
        io.inspect(tmp_path / "*.root")
