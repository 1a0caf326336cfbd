from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.families import families, shown_models, strength_of
from hepdl.pipeline.load import load_analysis

ROOT = Path(__file__).parents[3]


def loaded(tmp_path: Path, scan: list[float]) -> AnalysisConfig:
    network: dict[str, Any] = {"model": "mlp", "options": {"features": ["x0", "x1"]}}
    penalty = {"loss": "distance_correlation", "nuisances": ["z"], "reference": False}
    content = {
        "analysis": "families",
        "schema": str(ROOT / "data_schemas" / "pivot_toy.yaml"),
        "processes": {
            n: {"label": n, "simulate": {"generator": "pivot_toy"}}
            for n in ("signal", "background")
        },
        "models": {
            "plain": network,
            "disco": network | {"decorrelation": penalty | {"scan": scan}},
            "held": network | {"decorrelation": penalty | {"target": 0.01}},
        },
    }
    path = tmp_path / "analysis.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_analysis(path).config


def test_the_points_of_a_scan_are_one_family_in_the_order_of_their_strength(tmp_path: Path) -> None:
    config = loaded(tmp_path, [10, 0.3, 1e-5])
    assert families(config) == {
        "plain": ["plain"],
        "disco": ["disco_1em05", "disco_0p3", "disco_10"],
        "held": ["held"],
    }
    assert strength_of(config, "disco_0p3") == 0.3
    assert strength_of(config, "plain") is None
    assert strength_of(config, "held") is None


@pytest.mark.parametrize("n_points", [3, 30])
def test_many_models_are_shown_by_the_ends_and_the_middle_of_a_scan(
    tmp_path: Path, n_points: int
) -> None:
    config = loaded(tmp_path, [float(k + 1) for k in range(n_points)])
    shown = shown_models(config, config.models)
    assert len(shown) == 5
    # In the order of the models, which the YAML of this test sorts.
    assert "plain" in shown
    assert {"disco_1", f"disco_{n_points}", "held"} <= set(shown)
