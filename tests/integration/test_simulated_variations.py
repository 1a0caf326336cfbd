"""Variations of a simulated sample lie beside the nominal events, in the same files."""

from __future__ import annotations

from pathlib import Path

import pytest
import uproot
import yaml

import hepdl
from hepdl.errors import ConfigError
from hepdl.simulate.pythia_tth import CROSS_SECTION

ROOT = Path(__file__).parents[2]


def analysis(folder: Path, *, generator: str) -> Path:
    path = folder / "analysis.yaml"
    process = {"generator": generator}
    content = {
        "analysis": "varied",
        "schema": str(ROOT / "data_schemas" / "tth.yaml"),
        "simulate": {"n_events": 5, "variations": ["jes_up", "jes_down"]},
        "processes": {
            "tth": {"label": "signal", "simulate": process},
            "tt": {"label": "background", "simulate": process},
        },
        "models": {"mlp": {"model": "mlp", "options": {"features": ["met"]}}},
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.simulation
def test_every_file_has_the_nominal_events_and_the_varied_ones(tmp_path: Path) -> None:
    hepdl.run(
        analysis(tmp_path, generator="pythia_tth"),
        output=tmp_path / "run",
        data_dir=tmp_path / "data",
        tracking_uri="none",
        last_stage="simulate",
    )
    (path,) = (tmp_path / "data" / "simulated").glob("tth-*/part_*.root")
    with uproot.open(path) as file:
        numbers = {
            name: set(file[name]["event_number"].array(library="np").tolist())
            for name in ("nominal", "jes_up", "jes_down")
        }
    assert len(numbers["nominal"]) == 5
    # A varied event is the nominal one measured anew, as long as both are selected.
    assert numbers["jes_up"] & numbers["nominal"]


@pytest.mark.simulation
def test_simulated_variations_are_scored_and_yields_follow_the_generator(tmp_path: Path) -> None:
    path = analysis(tmp_path, generator="pythia_tth")
    content = yaml.safe_load(path.read_text())
    content["simulate"]["n_events"] = 60
    for name, process in content["processes"].items():
        process["simulate"] = {"generator": "pythia_tth", "process": name}
        process["cross_section"] = CROSS_SECTION[name] / 1000.0
        process["sum_of_weights"] = "generated_weight"
    content |= {
        "systematics": {"ttrees": ["jes_up", "jes_down"]},
        "split": {"folds": 2, "validation_fraction": 0.3},
        "reconstruction": {"ranking": "chi_square"},
        "models": {
            "boosted_trees": {
                "model": "boosted_trees",
                "options": {"features": ["b_tag_sum", "best_score", "met"], "n_rounds": 5},
            }
        },
        "evaluate": {"luminosity": 100.0, "bootstrap_replicas": 20},
    }
    path.write_text(yaml.safe_dump(content))
    run = hepdl.run(
        path,
        output=tmp_path / "run",
        data_dir=tmp_path / "data",
        tracking_uri="none",
        nproc=1,
        last_stage="evaluate",
    )
    for name in ("tth", "tt"):
        files = (tmp_path / "data" / "simulated").glob(f"{name}-*/part_*.root")
        table = uproot.concatenate([f"{file}:nominal" for file in files], library="np")
        weight = (table["mc_weight"] * table["tag_weight"]).sum(dtype=float)
        # By the generator's docstring: luminosity times cross-section times this ratio.
        expected = 100.0 * CROSS_SECTION[name] * weight / table["generated_weight"].sum(dtype=float)
        assert run.metrics["yields"][name]["value"] == pytest.approx(expected, rel=1e-5)
    up, down = (
        run.metrics["models"]["boosted_trees"]["systematics"][variation]["background_yield"]
        for variation in ("jes_up", "jes_down")
    )
    # More energy, more events with six jets.
    assert up["value"] > down["value"]


def test_a_generator_without_variations_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"simulate\.variations: jes_up, jes_down .* synthetic"):
        hepdl.run(
            analysis(tmp_path, generator="synthetic"),
            output=tmp_path / "run",
            data_dir=tmp_path / "data",
            tracking_uri="none",
            last_stage="simulate",
        )


@pytest.mark.simulation
def test_a_larger_sample_begins_with_the_chunks_of_a_smaller_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hepdl.simulate.pythia_tth.CHUNK_SIZE", 3)
    numbers: dict[int, list[int]] = {}
    for n_events in (5, 8):
        caplog.clear()
        hepdl.run(
            analysis(tmp_path, generator="pythia_tth"),
            output=tmp_path / str(n_events),
            data_dir=tmp_path / "data",
            tracking_uri="none",
            last_stage="simulate",
            set={"simulate.n_events": n_events},
        )
        folders = (tmp_path / "data" / "simulated").glob("tth-*")
        wanted = f'"n_events": {n_events}'
        (folder,) = (f for f in folders if wanted in (f / "simulated.json").read_text())
        numbers[n_events] = []
        for path in sorted(folder.glob("part_*.root")):
            with uproot.open(path) as file:
                found = file["nominal"]["event_number"].array(library="np").tolist()
            numbers[n_events] += found
    # The whole chunk is taken over; the second one was cut short and is made again.
    assert "tth: 1 chunks taken over" in caplog.text
    assert len(numbers[8]) == 8
    assert numbers[8][:5] == numbers[5]
