"""A schema says what files hold, and says everything that is wrong with itself at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hepdl.errors import ConfigError, SchemaError
from hepdl.schema import Schema, load_schema, read_yaml

SCHEMAS = Path(__file__).parents[3] / "data_schemas"
GOOD = """
format_version: 1
name: tiny
ttree: events
branches:
  event: {role: event_number}
  pt: {unit: MeV}
  eta:
  is_signal: {role: label, classes: {signal: 1, background: 0}}
collections:
  jets:
    branches: {pt: {unit: GeV}, eta: {}, phi: {unit: rad}, mass: {branch: jet_m, unit: MeV}}
    four_vector: [pt, eta, phi, mass]
derived:
  log_pt: {expression: log(pt)}
  ht: {expression: sum(jets.pt), unit: GeV, role: [nuisance, observer]}
selection:
  pt: pt > 20
  two: count(jets.pt) >= 2 and log_pt > 1
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def with_change(*, at: str, value: Any) -> str:
    content = yaml.safe_load(GOOD)
    place = content
    *path, last = at.split(".")
    for key in path:
        place = place.setdefault(key, {})
    place[last] = value
    return yaml.safe_dump(content, sort_keys=False)


def test_defaults_follow_from_keys_and_roles(tmp_path: Path) -> None:
    schema = load_schema(write(tmp_path, GOOD))
    fields = {field.name: field for field in schema.fields}
    assert [fields[n].branch for n in ("eta", "jets.pt", "jets.mass")] == [
        "eta",
        "jets_pt",
        "jet_m",
    ]
    assert [fields[n].type for n in ("event", "is_signal", "pt")] == ["int64", "int64", "float32"]
    assert schema.features == ("pt", "eta", "log_pt")
    assert (schema.nuisances, schema.observers) == (("ht",), ("ht",))
    assert (schema.event_number, schema.run_number, schema.label) == ("event", None, "is_signal")
    assert schema.event_weights == ()
    assert schema.flat_fields == ("event", "pt", "eta", "is_signal", "log_pt", "ht")
    assert [schema.unit_in_memory(n) for n in ("pt", "jets.mass", "ht")] == ["GeV"] * 3


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_schema_loads_and_survives_a_round_trip(path: Path) -> None:
    schema = load_schema(path)
    assert schema.name == path.stem
    assert Schema.from_dict(schema.as_dict()) == schema


def test_w_jets_has_the_fields_that_the_generator_writes() -> None:
    schema = load_schema(SCHEMAS / "w_jets.yaml")
    assert schema.collections["constituents"].four_vector == ("pt", "eta", "phi", "energy")
    assert {"jet_mass", "soft_drop_mass", "tau21", "n_constituents"} <= set(schema.features)
    assert schema.nuisances == ("jet_mass",)
    assert schema.event_weights == ("generator_weight",)


def test_fingerprint_follows_content_and_nothing_else(tmp_path: Path) -> None:
    def fingerprint(text: str) -> str:
        return load_schema(write(tmp_path, text)).fingerprint()

    original = fingerprint(GOOD)
    assert len(original) == 64
    assert (
        fingerprint("# a comment\n" + with_change(at="branches.pt.description", value="x"))
        == original
    )
    assert fingerprint(with_change(at="branches.pt.type", value="float32")) == original
    assert fingerprint(with_change(at="branches.pt.unit", value="GeV")) != original
    assert fingerprint(with_change(at="selection.pt", value="pt > 21")) != original


