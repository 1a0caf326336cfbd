from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch

from hepdl.errors import DataError, SchemaError
from hepdl.events import Events, Jagged, TreeInputs
from hepdl.events.table import concatenate, from_awkward
from hepdl.events.trees import attach_trees
from hepdl.schema import Schema

Make = Callable[..., Events]
BRANCHES: dict[str, Any] = {
    "event_number": {"role": "event_number"},
    "run_number": {"role": "run_number"},
    "generator_weight": {"role": "event_weight"},
    "scale_factor": {"role": "event_weight"},
    "jet_pt": {"unit": "GeV", "role": ["feature", "nuisance"]},
    "n_tracks": {"type": "int32"},
    "jet_mass": {"unit": "GeV", "role": "observer"},
}
COLLECTIONS = {
    "constituents": {"branches": {"pt": {"unit": "GeV"}, "eta": {}, "phi": {}, "energy": {}}}
}


def schema(**extra: Any) -> Schema:
    return Schema.from_dict(
        {
            "format_version": 1,
            "name": "toy",
            "ttree": "jets",
            "branches": BRANCHES | extra,
            "collections": COLLECTIONS,
        }
    )


@pytest.fixture
def table() -> ak.Array:
    rows = {
        name: ak.Array([[value, 2 * value], [], [3 * value]])
        for name, value in (("pt", 1.0), ("eta", 0.1), ("phi", 0.2), ("energy", 5.0))
    }
    return ak.Array(
        {
            "event_number": np.array([2**62 + 1, 2**62 + 2, 2**62 + 3]),
            "run_number": np.array([362104, 362104, 362105]),
            "generator_weight": np.array([1.0, -2.0, 0.5], dtype=np.float32),
            "scale_factor": np.array([2.0, 3.0, 1.0], dtype=np.float32),
            "jet_pt": np.array([250.0, 260.0, 270.0], dtype=np.float32),
            "n_tracks": np.array([2, 0, 1], dtype=np.int32),
            "jet_mass": np.array([80.0, 81.0, 82.0], dtype=np.float32),
            "is_signal": np.array([1, -1, 1]),
            "constituents": ak.zip(rows),
        }
    )


def read(table: ak.Array, of: Schema) -> Events:
    return from_awkward(table, of, label="background", process="b", process_names=("a", "b"))


def test_every_role_finds_its_place(table: ak.Array) -> None:
    events = read(table, schema())
    # Beyond 2^53, where floating point would merge neighbours.
    assert events.event_number.tolist() == [2**62 + 1, 2**62 + 2, 2**62 + 3]
    assert events.run_number.tolist() == [362104, 362104, 362105]
    assert events.event_weight.tolist() == [2.0, -6.0, 0.5]
    assert events.label.tolist() == [0, 0, 0]
    assert events.process.tolist() == [1, 1, 1]
    assert events.feature_names == ("jet_pt", "n_tracks")
    assert events.flat.tolist() == [[250.0, 2.0], [260.0, 0.0], [270.0, 1.0]]
    assert events.nuisance.tolist() == [[250.0], [260.0], [270.0]]
    assert events.flat.dtype == events.nuisance.dtype == events.event_weight.dtype == torch.float32


def test_all_flat_fields_but_weights_and_numbers_ride_along(table: ak.Array) -> None:
    observers = read(table, schema()).observers
    assert list(observers) == ["jet_pt", "n_tracks", "jet_mass"]
    assert observers["n_tracks"].dtype == torch.int64
    assert observers["jet_mass"].dtype == torch.float64


def test_collections_are_never_padded(table: ak.Array) -> None:
    rows = read(table, schema()).collections["constituents"]
    assert rows.offsets.tolist() == [0, 2, 2, 3]
    assert rows.columns == ("pt", "eta", "phi", "energy")
    # float32 of a tenth.
    np.testing.assert_allclose(
        rows.values, [[1, 0.1, 0.2, 5], [2, 0.2, 0.4, 10], [3, 0.3, 0.6, 15]], rtol=1e-6
    )


def test_a_label_branch_wins_over_the_process(table: ak.Array) -> None:
    of = schema(is_signal={"role": "label", "classes": {"signal": 1, "background": -1}})
    assert read(table, of).label.tolist() == [1, 0, 1]


def test_a_label_of_no_class_is_refused(table: ak.Array) -> None:
    of = schema(is_signal={"role": "label", "classes": {"signal": 1, "background": 0}})
    with pytest.raises(DataError, match="'is_signal': entry 1 has the label -1"):
        read(table, of)


def test_a_missing_field_is_refused(table: ak.Array) -> None:
    with pytest.raises(SchemaError, match=r"unknown field 'jet_mas' .* did you mean 'jet_mass'"):
        read(table, schema(jet_mas={}))


def test_tables_join_to_what_they_were(toy_jets: Make) -> None:
    events = attach_trees(toy_jets(12), TreeInputs())
    pieces = [events.take(torch.arange(a, b)) for a, b in ((0, 5), (5, 5), (5, 12))]
    joined = concatenate(pieces)
    for name in ("event_number", "label", "event_weight", "flat", "nuisance", "process"):
        assert torch.equal(getattr(joined, name), getattr(events, name))
    assert torch.equal(joined.observers["width"], events.observers["width"])
    one, other = joined.collections["constituents"], events.collections["constituents"]
    assert torch.equal(one.offsets, other.offsets)
    assert torch.equal(one.values, other.values)
    assert joined.jet_trees is not None
    assert events.jet_trees is not None
    for name in ("features", "depth", "is_inner", "offsets"):
        assert torch.equal(getattr(joined.jet_trees, name), getattr(events.jet_trees, name))


def test_tables_that_differ_are_refused(toy_jets: Make) -> None:
    events = toy_jets(3)
    rows = events.collections["constituents"]
    others = {
        "observers": replace(events, observers={}),
        "processes": replace(events, process_names=("qcd", "w")),
        "collections": replace(
            events, collections={"constituents": Jagged(rows.values, rows.offsets, tuple("abcd"))}
        ),
        "jet trees": attach_trees(events, TreeInputs()),
    }
    for name, other in others.items():
        with pytest.raises(DataError, match=f"tables of events differ: .*{name}"):
            concatenate([events, other])


def test_no_tables_are_refused() -> None:
    with pytest.raises(DataError, match="nothing to concatenate"):
        concatenate([])
