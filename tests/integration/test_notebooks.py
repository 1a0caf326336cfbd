"""The notebooks run from the first cell to the last, in a copy of the places that they look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]


@pytest.mark.simulation
def test_the_first_comparison_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    for folder in ("analyses", "data_schemas", "notebooks"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("runs"))
    monkeypatch.setenv("HEPDL_NOTEBOOK_EVENTS", "150")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    place = tmp_path / "notebooks"
    notebook = nbformat.read(place / "first_comparison.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs"

    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(place)}})
    client.execute()

    outputs = {cell["id"]: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    assert "boosted_trees" in outputs["run"][-1]["text"]
    assert any("image/png" in output.get("data", {}) for output in outputs["roc"])
    assert len(list((place / "runs" / "w_tagging").glob("*/report.html"))) == 1
