"""Files are written whole or not at all."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from hepdl import io
from hepdl.errors import DataError, EnvironmentFailure
from hepdl.io import write
from hepdl.schema import Schema

TABLE = ak.zip(
    {
        "event_number": np.array([2**62 + 1, 5]),
        "weight": np.array([1.0, -0.5], dtype=np.float32),
        "pt": np.array([1.5, 40.0], dtype=np.float32),
        "is_signal": np.array([1, 0]),
        "jets": ak.zip({"pt": ak.Array([[], [30.0, 20.0]]), "eta": ak.Array([[], [1.0, -1.0]])}),
    },
    depth_limit=1,
)


def test_branches_have_the_schemas_names_units_and_types(tmp_path: Path, schema: Schema) -> None:
    io.write_root(TABLE, tmp_path / "a.root", schema)
    with uproot.open(tmp_path / "a.root") as file:
        assert file.classnames() == {"events;1": "TTree"}
        ttree = file["events"]
        assert ttree.typenames() == {
            "eventNumber": "int64_t", "weight": "float", "pt": "float", "is_signal": "int64_t",
            "njets": "int32_t", "jet_pt": "float[]", "jet_eta": "float[]",
        }  # fmt: skip
        assert ttree["pt"].array().tolist() == [1500, 40000]
        assert ttree["jet_pt"].array().tolist() == [[], [30000, 20000]]
        assert ttree["eventNumber"].array().tolist() == [2**62 + 1, 5]
        assert file.file.compression.name == "LZ4"


def test_a_branch_may_be_called_like_a_counter_or_a_collection(
    tmp_path: Path, make_schema: Callable[..., Schema]
) -> None:
    schema = make_schema(branches={"a": {"branch": "njets"}, "b": {"branch": "jets"}})
    table = ak.zip({"a": TABLE.pt, "b": TABLE.weight, "jets": TABLE.jets}, depth_limit=1)
    io.write_root(table, tmp_path / "a.root", schema)
    assert ak.array_equal(io.read(tmp_path / "a.root", schema).a, TABLE.pt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[["event_number", "weight", "pt", "jets"]], "no field 'is_signal', which schema tiny"),
        (lambda t: ak.with_field(t, t.pt, "ptt"), "unknown field of the table 'ptt'.*did you mean 'pt'"),
        (lambda t: ak.with_field(t, t.jets.pt, "pt"), "field 'pt' has depth 2, not 1"),
        (lambda t: ak.with_field(t, t.jets[["pt"]], "jets"), "collection 'jets' .* has no field 'eta'"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_the_schemas_is_refused(
    tmp_path: Path, schema: Schema, change: Callable[[ak.Array], ak.Array], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        io.write_root(change(TABLE), tmp_path / "a.root", schema)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.root"
    io.write_root(TABLE, path, schema)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, "to_file", full)
    with pytest.raises(EnvironmentFailure, match=r"a\.root: cannot be written: No space left"):
        io.write_root(TABLE, path, schema)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made_where_possible(tmp_path: Path, schema: Schema) -> None:
    io.write_root(TABLE, tmp_path / "new" / "folder" / "a.root", schema)
    assert len(io.read(tmp_path / "new" / "folder" / "a.root", schema)) == 2
    (tmp_path / "file").touch()
    with pytest.raises(
        EnvironmentFailure, match=r"a\.root: cannot be written: (File exists|Not a dir)"
    ):
        io.write_root(TABLE, tmp_path / "file" / "a.root", schema)


@pytest.mark.parametrize("n", [0, 1, 3, 70])
def test_flat_tables_come_back(tmp_path: Path, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "CHUNK_BYTES", 400)  # several appends
    columns = {
        "event_number": np.arange(n) + 2**61,
        "score_mlp": np.linspace(0, 1, n, dtype=np.float32),
        "weight": np.linspace(-1, 1, n),
        "hepdl_selected": np.arange(n) % 2 == 0,
        "fold": np.zeros(n, dtype=np.int8),
    }
    io.write_table(columns, tmp_path / "scores.root", ttree="scores")
    with uproot.open(tmp_path / "scores.root") as file:
        got = file["scores"].arrays(library="np")
    assert list(got) == list(columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(got[name], values)
        assert got[name].dtype == values.dtype


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "must have one common length"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, r"one common length, not \{'a': 2, 'b': 3\}"),
        ({"a": np.zeros((2, 2))}, r"column 'a' has shape \(2, 2\)"),
        (
            {"a": np.array(["x"])},
            "column 'a' has shape .* type <U1; a column is one number per row",
        ),
    ],
)
def test_what_is_no_flat_table_is_refused(
    tmp_path: Path, columns: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        io.write_table(columns, tmp_path / "a.root", ttree="t")
    assert list(tmp_path.iterdir()) == []


def test_checksums_tell_files_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-4, example of SHA-256 of "abc".
    assert io.file_checksum(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_variations_are_further_ttrees_of_the_same_file(tmp_path: Path, schema: Schema) -> None:
    io.write_root(TABLE, tmp_path / "a.root", schema, variations={"up": TABLE[1:]})
    with uproot.open(tmp_path / "a.root") as file:
        assert file.classnames() == {"events;1": "TTree", "up;1": "TTree"}
        assert file["events"]["jet_pt"].array().tolist() == [[], [30000, 20000]]
        assert file["up"]["jet_pt"].array().tolist() == [[30000, 20000]]
    varied = io.read(f"{tmp_path / 'a.root'}:up", schema)
    assert ak.to_list(varied) == ak.to_list(io.read(tmp_path / "a.root", schema)[1:])


def test_a_variation_with_other_fields_leaves_no_file(tmp_path: Path, schema: Schema) -> None:
    other = TABLE[["event_number", "weight", "pt", "jets"]]
    with pytest.raises(DataError, match="no field 'is_signal'"):
        io.write_root(TABLE, tmp_path / "a.root", schema, variations={"up": other})
    assert not list(tmp_path.iterdir())
