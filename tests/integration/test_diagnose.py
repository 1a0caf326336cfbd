"""A run says what it saw in its networks, and `hepdl diagnose` says it without training them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from hepdl.cli import main
from hepdl.pipeline.run import Run

ROOT = Path(__file__).parents[2]
W_TAGGING = ROOT / "analyses" / "w_tagging"
NETWORKS = ROOT / "analyses" / "network_diagnostics"


def status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


def as_arguments(overrides: dict[str, Any]) -> list[str]:
    return [
        part
        for key, value in overrides.items()
        for part in ("--set", f"{key}={yaml.safe_dump(value, default_flow_style=True).strip()}")
    ]


def without_end(arguments: list[str]) -> list[str]:
    # YAML ends a lone scalar with a line of three dots.
    return [part.removesuffix("...").strip() for part in arguments]


def test_a_run_keeps_what_it_saw(small_run: Run) -> None:
    for name in ("recnn", "mlp"):
        numbers = small_run.metrics["models"][name]["diagnosis"]
        assert numbers["is_healthy"] is True
        assert numbers["verdict"][0].startswith("healthy: ")
        assert list(numbers["moments"]) == ["untrained", "trained"]
        content = json.loads((small_run.folder / "models" / name / "diagnostics.json").read_text())
        assert content["format_version"] == 1
        layers = content["looks"][0]["flow"]["layers"]
        assert layers[-1]["n_units"] == 1
        assert all(layer["update_ratio"] > 0 for layer in layers)
    assert "diagnosis" not in small_run.metrics["models"]["boosted_trees"]
    page = (small_run.folder / "report.html").read_text()
    assert "<h2>Diagnostics</h2>" in page
    assert "recnn, layer by layer" in page
    assert (small_run.folder / "figures" / "flow_untrained.pdf").is_file()
    record = (small_run.folder / "record.jsonl").read_text()
    assert '"diagnosis_std_01"' in record


def test_diagnose_looks_at_untrained_and_trained_networks(
    small_run: Run,
    small_overrides: dict[str, Any],
    small_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(small_run.folder, folder)
    arguments = without_end(as_arguments(small_overrides))
    command = ["diagnose", str(W_TAGGING), *arguments, "--output", str(folder)]
    assert status(*command, "--data-dir", str(small_data), "--model", "mlp", "--device", "cpu") == 0
    printed = capsys.readouterr().out
    for text in ("mlp, untrained", "mlp, trained", "stack.blocks.0.linear", "learning rate"):
        assert text in printed
    assert "recnn" not in printed
    content = json.loads((folder / "diagnostics" / "diagnostics.json").read_text())
    looks = content["models"]["mlp"]["looks"]
    assert [look["moment"] for look in looks] == ["untrained", "trained"]
    # What the run itself saw: the same minibatch, the same parameters.
    of_run = json.loads((folder / "models" / "mlp" / "diagnostics.json").read_text())
    assert looks[0] == of_run["looks"][0]
    assert looks[1]["flow"] == of_run["looks"][1]["flow"]
    assert content["models"]["mlp"]["learning_rate"]["suggested"] > 0
    page = (folder / "diagnostics" / "diagnostics.html").read_text()
    assert "Nothing bad was found." in page
    assert (folder / "diagnostics" / "learning_rates.png").is_file()
    # The run stays finished: nothing of it was touched.
    assert (folder / "stages" / "report.json").is_file()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("mpl", "unknown model 'mpl' (--model); did you mean 'mlp'?"),
        ("boosted_trees", "boosted_trees: boosted trees have no layers to look into"),
    ],
)
def test_a_model_without_layers_is_refused_before_anything_is_read(
    model: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        status("diagnose", str(W_TAGGING), "--model", model, "--output", str(tmp_path / "r")) == 2
    )
    assert words in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_the_analysis_of_ten_layers_tells_the_sick_from_the_healthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    small = ["--set", "simulate.n_events=400", "--set", "train.epochs=1"]
    small += ["--set", "evaluate.bootstrap_replicas=20", "--device", "cpu", "--output", str(output)]
    assert status("run", str(NETWORKS), *small, "--nproc", "1") == 0
    models = json.loads((output / "metrics.json").read_text())["models"]
    verdicts = {name: entry["diagnosis"]["verdict"][0] for name, entry in models.items()}
    assert verdicts["mlp_zero"].startswith("layer 1 (stack.blocks.0.linear) passes nothing on")
    assert verdicts["mlp_small_gaussian"].startswith("activations vanish from layer 2")
    assert verdicts["mlp_auxiliary"].startswith("activations vanish from layer 2")
    for name in ("mlp_xavier", "mlp_he", "mlp_batch_norm", "mlp_residual"):
        assert verdicts[name].startswith("healthy"), verdicts[name]
    gradient = {
        name: json.loads((output / "models" / name / "diagnostics.json").read_text())["looks"][0][
            "flow"
        ]["layers"][0]["gradient_norm"]
        for name in ("mlp_small_gaussian", "mlp_auxiliary")
    }
    # The heads' gradient does not come through the layers in which the values vanish.
    assert gradient["mlp_auxiliary"] > 1e5 * gradient["mlp_small_gaussian"]
