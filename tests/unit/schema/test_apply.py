"""Derived fields and cuts, each entry charged to the first cut that it fails."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepdl.errors import DataError
from hepdl.schema import Schema, add_derived, select


def schema(**parts: object) -> Schema:
    return Schema.from_dict(
        {
            "format_version": 1,
            "name": "tiny",
            "ttree": "t",
            "branches": {"x": {}},
            "collections": {"jets": {"branches": {"pt": {"unit": "GeV"}}}},
            **parts,
        }
    )


TABLE = ak.zip(
    {
        "x": np.array([1.0, 2.0, 3.0, 4.0], dtype=np.float32),
        "jets": ak.zip({"pt": ak.Array([[30.0], [], [10.0, 20.0], [50.0]])}, depth_limit=2),
    },
    depth_limit=1,
)


def test_an_entry_is_charged_to_the_first_cut_it_fails() -> None:
    cuts = {"high": "x > 1.5", "jet": "max(jets.pt) > 15", "low": "x < 3.5"}
    mask, rejected = select(TABLE, schema(selection=cuts))
    assert mask.tolist() == [False, False, True, False]
    assert rejected == {"high": 1, "jet": 1, "low": 1}


def test_without_cuts_everything_is_kept() -> None:
    mask, rejected = select(TABLE, schema())
    assert mask.all()
    assert rejected == {}


def test_derived_fields_build_on_each_other_in_their_types() -> None:
    derived = {
        "twice": {"expression": "2 * x"},
        "n": {"expression": "count(jets.pt) + 0 * twice", "type": "int32"},
        "leading": {"expression": "max(jets.pt)", "unit": "GeV"},
    }
    table = add_derived(TABLE, schema(derived=derived))
    assert table.twice.tolist() == [2, 4, 6, 8]
    assert table.n.tolist() == [1, 0, 2, 1]
    assert str(table.n.type).endswith("int32")
    np.testing.assert_array_equal(table.leading, [30, np.nan, 20, 50])
    assert table.jets.pt.tolist() == TABLE.jets.pt.tolist()


def test_a_derived_integer_must_exist_in_every_entry() -> None:
    with pytest.raises(
        DataError, match=r"1 entries have no value, the first is entry 1; write where"
    ):
        add_derived(TABLE, schema(derived={"n": {"expression": "max(jets.pt)", "type": "int32"}}))


def test_no_entries_pass_through() -> None:
    parts = schema(derived={"a": {"expression": "x + sum(jets.pt)"}}, selection={"a": "a > 1"})
    table = add_derived(TABLE[:0], parts)
    mask, rejected = select(table, parts)
    assert len(table) == len(mask) == 0
    assert rejected == {"a": 0}
