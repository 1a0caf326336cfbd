"""Every problem of a configuration is reported at once, with its key path and the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hepdl.errors import ConfigError
from hepdl.pipeline.load import load_analysis

ANALYSIS = Path(__file__).parents[3] / "analyses" / "w_tagging"


def write(folder: Path, **changes: object) -> Path:
    content = yaml.safe_load((ANALYSIS / "analysis.yaml").read_text())
    content["schema"] = str(ANALYSIS.parents[1] / "data_schemas" / "w_jets.yaml")
    content.update(changes)
    path = folder / "analysis.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_shipped_analysis_is_valid_and_its_paths_are_absolute() -> None:
    analysis = load_analysis(ANALYSIS)
    assert analysis.name == "w_tagging"
    assert analysis.config.schema_.is_absolute()
    assert analysis.config.train_of("recnn").epochs == analysis.config.train.epochs


def test_all_problems_are_reported_at_once_with_key_path_and_nearest_name(tmp_path: Path) -> None:
    path = write(
        tmp_path, trian={"epochs": 3}, report={"example_tree": 1}, simulate={"n_events": 0}
    )
    with pytest.raises(ConfigError, match="trian") as caught:
        load_analysis(path)
    text = str(caught.value)
    assert "did you mean 'train'?" in text
    assert "report.example_tree" in text
    assert "did you mean 'example_trees'?" in text
    assert "simulate.n_events" in text
    assert str(path) in text


def test_unknown_parts_options_and_fields_are_named_together(tmp_path: Path) -> None:
    models = {
        "recnn": {"model": "recn"},
        "mlp": {"model": "mlp", "options": {"features": ["jet_mas"], "hiden": [3]}},
        "boosted_trees": {
            "model": "boosted_trees",
            "options": {"features": ["jet_mass"]},
            "train": {"epoch": 3},
        },
    }
    path = write(tmp_path, models=models)
    with pytest.raises(ConfigError, match="did you mean 'recnn'") as caught:
        load_analysis(path)
    text = str(caught.value)
    assert "did you mean 'hidden'?" in text
    assert "did you mean 'jet_mass'?" in text
    assert "models.boosted_trees.train.epoch" in text
    assert "did you mean 'epochs'?" in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs", "write KEY=VALUE"),
        ("train.epochs=[1", "not YAML"),
        ("analysis.name=3", "no key below it"),
        ("models.mpl=null", "did you mean 'mlp'"),
        ("train.epochs=many", "train.epochs"),
        ("split.fractions={train: 0.5, validation: 0.1, test: 0.5}", "sum to 1"),
        ("evaluate.window=50 < jet_mas < 110", "did you mean 'jet_mass'"),
        ("evaluate.window=__import__('os')", "evaluate.window"),
        ("evaluate.reference=trees", "unknown model 'trees'"),
        ("train.seeds=[0, 0]", "different whole numbers"),
        ("decorrelation={loss: gradient_reversal}", "'nuisances' is missing"),
        (
            "decorrelation={loss: gradient_reverse, nuisances: [jet_mass]}",
            "did you mean 'gradient_reversal'",
        ),
        ("processes.qcd.label=signal", "need a signal and a background process"),
        ("processes.qcd.files=x.root", "exactly one of 'files' and 'simulate'"),
        ("processes.qcd.simulate={generator: pythia_jet}", "did you mean 'pythia_jets'"),
        ("processes.qcd.simulate.proces=qcd", "did you mean 'process'"),
    ],
)
def test_a_wrong_override_is_refused_with_its_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_analysis(ANALYSIS, [override])


def test_overrides_reach_nested_keys_and_take_entries_away() -> None:
    analysis = load_analysis(
        ANALYSIS,
        {"train.epochs": 3, "models.mlp": None, "models.recnn.options.hidden": 8},
    )
    assert analysis.config.train.epochs == 3
    assert "mlp" not in analysis.config.models
    assert analysis.config.models["recnn"].options["hidden"] == 8


def test_a_decorrelated_network_gets_a_plain_twin_and_trees_are_left_alone() -> None:
    penalty = {"loss": "gradient_reversal", "nuisances": ["jet_mass"], "models": ["recnn"]}
    config = load_analysis(ANALYSIS, {"decorrelation": penalty}).config
    assert config.decorrelation_of("recnn").is_on
    assert not config.decorrelation_of("recnn_plain").is_on
    assert not config.decorrelation_of("mlp").is_on
    assert "boosted_trees_plain" not in config.models


def test_a_missing_analysis_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the folder has none"):
        load_analysis(tmp_path)
    with pytest.raises(ConfigError, match="there is no such file"):
        load_analysis(tmp_path / "x.yaml")
