"""Figures of significances and of variations, from what a run has on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.significance import significance_scan
from hepdl.evaluate.variations import VariedSample, VariedSpectra, varied_spectra
from hepdl.io.tables import read_table
from hepdl.pipeline.scores import SCORES_TTREE
from hepdl.pipeline.sensitivity import FEWEST_BACKGROUND
from hepdl.pipeline.work import Work
from hepdl.report.significance import draw_significance
from hepdl.report.systematics import draw_variations

__all__ = ["draw_scans", "draw_varied_scores"]

Columns = Mapping[str, npt.NDArray[Any]]

N_BINS = 20
CLASSES = {"signal": 1, "background": 0}


def draw_scans(work: Work) -> Figure:
    """Draw the significance of each model on the test events against the cut."""
    config = work.analysis.config
    rows = _tested(work, "scores")
    bootstrap = Bootstrap(_groups(rows), n_replicas=config.evaluate.bootstrap_replicas)
    scans = {
        name: significance_scan(
            rows["label"],
            rows[f"score_{name}"],
            rows["physical_weight"],
            bootstrap=bootstrap,
            relative_background_uncertainty=config.evaluate.background_uncertainty,
        )
        for name in config.contenders
    }
    return draw_significance(
        scans,
        fewest_background=FEWEST_BACKGROUND,
        note=f"{config.evaluate.luminosity:g} /fb, test events",
    )


def draw_varied_scores(work: Work) -> Figure:
    """Draw the scores of the test events and of their variations, by class and model."""
    config = work.analysis.config
    nominal = _tested(work, "scores")
    varied = {name: _tested(work, f"scores_{name}") for name in config.systematics.ttrees}
    models: dict[str, dict[str, VariedSpectra]] = {}
    for name in config.contenders:
        models[name] = {
            kind: varied_spectra(
                _sample(nominal, name, code),
                {variation: _sample(rows, name, code) for variation, rows in varied.items()},
                edges=np.linspace(0.0, 1.0, N_BINS + 1),
                n_replicas=config.evaluate.bootstrap_replicas,
            )
            for kind, code in CLASSES.items()
        }
    return draw_variations(models, note="test events")


def _tested(work: Work, name: str) -> Columns:
    """Return the rows of the test events of a file of scores."""
    rows = read_table(work.folder.path / f"{name}.root", ttree=SCORES_TTREE)
    # Index into PARTS: train, validation, test.
    return {column: values[rows["part"] == 2] for column, values in rows.items()}


def _groups(rows: Columns) -> npt.NDArray[np.int64]:
    columns = [rows[name] for name in ("process", "run_number", "event_number")]
    return np.stack(columns, axis=1).astype(np.int64)


def _sample(rows: Columns, model: str, code: int) -> VariedSample:
    """Return the scores of one class, with physical weights if there are any."""
    weight = "physical_weight" if "physical_weight" in rows else "event_weight"
    inside = rows["label"] == code
    return VariedSample(rows[f"score_{model}"][inside], rows[weight][inside], _groups(rows)[inside])
