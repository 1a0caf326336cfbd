"""What every test stands on: one thread, no display, no network, a tracking store of its own."""

from __future__ import annotations

import os

# Before torch, matplotlib or a subprocess reads them.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Two workers share two cores, and `deterministic` promises one thread."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for all workers of a test run: the first one prepares MLflow's template."""
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield cache


@pytest.fixture(autouse=True)
def no_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in tests keep their record in their own folder, unless they take `mlflow_store`."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    monkeypatch.delenv("HEPDL_DATA", raising=False)


@pytest.fixture
def mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_tracking: None) -> str:
    """The URI of an empty store, which runs in this test and their subprocesses send to."""
    uri = f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture(scope="session")
def w_jets_schema() -> Path:
    """The schema of the simulated W and QCD jets."""
    return ROOT / "data_schemas" / "w_jets.yaml"
