"""One small finished run, shared by the tests that only look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hepdl
from hepdl.pipeline.run import Run

ANALYSIS = Path(__file__).parents[2] / "analyses" / "w_tagging"

SMALL: dict[str, Any] = {
    "simulate.n_events": 400,
    "simulate.options": {},
    "processes.w.simulate": {"generator": "synthetic"},
    "processes.qcd.simulate": {"generator": "synthetic"},
    "train.epochs": 2,
    "train.deterministic": True,
    "models.recnn.options.hidden": 8,
    "models.recnn_gated": None,
    "models.mlp.options.hidden": [16],
    "models.boosted_trees.options.n_rounds": 10,
    "evaluate.bootstrap_replicas": 20,
}


@pytest.fixture(scope="session")
def small_overrides() -> dict[str, Any]:
    return dict(SMALL)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Run:
    output = tmp_path_factory.mktemp("runs") / "run"
    return hepdl.run(
        ANALYSIS, output=output, set=SMALL, data_dir=small_data, tracking_uri="none", nproc=1
    )
