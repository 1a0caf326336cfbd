"""The toy of "Learning to pivot" through the whole pipeline, small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hepdl
from hepdl.pipeline.run import Run

ANALYSIS = Path(__file__).parents[2] / "analyses" / "learning_to_pivot"
SMALL: dict[str, Any] = {"simulate.n_events": 12_000, "evaluate.bootstrap_replicas": 20}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("toy")
    scans = {"models.distance_correlation.decorrelation.scan": [30]}
    wanted = {
        f"models.{name}": None
        for name in ("moment_decomposition", "pivot", "gradient_reversal", "held", "flatness")
    }
    return hepdl.run(
        ANALYSIS,
        set=SMALL | wanted | scans,
        output=folder / "run",
        data_dir=folder / "data",
        tracking_uri="none",
    )


def test_decorrelated_scores_know_less_of_the_nuisance_and_cost_auc(found: Run) -> None:
    models = found.metrics["models"]
    distance = {name: entry["variation_ks"]["low, high"]["value"] for name, entry in models.items()}
    assert distance["distance_correlation_30"] < 0.5 * distance["plain"]
    areas = {name: entry["auc"]["value"] for name, entry in models.items()}
    # 17 000 test events know an area to 0.003; x0 alone has 0.7602, the best classifier 0.8594.
    assert 0.74 < areas["distance_correlation_30"] < areas["plain"] - 0.02 < 0.86
    dependence = models["plain"]["dependence"]
    assert {"ks", "jsd", "distance_correlation", "mutual_information", "inverse_jsd"} <= set(
        dependence
    )
    assert (found.folder / "figures" / "decorrelation_z.png").is_file()
