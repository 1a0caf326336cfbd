"""A run from simulation to report: what it leaves, what it reuses, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import hepdl
from hepdl.cli import main
from hepdl.errors import ConfigError, DataError, HepdlError
from hepdl.evaluate.roc import auc
from hepdl.io.tables import read_table
from hepdl.pipeline.run import Run

ANALYSIS = Path(__file__).parents[2] / "analyses" / "w_tagging"


def again(run: Run, overrides: dict[str, Any], data: Path, **options: Any) -> Run:
    return hepdl.run(
        ANALYSIS,
        output=run.folder,
        set=overrides,
        data_dir=data,
        tracking_uri="none",
        nproc=1,
        **options,
    )


def test_a_run_leaves_everything_that_was_promised(small_run: Run) -> None:
    for name in (
        "config.yaml",
        "environment.json",
        "metrics.json",
        "scores.root",
        "report.html",
        "log.txt",
        "record.jsonl",
        "models/recnn/parameters.pt",
        "models/boosted_trees/model.json",
        "figures/roc.png",
        "figures/roc.pdf",
        "stages/report.json",
    ):
        assert (small_run.folder / name).is_file(), name
    leftovers = [p for p in small_run.folder.rglob("*") if p.name.endswith(".tmp")]
    assert leftovers == []


def test_the_numbers_have_the_promised_shape_and_add_up(small_run: Run) -> None:
    metrics = small_run.metrics
    assert metrics["format_version"] == 1
    accounting = metrics["data"]["accounting"]
    assert accounting["read"] == accounting["selected"] + sum(accounting["rejected"].values())
    n_split = sum(sum(part.values()) for part in metrics["data"]["splits"].values())
    assert n_split == accounting["selected"] == 800
    for name in ("recnn", "mlp", "boosted_trees"):
        entry = metrics["models"][name]
        assert set(entry["auc"]) == {"value", "low", "high"}
        assert entry["auc"]["low"] <= entry["auc"]["value"] <= entry["auc"]["high"]
        assert set(entry["background_rejection"]) == {"0.3", "0.5", "0.8"}
        assert entry["n_parameters"] > 0
        assert entry["fit_seconds"] > 0
        assert entry["window"]["selection"] == "50 < jet_mass < 110"
        assert {"ks", "jsd", "distance_correlation"} <= set(entry["dependence"])
        assert set(entry["dependence"]["jsd"]) >= {"value", "low", "high", "null"}


def test_scores_on_disk_give_the_numbers_of_the_report(small_run: Run) -> None:
    table = read_table(small_run.folder / "scores.root", ttree="scores")
    test = table["part"] == 2
    for name, entry in small_run.metrics["models"].items():
        found = auc(table["label"][test], table[f"score_{name}"][test], table["weight"][test])
        assert found == pytest.approx(entry["auc"]["value"], abs=1e-12)
    assert len(np.unique(table["event_number"])) <= len(table["event_number"])


def test_the_report_opens_without_a_network(small_run: Run) -> None:
    page = (small_run.folder / "report.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert page.count("data:image/png;base64,") >= 10
    assert "rejected by not_empty" in page


def test_parameters_load_with_weights_only_and_give_the_scores(
    small_run: Run, small_data: Path
) -> None:
    torch.load(small_run.folder / "models" / "recnn" / "parameters.pt", weights_only=True)
    tagger = small_run.load_model("recnn")
    files = sorted(str(p) for p in (small_data / "simulated").glob("w-*/part_*.root"))
    events = hepdl.read(files, tagger.schema)
    scores = tagger.predict(events)
    table = read_table(small_run.folder / "scores.root", ttree="scores")
    expected = {
        int(number): float(score)
        for number, score, process in zip(
            table["event_number"], table["score_recnn"], table["process"], strict=True
        )
        if process == 0
    }
    wanted = [expected[int(number)] for number in events.event_number]
    # Minibatches of another size: matrix products round differently in the last digits.
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    np.testing.assert_allclose(tagger.predict(files), scores, atol=1e-6)


def test_a_second_run_reuses_the_data_and_gives_the_same_numbers(
    small_run: Run,
    small_overrides: dict[str, Any],
    small_data: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    second = hepdl.run(
        ANALYSIS,
        output=tmp_path / "second",
        set=small_overrides,
        data_dir=small_data,
        tracking_uri="none",
    )
    assert "simulated entries reused from" in caplog.text
    assert "prepared events reused from" in caplog.text
    for name, entry in small_run.metrics["models"].items():
        assert second.metrics["models"][name]["auc"] == entry["auc"], name


def test_a_finished_run_is_left_alone_by_resume(
    small_run: Run, small_overrides: dict[str, Any], small_data: Path
) -> None:
    before = (small_run.folder / "metrics.json").stat().st_mtime_ns
    again(small_run, small_overrides, small_data, resume=True)
    assert (small_run.folder / "metrics.json").stat().st_mtime_ns == before


def test_resume_with_another_configuration_names_the_difference(
    small_run: Run, small_overrides: dict[str, Any], small_data: Path
) -> None:
    changed = {**small_overrides, "train.epochs": 3}
    with pytest.raises(ConfigError, match=r"train\.epochs: then 2, now 3"):
        again(small_run, changed, small_data, resume=True)


def test_a_full_output_folder_needs_resume(
    small_run: Run, small_overrides: dict[str, Any], small_data: Path
) -> None:
    with pytest.raises(ConfigError, match="not empty: add --resume"):
        again(small_run, small_overrides, small_data)


def test_the_command_line_says_what_is_wrong_and_leaves_with_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(ANALYSIS), "--set", "train.epoch=3", "--output", str(tmp_path / "x")])
    assert stopped.value.code == 2
    assert "did you mean 'epochs'?" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_resolved_configuration_runs_again(small_run: Run, tmp_path: Path) -> None:
    content = yaml.safe_load((small_run.folder / "config.yaml").read_text())
    assert content["train"]["epochs"] == 2
    assert Path(content["schema"]).is_absolute()
    environment = json.loads((small_run.folder / "environment.json").read_text())
    assert environment["device"] == "cpu"
    assert "torch" in environment["versions"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"processes.w": {"label": "signal", "files": ["nothing/*.root"]}}, "nothing"),
        ({"split.fractions": {"train": 1.0, "validation": 0.0, "test": 0.0}}, "validation part"),
    ],
)
def test_bad_data_end_the_run_before_training(
    override: dict[str, Any],
    message: str,
    small_overrides: dict[str, Any],
    small_data: Path,
    tmp_path: Path,
) -> None:
    wanted = {key: value for key, value in small_overrides.items() if key not in override}
    if "processes.w" in override:
        del wanted["processes.w.simulate"]
    with pytest.raises((DataError, HepdlError), match=message):
        hepdl.run(
            ANALYSIS,
            output=tmp_path / "run",
            set={**wanted, **override},
            data_dir=small_data,
            tracking_uri="none",
        )
    assert not (tmp_path / "run" / "models").exists()


def test_a_changed_file_is_noticed_on_resume(
    small_overrides: dict[str, Any], small_data: Path, tmp_path: Path
) -> None:
    source = next((small_data / "simulated").glob("w-*/part_0000.root"))
    copy = tmp_path / "w.root"
    copy.write_bytes(source.read_bytes())
    wanted = {key: value for key, value in small_overrides.items() if "processes.w" not in key}
    wanted["processes.w"] = {"label": "signal", "files": [str(copy)]}
    options: dict[str, Any] = {
        "output": tmp_path / "run",
        "set": wanted,
        "data_dir": small_data,
        "tracking_uri": "none",
    }
    hepdl.run(ANALYSIS, last_stage="prepare", **options)
    copy.write_bytes(source.read_bytes())
    with pytest.raises(ConfigError, match=r"made from other data.*\n.*w\.root"):
        hepdl.run(ANALYSIS, resume=True, **options)


def test_a_decorrelated_network_stands_beside_its_plain_twin(
    small_overrides: dict[str, Any], small_data: Path, tmp_path: Path
) -> None:
    wanted = {
        **small_overrides,
        "models.recnn": None,
        "models.boosted_trees": None,
        "evaluate.reference": None,
        "train.seeds": [0, 1],
        "decorrelation": {
            "loss": "gradient_reversal",
            "nuisances": ["jet_mass"],
            "strength": 3,
            "options": {"warm_up": 1},
        },
    }
    wanted = {k: v for k, v in wanted.items() if not k.startswith(("models.recnn.", "models.b"))}
    wanted["models.boosted_trees"] = None
    run = hepdl.run(
        ANALYSIS,
        output=tmp_path / "run",
        set=wanted,
        data_dir=small_data,
        tracking_uri="none",
        nproc=1,
    )
    models = run.metrics["models"]
    assert set(models) == {"mlp", "mlp_plain"}
    for entry in models.values():
        assert set(entry["seeds"]) == {"0", "1"}
        for metric in ("ks", "jsd", "distance_correlation", "mutual_information"):
            assert set(entry["dependence"][metric]) >= {"value", "low", "high", "null"}
    assert (run.folder / "figures" / "sculpting_jet_mass.png").is_file()
    differences = [d for d in run.metrics["comparisons"] if d["metric"] == "auc"]
    assert differences[0]["n_seeds"] == 2
    assert differences[0]["seed_error"] is not None
    table = read_table(run.folder / "scores.root", ttree="scores")
    chosen = models["mlp"]["chosen_seed"]
    np.testing.assert_array_equal(table["score_mlp"], table[f"score_mlp_seed{chosen}"])
