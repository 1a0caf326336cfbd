"""Truth never becomes an input; functions of kinematics give fields like any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

import hepdl
from hepdl.errors import ConfigError, DataError, SchemaError
from hepdl.events import ParticleInputs, TreeInputs, select_features
from hepdl.events.candidates import candidates_of
from hepdl.events.particles import attach_particles
from hepdl.events.reconstruction import ReconstructionRecipe
from hepdl.events.store import load, save
from hepdl.events.table import concatenate, from_awkward
from hepdl.events.trees import attach_trees
from hepdl.io import write_root
from hepdl.kinematics import TTH_FEATURES, pt, tth_features
from hepdl.pipeline.load import load_analysis
from hepdl.schema import Schema, add_computed, complete

SCHEMAS = Path(hepdl.__file__).parents[1] / "data_schemas"
# Of the schema before truth had a role: models that were saved with it must still load.
W_JETS = "77d412b0281fbd3e443960a101cf707d2d18d141547784f3715d82131ae3da67"


@pytest.fixture(scope="module")
def tth() -> Schema:
    return hepdl.load_schema(SCHEMAS / "tth.yaml")


@pytest.fixture(scope="module")
def table(tth: Schema) -> ak.Array:
    """Events of six to nine jets by falling pT, with one lepton."""
    random = np.random.default_rng(3)
    n, most = 40, 9
    counts = random.integers(6, most + 1, n)
    pts = -np.sort(-random.exponential(50.0, (n, most)) - 25.0, axis=1)

    def jagged(values: Any) -> ak.Array:
        return ak.unflatten(values[np.arange(most) < counts[:, None]], counts)

    eta = random.uniform(-2.5, 2.5, (n, most))
    columns: dict[str, Any] = {
        "pt": pts,
        "eta": eta,
        "phi": random.uniform(-3.1, 3.1, (n, most)),
        "energy": pts * np.cosh(eta) * 1.01,
        "b_tag": random.integers(0, 5, (n, most)),
        "truth_flavour": random.integers(0, 6, (n, most)),
        "truth_parton": random.integers(0, 7, (n, most)),
    }
    flat: dict[str, Any] = {name: np.ones(n) for name in tth.branches}
    flat |= {
        "event_number": np.arange(n),
        "lepton_pt": random.uniform(30, 90, n),
        "lepton_energy": np.full(n, 300.0),
        "n_jets": counts,
        "n_b_tags": np.full(n, 3),
        "met": random.uniform(5, 90, n),
    }
    jets = ak.zip({name: jagged(values) for name, values in columns.items()})
    return ak.zip({**flat, "jets": jets}, depth_limit=1)


def test_existing_schemas_keep_their_fingerprint() -> None:
    assert hepdl.load_schema(SCHEMAS / "w_jets.yaml").fingerprint() == W_JETS


def test_both_survive_plain_data_and_count(tth: Schema) -> None:
    again = Schema.from_dict(tth.as_dict())
    assert again.fingerprint() == tth.fingerprint()
    assert again.truth == tth.truth
    without = tth.as_dict()
    del without["computed"]
    assert Schema.from_dict(without).fingerprint() != tth.fingerprint()


def test_computed_fields_are_what_the_function_gives(tth: Schema, table: ak.Array) -> None:
    found = add_computed(table, tth)
    # Event by event, each with its own number of jets and no padding.
    for event in range(len(table)):
        jets = table.jets[event]
        momentum, eta, phi = (np.asarray(jets[name]) for name in ("pt", "eta", "phi"))
        p4 = np.stack(
            [
                momentum * np.cos(phi),
                momentum * np.sin(phi),
                momentum * np.sinh(eta),
                np.asarray(jets.energy),
            ],
            axis=1,
        )
        lepton = np.array([table.lepton_pt[event], 0.0, 0.0, 300.0])
        # eta and phi of the lepton are 1 in this table.
        lepton[:3] = lepton[0] * np.array([np.cos(1.0), np.sin(1.0), np.sinh(1.0)])
        tags = np.asarray(jets.b_tag)[None]
        alone = tth_features(p4[None], tags, np.ones((1, len(p4)), dtype=bool), lepton[None])
        for name in tth.computed_fields:
            # Float32 results.
            assert found[name][event] == pytest.approx(alone[name][0], rel=1e-5, abs=1e-5), name
    assert found.pt_jet1.to_list() == pytest.approx(ak.max(table.jets.pt, axis=1).to_list())


def test_they_are_fields_of_the_schema(tth: Schema) -> None:
    assert "n_jets" in TTH_FEATURES
    assert "n_jets" not in tth.computed_fields
    assert set(TTH_FEATURES) <= set(tth.flat_fields)
    assert set(TTH_FEATURES) <= set(tth.features)
    assert set(tth.computed_fields) <= set(tth.observers)
    assert tth.unit_in_memory("mass_bb_min_delta_r") == "GeV"
    assert tth.unit_in_memory("pt_jet5") == "GeV"
    assert tth.unit_in_memory("scalar_pt_sum_all") == "GeV"
    assert tth.unit_in_memory("centrality_all") == "1"


def test_they_come_with_the_file_and_the_selection_goes_first(
    tth: Schema, table: ak.Array, tmp_path: Path
) -> None:
    # The function refuses four jets; the selection has removed that event before.
    few = table[:1]
    few = ak.with_field(few, few.jets[:, :4], "jets")
    few = ak.with_field(few, np.array([4]), "n_jets")
    write_root(ak.concatenate([few, table]), tmp_path / "a.root", tth)
    found = hepdl.read(tmp_path / "a.root", tth)
    assert len(found) == len(table)
    assert np.allclose(found.mass_all, add_computed(table, tth).mass_all, rtol=1e-6)
    loose = Schema.from_dict(tth.as_dict() | {"selection": {}})
    with pytest.raises(
        DataError, match=r"a\.root:nominal, in the chunk .*computed\.tth .*has 4 jets"
    ):
        hepdl.read(tmp_path / "a.root", loose)


def test_mistakes_of_the_section_are_named(tth: Schema) -> None:
    content = tth.as_dict()
    content["computed"] = {
        "one": {"function": "tth_features", "jets": "jet", "b_tag": "b_tag", "lepton": ["a"] * 4},
        "two": {
            "function": "tth_features",
            "jets": "jets",
            "b_tag": "truth_flavour",
            "lepton": ["lepton_pt", "lepton_eta", "lepton_phi", "truth_n_b_jets"],
        },
    }
    with pytest.raises(ValueError, match="computed") as caught:
        Schema.from_dict(content)
    text = str(caught.value)
    for piece in (
        "did you mean 'jets'?",
        "unknown branch 'a'",
        "jets.truth_flavour is truth",
        "truth_n_b_jets is truth",
    ):
        assert piece in text


def test_what_is_derived_from_truth_is_truth(tth: Schema) -> None:
    content = tth.as_dict()
    content["derived"] = {"extra_b": {"expression": "truth_n_b_jets > 2", "role": "observer"}}
    with pytest.raises(ValueError, match=r"uses truth_n_b_jets, which is truth: give it role"):
        Schema.from_dict(content)
    content["derived"]["extra_b"]["role"] = ["truth", "observer"]
    assert "extra_b" in Schema.from_dict(content).truth
    content["derived"]["extra_b"]["role"] = ["truth", "feature"]
    with pytest.raises(ValueError, match="truth may only be combined with observer"):
        Schema.from_dict(content)


def test_data_have_no_truth(tth: Schema, table: ak.Array, tmp_path: Path) -> None:
    data = tth.without_truth()
    assert data.truth == ()
    bare = table[[name for name in table.fields if not name.startswith("truth")]]
    inner = [name for name in table.jets.fields if not name.startswith("truth")]
    bare = ak.with_field(bare, bare.jets[inner], "jets")
    write_root(bare, tmp_path / "data.root", data)
    assert len(hepdl.read(tmp_path / "data.root", data)) == len(table)
    with pytest.raises(SchemaError, match="truth_parton"):
        hepdl.read(tmp_path / "data.root", tth)


def test_a_selection_by_truth_cannot_be_made_in_data(tth: Schema) -> None:
    content = tth.as_dict()
    content["selection"] = {"matched": "sum(jets.truth_parton > 0) == 6"}
    schema = Schema.from_dict(content)
    with pytest.raises(SchemaError, match=r"selection\.matched .* uses jets\.truth_parton"):
        schema.without_truth()
    assert schema.without_truth(selects=False).selection == {}


def test_events_know_what_is_truth(tth: Schema, table: ak.Array, tmp_path: Path) -> None:
    full = add_computed(table, tth)
    events = from_awkward(full, tth, label="signal", process="tth", process_names=("tth",))
    save(events, tmp_path / "store")
    for made in (events, concatenate([events, events]), load(tmp_path / "store")):
        assert made.truth_names == tth.truth
        with pytest.raises(DataError, match="feature 'truth_n_b_jets' is truth"):
            select_features(made, ["n_jets", "truth_n_b_jets"])
        with pytest.raises(DataError, match=r"jets\.truth_flavour is truth"):
            attach_particles(made, ParticleInputs("jets", ("log_pt", "truth_flavour")))


def test_a_four_vector_of_truth_is_no_input(tth: Schema, table: ak.Array) -> None:
    full = add_computed(table, tth)
    events = from_awkward(full, tth, label="signal", process="tth", process_names=("tth",))
    # As a collection of truth particles would be.
    hidden = replace(events, truth_names=(*events.truth_names, "jets.energy"))
    recipe = ReconstructionRecipe.from_mapping({})
    for attempt in (
        lambda: attach_particles(hidden, ParticleInputs("jets", ("log_pt",))),
        lambda: attach_trees(hidden, TreeInputs("jets")),
        lambda: candidates_of(hidden, recipe),
    ):
        with pytest.raises(DataError, match=r"jets\.energy is truth"):
            attempt()
    with pytest.raises(DataError, match="truth"):
        concatenate([events, hidden])


def test_equal_momenta_are_in_order(tth: Schema, table: ak.Array) -> None:
    # Their pT comes back from px and py with other last digits.
    jets = table.jets
    level = ak.with_field(jets, ak.full_like(jets.pt, np.float32(61.37)), "pt")
    assert len(add_computed(ak.with_field(table, level, "jets"), tth)) == len(table)


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        (
            "models.mlp.options.features",
            ["n_jets", "truth_n_b_jets"],
            "models.mlp.options.features",
        ),
        ("weights.training.flatten", ["truth_n_b_jets"], "weights.training.flatten"),
        ("weights.training.reweight_features", ["truth_n_c_jets"], "reweight_features"),
        (
            "models.set",
            {
                "model": "deep_sets",
                "options": {"collection": "jets", "particle_features": ["truth_parton"]},
            },
            "models.set.options.particle_features",
        ),
        (
            "split",
            {"expression": "truth_n_b_jets % 2", "parts": {"train": [0], "test": [1]}},
            "split.expression",
        ),
    ],
)
def test_no_configuration_can_make_an_input_of_it(
    key: str, value: Any, place: str, analysis_of: Callable[..., Path]
) -> None:
    with pytest.raises(ConfigError, match=f"{place}.* is truth"):
        load_analysis(analysis_of(), {key: value})


def test_targets_and_numbers_may_be_truth(analysis_of: Callable[..., Path]) -> None:
    head = {"layer": "stack.blocks.0", "loss": "mean_squared_error", "target": "truth_n_b_jets"}
    load_analysis(
        analysis_of(),
        {
            "evaluate.window": "truth_n_b_jets > 2",
            "evaluate.efficiency_variables": ["truth_n_b_jets"],
            "models.mlp.auxiliary": {"count": head},
        },
    )


@pytest.fixture
def analysis_of(tmp_path: Path) -> Callable[[], Path]:
    def make() -> Path:
        path = tmp_path / "analysis.yaml"
        path.write_text(
            f"""
analysis: truth
schema: {SCHEMAS / "tth.yaml"}
processes:
  tth: {{label: signal, files: [a.root]}}
  tt: {{label: background, files: [b.root]}}
models:
  mlp: {{model: mlp, options: {{features: [n_jets, met, mass_all]}}}}
"""
        )
        return path

    return make


def test_momenta_are_ordered_in_the_toy(table: ak.Array) -> None:
    # What the function asks for, or the tests above would test nothing.
    assert ak.all(table.jets.pt[:, :-1] >= table.jets.pt[:, 1:])
    assert pt(np.array([3.0, 4.0, 1.0, 9.0])) == pytest.approx(5.0)


def test_a_table_without_computed_fields_is_completed(tth: Schema, table: ak.Array) -> None:
    full = add_computed(table, tth)
    assert complete(table, tth).fields == full.fields
    assert ak.all(complete(table, tth).mass_all == full.mass_all)
    # What is there already is left alone, and so is what cannot be completed.
    assert complete(full, tth) is full
    without_jets = table[[name for name in table.fields if name != "jets"]]
    assert complete(without_jets, tth) is without_jets
