"""``hepdl run analyses/tth``, small: every model trains, and every number and figure is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hepdl

ROOT = Path(__file__).parents[2]
FIGURES = ("assignments", "events", "scores", "roc", "significance", "variations")


@pytest.mark.simulation
def test_every_model_of_the_analysis_is_compared(tmp_path: Path) -> None:
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    trees = ("boosted_trees", "boosted_trees_high", "boosted_trees_tuned")
    run = hepdl.run(
        ROOT / "analyses" / "tth",
        output=tmp_path / "run",
        data_dir=tmp_path / "data",
        tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}",
        set={
            "simulate.n_events": 600,
            "train.epochs": 1,
            **{f"models.{name}.options.n_rounds": 20 for name in trees},
            "reconstruction.options": {"n_rounds": 20, "cross_fits": 2},
            "evaluate.bootstrap_replicas": 20,
        },
    )
    metrics = json.loads((run.folder / "metrics.json").read_text())
    expected = {*trees, "mlp", "mlp_low", "decay_tree_guo2018", "decay_tree_best",
                "decay_tree_twelve", "decay_tree", "combo_lstm", "lorentz_boost_network",
                "lorentz_boost_network_lola", "stack", "stack_rank"}  # fmt: skip
    assert expected == set(metrics["models"])
    assert metrics["models"]["decay_tree_guo2018"]["n_parameters"] == 55_741
    # The trees learn something even of so few events, and every network has numbers.
    assert metrics["models"]["boosted_trees"]["auc"]["value"] > 0.6
    for model in metrics["models"].values():
        assert {"auc", "against", "systematics", "significance"} <= set(model)
    assert set(metrics["assignments"]) == {
        "chi_square",
        "boosted_trees",
        "decay_tree",
        "decay_tree_twelve",
    }
    for name in FIGURES:
        assert (run.folder / "figures" / f"{name}.png").stat().st_size > 0
    assert (run.folder / "report.html").is_file()
