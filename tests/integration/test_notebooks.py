"""The notebooks run from the first cell to the last, in a copy of the places that they look at."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]


def executed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, n: int) -> Any:
    """Return the outputs of the cells by their names, after a run with ``n`` events of each class."""
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    for folder in ("analyses", "data_schemas", "notebooks"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("runs"))
    monkeypatch.setenv("HEPDL_NOTEBOOK_EVENTS", str(n))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    place = tmp_path / "notebooks"
    notebook = nbformat.read(place / name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs"

    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(place)}})
    client.execute()
    return {cell["id"]: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


@pytest.mark.simulation
def test_the_first_comparison_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = executed("first_comparison.ipynb", tmp_path, monkeypatch, n=150)
    assert "boosted_trees" in outputs["run"][-1]["text"]
    assert any("image/png" in output.get("data", {}) for output in outputs["roc"])
    folder = tmp_path / "notebooks" / "runs" / "w_tagging"
    assert len(list(folder.glob("*/report.html"))) == 1


@pytest.mark.slow
@pytest.mark.simulation
def test_the_tth_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = executed("tth.ipynb", tmp_path, monkeypatch, n=1200)
    assert "decay_tree" in outputs["run"][-1]["text"]
    assert "chi_square" in outputs["efficiencies"][-1]["text"]
    assert "against tt + b" in outputs["new"][-1]["text"]
    assert any("image/png" in output.get("data", {}) for output in outputs["roc"])
