"""What the section `posthoc` accepts: members, nuisances that are known at prediction, options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hepdl.errors import ConfigError
from hepdl.pipeline.listing import describe
from hepdl.pipeline.load import load_analysis
from hepdl.pipeline.maps import in_words

ROOT = Path(__file__).parents[3]
ANALYSIS = ROOT / "analyses" / "w_tagging"
FLAT = {"of": "boosted_trees", "nuisances": ["jet_mass"]}


def load(*overrides: tuple[str, Any], **posthoc: Any) -> Any:
    return load_analysis(ANALYSIS, {"posthoc": posthoc, **dict(overrides)}).config


def test_a_map_against_nuisances_is_a_contender_after_the_combinations() -> None:
    pair = {"stack": {"of": ["mlp", "boosted_trees"]}}
    config = load(("combinations", pair), trees_flat=FLAT)
    assert config.contenders == (*config.models, "stack", "trees_flat")
    found = config.posthoc["trees_flat"]
    assert (found.method, found.members) == ("conditional_cdf", ("boosted_trees",))
    assert config.as_dict()["posthoc"]["trees_flat"] == FLAT | {
        "method": "conditional_cdf",
        "options": {},
    }
    assert in_words(config, "posthoc") == [
        "trees_flat: conditional_cdf of boosted_trees against jet_mass"
    ]
    assert in_words(config, "combination") == ["stack: stack of mlp, boosted_trees"]


def test_it_can_be_the_reference_be_taken_away_and_map_a_plain_twin() -> None:
    assert load(("evaluate.reference", "flat"), flat=FLAT).evaluate.reference == "flat"
    assert not load(("posthoc.flat", None), flat=FLAT).posthoc
    with pytest.raises(ConfigError, match=r"unknown posthoc 'flad' .*did you mean 'flat'"):
        load(("posthoc.flad", None), flat=FLAT)
    penalty = {"loss": "gradient_reversal", "nuisances": ["jet_mass"]}
    assert "mlp_plain" in load(("decorrelation", penalty), flat=FLAT | {"of": "mlp_plain"}).models


@pytest.mark.parametrize(
    ("posthoc", "message"),
    [
        ({"flat": FLAT | {"of": "boosted_tree"}}, r"posthoc\.flat\.of .*did you mean 'boosted_tr"),
        (
            {"flat": FLAT | {"of": "stack"}},
            r"flat\.of .*: stack is a combination of mlp, recnn, and",
        ),
        (
            {"a": FLAT, "b": FLAT | {"of": "a"}},
            r"b\.of .*: a is a posthoc map of boosted_trees, and",
        ),
        ({"flat": FLAT | {"of": ["mlp"]}}, r"posthoc\.flat\.of"),
        ({"mlp": FLAT}, r"posthoc\.mlp in analysis\.yaml: a model is called mlp, too"),
        ({"stack": FLAT}, r"posthoc\.stack in analysis\.yaml: a combination is called stack, too"),
        ({"flat": FLAT | {"nuisances": []}}, r"posthoc\.flat\.nuisances"),
        ({"flat": {"of": "mlp"}}, r"posthoc\.flat\.nuisances: this key is required"),
        ({"flat": FLAT | {"nuisances": ["jet_mas"]}}, r"flat\.nuisances .*did you mean 'jet_mass'"),
        ({"flat": FLAT | {"nuisances": ["jet_mass"] * 2}}, "names a nuisance twice"),
        ({"flat": FLAT | {"nuisances": ["systematic"]}}, "systematic is the variation of an event"),
        ({"flat": FLAT | {"nuisances": ["domain"]}}, "domain is whether an event has a label"),
        (
            {"flat": FLAT | {"nuisances": ["event_number"]}},
            "event_number is the event_number of sche",
        ),
        ({"flat": FLAT | {"method": "cdf"}}, "unknown value 'cdf'.*conditional_cdf"),
        ({"flat": FLAT | {"options": {"kind": "knm"}}}, r"'knm' \(posthoc\.flat\.options\.kind\)"),
        ({"flat": FLAT | {"options": {"bins": 3}}}, r"'bins' \(posthoc\.flat\.options\.bins\)"),
        ({"flat": FLAT | {"options": {"n_centres": 0}}}, r"flat\.options: n_centres is 0; give a"),
    ],
)
def test_what_cannot_be_flattened_is_named_with_its_key(
    posthoc: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(("combinations", {"stack": {"of": ["mlp", "recnn"]}}), **posthoc)


def test_a_combination_takes_no_map_against_nuisances() -> None:
    with pytest.raises(ConfigError, match=r"stack\.of .*: flat is a posthoc map of boosted_trees"):
        load(("combinations", {"stack": {"of": ["mlp", "flat"]}}), flat=FLAT)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("true_mass", r"true_mass is truth \(role of schema own\), .* decorrelate the model while"),
        ("kind", "kind is the label of schema own"),
        ("mc_weight", "mc_weight is the event_weight of schema own"),
    ],
)
def test_a_nuisance_must_be_there_where_the_map_is_applied(
    tmp_path: Path, name: str, message: str
) -> None:
    branches = {
        "x": {},
        "true_mass": {"role": "truth"},
        "kind": {"role": "label", "classes": {"signal": 1, "background": 0}},
        "mc_weight": {"role": "event_weight"},
    }
    schema = {"format_version": 1, "name": "own", "ttree": "events", "branches": branches}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(schema))
    content = {
        "analysis": "own",
        "schema": "own.yaml",
        "processes": {"all": {"files": ["all.root"]}},
        "models": {"mlp": {"model": "mlp", "options": {"features": ["x"]}}},
        "posthoc": {"flat": {"of": "mlp", "nuisances": [name]}},
    }
    (tmp_path / "analysis.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=message):
        load_analysis(tmp_path)


def test_the_maps_against_nuisances_are_listed() -> None:
    assert describe("posthoc").startswith("conditional_cdf  Conditional CDF: ")