def test_a_field_may_be_called_description(tmp_path: Path) -> None:
    changed = load_schema(write(tmp_path, with_change(at="branches.description", value={})))
    assert "description" in changed.features
    assert changed.fingerprint() != load_schema(write(tmp_path, GOOD)).fingerprint()


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("ttree: events", "tree: events").replace(
        "unit: MeV}\n  eta:", "unit: Mev}\n  eta:"
    )
    text = text.replace("log(pt)", "log(ptt)").replace("pt > 20", "pt > 20 &&")
    with pytest.raises(SchemaError) as caught:
        load_schema(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("tiny.yaml: 5 problems")
    for part in (
        "tree: unknown key; did you mean 'ttree'?",
        "ttree: this key is required",
        "branches.pt.unit: unknown value 'Mev'; did you mean 'MeV'?",
        "derived.log_pt.expression: unknown field 'ptt' ('log(ptt)'); did you mean 'pt'?",
        "selection.pt: invalid syntax at column",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        ("format_version", 2, r"format_version: unknown value 2|format_version: input should be 1"),
        ("branches.pt.role", "featuer", r"branches\.pt\.role\.0: unknown value 'featuer'; did you mean 'feature'"),
        ("branches.pt.type", "uint64", r"branches\.pt\.type: unknown value 'uint64'; did you mean 'int64'"),
        ("branches.pt.type", "int32", r"branches\.pt\.type: int32 cannot hold a value converted from MeV to GeV"),
        ("branches.pt.rolle", "feature", r"branches\.pt\.rolle: unknown key; did you mean 'role'"),
        ("branches.pt.branch", "", r"branches\.pt\.branch: string should have at least 1 character"),
        ("branches.pt", 3, r"branches\.pt: .*valid dictionary.*, not 3"),
        ("branches.jet-pt", {}, r"branches\.jet-pt: 'jet-pt' cannot be used in expressions.*'branch:'"),
        ("branches.lambda", {}, r"'lambda' cannot be used in expressions"),
        ("branches.jets", {}, r"collections\.jets: the name is taken by branches\.jets"),
        ("branches.twin", {"branch": "pt"}, r"branches\.twin\.branch: branch 'pt' is already read by branches\.pt"),
        ("branches.evt", {"role": "event_number"}, r"branches\.evt\.role: event_number is already event"),
        ("branches.event.type", "float32", r"branches\.event\.type: event_number must be an integer, e\.g\. int64"),
        ("branches.event.role", ["event_number", "feature"], "event_number may only be combined with observer"),
        ("branches.pt.role", ["feature", "feature"], "a role is given twice"),
        ("branches.pt.role", [], r"branches\.pt\.role: .*at least 1 item"),
        ("branches.is_signal.classes", None, r"classes: a label needs its classes, e\.g\. classes: \{signal: 1"),
        ("branches.is_signal.classes", {"signal": 1}, "class background is missing"),
        ("branches.is_signal.classes", {"signal": 1, "background": 1}, "have the same value"),
        ("branches.is_signal.classes", {"signal": 1, "backgrund": 0}, r"unknown value 'backgrund'; did you mean 'background'"),
        ("branches.is_signal.classes", {"signal": "yes", "background": 0}, "should be a valid integer"),
        ("branches.pt.classes", {"signal": 1, "background": 0}, "only a field with role label has classes"),
        ("collections.jets.four_vector", ["pt", "eta", "phi"], r"four_vector: must be \[pt, eta, phi, energy\] or"),
        ("collections.jets.four_vector", ["pt", "eta", "phi", "energy"], r"unknown field 'energy' \(collections\.jets\)"),
        ("collections.jets.branches.pt", {}, r"branches\.pt\.unit: pt of a four-vector must state its unit, one of keV, MeV"),
        ("collections.jets.branches.phi", {}, r"phi of a four-vector must state its unit, one of rad, deg"),
        ("collections.jets.branches.pt.role", "feature", r"role: unknown value 'feature' \(valid: truth\)"),
        ("derived.log_pt.expression", "jets.pt", "gives a list per entry, not one value per entry"),
        ("derived.log_pt.expression", "1 + 1", "gives a constant, not one value per entry"),
        ("derived.log_pt.expression", "2 * ht", r"derived\.log_pt\.expression: unknown field 'ht'"),
        ("derived.log_pt.expression", "sum(jets.ptt)", "unknown field of jets 'ptt'.*did you mean 'pt'"),
        ("derived.log_pt.expression", "eval(pt)", "unknown function 'eval'"),
        ("derived.log_pt.unit", "MeV", "results are in house units"),
        ("derived.log_pt.role", "label", r"derived\.log_pt\.role\.0: unknown value 'label'"),
        ("derived.pt", {"expression": "pt"}, r"derived\.pt: the name is taken by branches\.pt"),
        ("selection.pt", "pt", r"selection\.pt: 'pt' gives float32, not true/false"),
        ("selection.pt", "jets.pt > 1", "gives a list per entry.*any"),
        ("selection.pt", "jets > 1", "jets is a collection"),
        ("selection.pt", 3, r"selection\.pt: input should be a valid string, not 3"),
        ("selection.pt", "ptt > 1", r"selection\.pt: unknown field 'ptt'.*did you mean 'pt'"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_key_path(
    tmp_path: Path, at: str, value: Any, message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        load_schema(write(tmp_path, with_change(at=at, value=value)))


def test_duplicate_keys_are_errors_beside_the_others(tmp_path: Path) -> None:
    text = GOOD.replace("  eta:\n", "  eta:\n  pt: {unit: GeVV}\n")
    with pytest.raises(SchemaError, match=r"(?s)pt: key occurs twice, in lines 7 and 9.*'GeVV'"):
        load_schema(write(tmp_path, text))
    with pytest.raises(ConfigError, match="pt: key occurs twice"):
        read_yaml(write(tmp_path, text), error=ConfigError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", r"must be a mapping of keys to values, not \[1, 2\]"),
        ("", "must be a mapping of keys to values, not None"),
        ("a: [", "tiny.yaml: not valid YAML: .*line 1"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML: could not determine a constructor"),
        ("format_version: 1\nname: a\nttree: b\n", "declares no branch: fill 'branches' or 'collections'"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_schema_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        load_schema(write(tmp_path, text))


def test_a_missing_file_is_named_with_its_nearest_neighbour(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(SchemaError, match=r"no file .*tinny\.yaml; did you mean 'tiny\.yaml'"):
        load_schema(tmp_path / "tinny.yaml")
    with pytest.raises(SchemaError, match="is a folder, not a YAML file"):
        load_schema(tmp_path)
