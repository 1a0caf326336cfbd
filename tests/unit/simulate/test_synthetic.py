"""Synthetic events: any schema, reproducible, separable but not perfectly, consistent in themselves."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from hepdl.errors import ConfigError, SchemaError
from hepdl.kinematics import fourvectors
from hepdl.schema import Schema, add_derived, load_schema, select
from hepdl.simulate.synthetic import generate

SCHEMAS = Path(__file__).parents[3] / "data_schemas"
W_JETS = load_schema(SCHEMAS / "w_jets.yaml")
FLAT = load_schema(SCHEMAS / "flat_ntuple.yaml")


@pytest.mark.parametrize("schema", [W_JETS, FLAT], ids=lambda schema: schema.name)
@pytest.mark.parametrize("label", ["signal", "background"])
def test_entries_are_what_the_schema_says(schema: Schema, label: str) -> None:
    table = generate(300, seed=1, schema=schema, label=label)
    assert len(table) == 300
    assert table.fields == [*schema.branches, *schema.collections]
    for field in schema.fields:
        group, _, name = field.name.rpartition(".")
        values = ak.flatten(table[group][name] if group else table[name], axis=None)
        assert str(values.type).endswith(f"* {field.type}")
        assert np.isfinite(np.asarray(values)).all()
    assert select(add_derived(table, schema), schema)[0].all()
    assert len(np.unique(table[schema.event_number])) == 300
    if schema.label is not None:
        assert set(table[schema.label].tolist()) == {int(label == "signal")}


def test_the_same_seed_gives_the_same_first_events() -> None:
    few, many = (generate(n, seed=2, schema=FLAT) for n in (10, 3000))
    assert ak.array_equal(few, many[:10], dtype_exact=True)
    for change in ({"seed": 3}, {"label": "background"}, {"process": "other"}):
        other = generate(10, **{"seed": 2, "schema": FLAT, **change})
        assert not ak.array_equal(few.met, other.met)


def test_jet_quantities_are_those_of_the_constituents() -> None:
    jets = generate(500, seed=1, schema=W_JETS)
    group = jets.constituents
    counts = ak.to_numpy(ak.num(group))
    np.testing.assert_array_equal(jets.n_constituents, counts)
    assert counts.min() == 1
    p4, offsets = fourvectors.cartesian(group, W_JETS.collections["constituents"].four_vector)
    jet = np.add.reduceat(p4, offsets[:-1], axis=0)
    # Constituents are stored in float32, 6e-8 each; the mass is a difference of large squares.
    np.testing.assert_allclose(jets.jet_pt, fourvectors.pt(jet), rtol=1e-5)
    np.testing.assert_allclose(jets.jet_eta, fourvectors.eta(jet), atol=1e-5)
    many = counts > 1
    np.testing.assert_allclose(
        np.asarray(jets.jet_mass)[many], fourvectors.mass(jet)[many], rtol=1e-2, atol=0.3
    )
    assert ak.all(jets.soft_drop_mass <= jets.jet_mass)


@pytest.mark.parametrize("schema", [W_JETS, FLAT], ids=lambda schema: schema.name)
def test_classes_can_be_told_apart_but_not_perfectly(schema: Schema) -> None:
    tables = [
        add_derived(generate(3000, seed=1, schema=schema, label=label), schema)
        for label in ("background", "signal")
    ]
    x = np.concatenate(
        [np.stack([np.asarray(t[name]) for name in schema.features], axis=1) for t in tables]
    )
    y = np.repeat([0, 1], 3000)
    train = np.arange(len(y)) % 2 == 0
    tree = DecisionTreeClassifier(max_depth=6, min_samples_leaf=50, random_state=0)
    scores = tree.fit(x[train], y[train]).predict_proba(x[~train])[:, 1]
    assert 0.70 < roc_auc_score(y[~train], scores) < 0.95


def test_progress_adds_up_and_no_events_are_fine() -> None:
    seen: list[int] = []
    generate(2500, seed=1, schema=FLAT, progress=seen.append)
    assert sum(seen) == 2500
    none = generate(0, seed=1, schema=W_JETS)
    assert len(none) == 0
    assert none.fields == [*W_JETS.branches, *W_JETS.collections]


def test_any_cartesian_collection_will_do() -> None:
    schema = Schema.from_dict(
        {
            "format_version": 1,
            "name": "any",
            "ttree": "t",
            "branches": {
                "number": {"role": "event_number"}, "charge": {"type": "int8"},
                "passed": {"type": "bool"}, "vertex_z": {"unit": "cm"}, "score": {},
            },
            "collections": {
                "towers": {
                    "branches": {
                        "px": {"unit": "MeV"}, "py": {"unit": "MeV"}, "pz": {"unit": "MeV"},
                        "energy": {"unit": "MeV"}, "layer": {"type": "uint8"},
                    },
                    "four_vector": ["px", "py", "pz", "energy"],
                },
                "tracks": {"branches": {"d0": {"unit": "mm"}}},
            },
        }
    )  # fmt: skip
    table = generate(50, seed=1, schema=schema)
    towers = table.towers
    # Massless: energy equals momentum, to float32.
    momentum = np.sqrt(towers.px**2 + towers.py**2 + towers.pz**2)
    np.testing.assert_allclose(ak.flatten(momentum), ak.flatten(towers.energy), rtol=1e-5)
    assert set(table.charge.tolist()) == {-1, 1}


def test_a_selection_that_nothing_passes_is_named() -> None:
    content = {**FLAT.as_dict(), "selection": {"fine": "met > 0", "never": "met < 0"}}
    with pytest.raises(
        SchemaError, match=r"none of \d+ synthetic entries .*most fail 'never' \(met < 0\)"
    ):
        generate(1, seed=1, schema=Schema.from_dict(content))


@pytest.mark.parametrize("wrong", [{"label": "data"}, {"n_events": -1}])
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="label must be signal or background and n_events >= 0"):
        generate(**{"n_events": 1, "seed": 1, "schema": FLAT, **wrong})
