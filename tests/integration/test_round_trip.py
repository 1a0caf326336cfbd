"""What is written comes back: any schema, TTree and RNTuple, any number of entries, any chunk."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from hepdl import io
from hepdl.io import write
from hepdl.schema import Schema, load_schema
from hepdl.simulate.synthetic import generate

SCHEMAS = Path(__file__).parents[2] / "data_schemas"


def without_selection(name: str) -> Schema:
    content = load_schema(SCHEMAS / f"{name}.yaml").as_dict()
    return Schema.from_dict({**content, "selection": {}, "derived": {}})


@pytest.mark.parametrize("n", [1, 2, 300])
def test_simulated_jets_come_back_bit_for_bit(
    tmp_path: Path, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "CHUNK_BYTES", 50_000)  # several appends
    schema = load_schema(SCHEMAS / "w_jets.yaml")
    jets = generate(n, seed=3, schema=schema)
    io.write_root(jets, tmp_path / "jets.root", schema)
    assert ak.array_equal(io.read(tmp_path / "jets.root", schema), jets, dtype_exact=True)
    step = max(1, n - 1)
    chunks = list(io.iterate(tmp_path / "jets.root", schema, step=step))
    assert [len(chunk) for chunk in chunks] == [step] * (n // step) + [n % step] * (n % step > 0)
    assert ak.array_equal(ak.concatenate(chunks), jets, dtype_exact=True)


def test_no_jets_make_a_file_that_counts_as_empty(tmp_path: Path) -> None:
    schema = load_schema(SCHEMAS / "w_jets.yaml")
    jets = generate(3, seed=3, schema=schema)
    io.write_root(jets[:0], tmp_path / "none.root", schema)
    io.write_root(jets, tmp_path / "some.root", schema)
    (problem,) = io.check_files(tmp_path / "none.root", schema)
    assert "is empty in all 1 file(s)" in problem
    assert len(io.read(tmp_path / "*.root", schema)) == 3


def test_energies_pass_through_mev_within_one_rounding(tmp_path: Path) -> None:
    schema = without_selection("flat_ntuple")
    table = generate(500, seed=4, schema=schema, label="background")
    io.write_root(table, tmp_path / "flat.root", schema)
    back = io.read(tmp_path / "flat.root", schema)
    assert back.fields == table.fields
    for name in table.fields:
        if schema.branches[name].unit == "MeV":
            # Two roundings to float32, half a unit in the last place each.
            np.testing.assert_allclose(back[name], table[name], rtol=2.0**-23, atol=0)
        else:
            np.testing.assert_array_equal(back[name], table[name])
    with uproot.open(tmp_path / "flat.root") as file:
        stored = file["events"]["lep_pt"].array()
    np.testing.assert_allclose(
        stored, 1000 * np.asarray(table.lepton_pt, np.float64), rtol=2.0**-24
    )


@pytest.mark.parametrize("as_record", [False, True], ids=["branches", "record"])
def test_an_rntuple_gives_the_same_as_the_ttree(tmp_path: Path, as_record: bool) -> None:
    schema = load_schema(SCHEMAS / "w_jets.yaml")
    jets = generate(50, seed=5, schema=schema)
    io.write_root(jets, tmp_path / "ttree.root", schema)
    columns = {name: jets[name] for name in schema.branches}
    group = jets.constituents
    if as_record:
        columns["constituents"] = group
        content = schema.as_dict()
        for name, branch in content["collections"]["constituents"]["branches"].items():
            branch["branch"] = f"constituents.{name}"
        other = Schema.from_dict(content)
    else:
        columns |= {f"constituents_{name}": group[name] for name in group.fields}
        other = schema
    with uproot.recreate(tmp_path / "rntuple.root") as file:
        file.mkrntuple("jets", columns)
    assert io.inspect(tmp_path / "rntuple.root").tables[0].kind == "RNTuple"
    assert io.check_files(tmp_path / "rntuple.root", other) == []
    got = io.read(tmp_path / "rntuple.root", other)
    assert ak.array_equal(got, io.read(tmp_path / "ttree.root", schema), dtype_exact=True)


def test_a_ttree_and_an_rntuple_may_be_read_together(tmp_path: Path) -> None:
    schema = without_selection("flat_ntuple")
    table = generate(20, seed=6, schema=schema)
    io.write_root(table[:10], tmp_path / "a.root", schema)
    raw = {b.branch: write.to_file(np.asarray(table[10:][b.name]), b) for b in schema.fields}
    with uproot.recreate(tmp_path / "b.root") as file:
        file.mkrntuple("events", raw)
    both = io.read(tmp_path / "*.root", schema)
    np.testing.assert_array_equal(both.event_number, table.event_number)


@pytest.mark.parametrize("code", ["ZLIB", "LZMA", "LZ4", "ZSTD"])
def test_every_compression_gives_the_same(
    tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = load_schema(SCHEMAS / "w_jets.yaml")
    jets = generate(20, seed=7, schema=schema)
    monkeypatch.setattr(write, "COMPRESSION", getattr(uproot, code)(4))
    io.write_root(jets, tmp_path / "jets.root", schema)
    assert io.inspect(tmp_path / "jets.root").tables[0].compression == f"{code}(4)"
    assert ak.array_equal(io.read(tmp_path / "jets.root", schema), jets, dtype_exact=True)
