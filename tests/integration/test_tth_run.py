"""``hepdl run analyses/tth``, small and with some of its models: every number and figure is there.

All of its models run in the slow test of ``expected.yaml``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hepdl

ROOT = Path(__file__).parents[2]
FIGURES = ("assignments", "events", "scores", "roc", "significance")
KEPT = {"boosted_trees", "decay_tree_guo2018", "decay_tree"}
LEFT_OUT = (
    "boosted_trees_tuned",
    "boosted_trees_high",
    "mlp_low",
    "mlp",
    "decay_tree_best",
    "decay_tree_twelve",
    "combo_lstm",
    "lorentz_boost_network",
    "lorentz_boost_network_lola",
)


@pytest.mark.simulation
def test_the_analysis_runs_from_simulation_to_report(tmp_path: Path) -> None:
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    run = hepdl.run(
        ROOT / "analyses" / "tth",
        output=tmp_path / "run",
        data_dir=tmp_path / "data",
        tracking_uri="none",
        set={
            "simulate.n_events": 600,
            "simulate.variations": [],
            "systematics.ttrees": [],
            "train.epochs": 2,
            "models.boosted_trees.options.n_rounds": 20,
            "reconstruction.options": {"n_rounds": 20, "cross_fits": 2},
            "evaluate.bootstrap_replicas": 20,
            **{f"models.{name}": None for name in LEFT_OUT},
        },
    )
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert set(metrics["models"]) == KEPT | {"stack", "stack_rank"}
    assert metrics["models"]["decay_tree_guo2018"]["n_parameters"] == 55_741
    # The trees learn something even of so few events, and every network has numbers.
    assert metrics["models"]["boosted_trees"]["auc"]["value"] > 0.6
    for model in metrics["models"].values():
        assert {"auc", "against", "significance"} <= set(model)
    assert set(metrics["assignments"]) == {"chi_square", "boosted_trees", "decay_tree"}
    for name in FIGURES:
        assert (run.folder / "figures" / f"{name}.png").stat().st_size > 0
    assert (run.folder / "report.html").is_file()
