"""What the section `combinations` accepts, and which maps are of which kind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hepdl.errors import ConfigError
from hepdl.pipeline import parts
from hepdl.pipeline.listing import describe
from hepdl.pipeline.load import load_analysis

ANALYSIS = Path(__file__).parents[3] / "analyses" / "w_tagging"
PAIR = {"of": ["recnn", "boosted_trees"]}


def load(*overrides: tuple[str, Any], **combinations: Any) -> Any:
    return load_analysis(ANALYSIS, {"combinations": combinations, **dict(overrides)}).config


def test_a_combination_is_a_contender_after_the_models() -> None:
    config = load(stack=PAIR, ranks=PAIR | {"method": "rank_average"})
    assert config.contenders == (*config.models, "stack", "ranks")
    assert config.combinations["stack"].method == "stack"
    assert config.as_dict()["combinations"]["ranks"] == PAIR | {"method": "rank_average"}


def test_the_plain_twin_of_a_decorrelated_network_can_be_a_member() -> None:
    penalty = {"loss": "gradient_reversal", "nuisances": ["jet_mass"]}
    config = load(("decorrelation", penalty), stack={"of": ["mlp", "mlp_plain"]})
    assert "mlp_plain" in config.models


def test_a_combination_can_be_the_reference_and_be_taken_away() -> None:
    assert load(("evaluate.reference", "stack"), stack=PAIR).evaluate.reference == "stack"
    assert not load(("combinations.stack", None), stack=PAIR).combinations
    with pytest.raises(ConfigError, match=r"unknown combination 'stak' .*did you mean 'stack'"):
        load(("combinations.stak", None), stack=PAIR)


@pytest.mark.parametrize(
    ("combinations", "message"),
    [
        ({"stack": {"of": ["recn", "mlp"]}}, r"combinations\.stack\.of .*did you mean 'recnn'"),
        ({"stack": {"of": ["mlp"]}}, r"two or more different models, got \['mlp'\]"),
        ({"stack": {"of": ["mlp", "mlp"]}}, "two or more different models"),
        ({"mlp": PAIR}, "a model is called mlp, too"),
        ({"a": PAIR, "b": {"of": ["a", "mlp"]}}, r"b\.of .*: a is a combination .*\(recnn, boos"),
        ({"stack": PAIR | {"method": "stak"}}, r"unknown value 'stak'; did you mean 'stack'"),
        ({"stack": PAIR | {"weight": 1}}, r"combinations\.stack\.weight: unknown key"),
        ({"stack": {}}, r"combinations\.stack\.of: this key is required"),
        ({"my stack": PAIR}, "my stack"),
    ],
)
def test_what_cannot_be_combined_is_named_with_its_key(
    combinations: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(**combinations)


def test_a_member_that_was_taken_away_is_missed() -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'recnn' \(combinations\.stack\.of in"):
        load(("models.recnn", None), stack=PAIR)


def test_every_map_of_scores_is_of_one_kind_and_listed_as_such() -> None:
    kinds = ("calibrations", "combinations", "posthoc")
    calibrations, combinations, flattenings = map(parts.available, kinds)
    assert set(calibrations) == {"isotonic", "temperature"}
    assert set(combinations) == {"rank_average", "stack"}
    assert set(flattenings) == {"conditional_cdf"}
    folder = Path(parts.__file__).parents[1] / "posthoc"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert files == {*calibrations, *combinations, *flattenings}
    with pytest.raises(ConfigError, match="unknown calibration 'stack'"):
        parts.module("calibrations", "stack", where="calibration.method")
    assert re.search(r"^stack +Stacking: ", describe("combinations"), re.MULTILINE)
