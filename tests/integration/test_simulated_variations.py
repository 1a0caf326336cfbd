"""Variations of a simulated sample lie beside the nominal events, in the same files."""

from __future__ import annotations

from pathlib import Path

import pytest
import uproot
import yaml

import hepdl
from hepdl.errors import ConfigError

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


def test_a_generator_without_variations_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"simulate\.variations: jes_up, jes_down .* synthetic"):
        hepdl.run(
            analysis(tmp_path, generator="synthetic"),
            output=tmp_path / "run",
            data_dir=tmp_path / "data",
            tracking_uri="none",
            last_stage="simulate",
        )
