"""Stage ``report``: draw the figures and write the page."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from hepdl.pipeline.drawing import Drawing, caption_of, figures_of
from hepdl.pipeline.page import build_page
from hepdl.pipeline.progress import progress
from hepdl.pipeline.scores import read_scores
from hepdl.pipeline.stages.evaluate import selected_test
from hepdl.pipeline.stages.prepare import load_dataset
from hepdl.pipeline.work import Outcome, Work
from hepdl.report import style
from hepdl.report.html import Picture, write

__all__ = ["report"]

log = logging.getLogger(__name__)


def report(work: Work) -> Outcome:
    """Write every figure as PNG and PDF, and ``report.html`` with all of them."""
    folder = work.folder
    metrics: dict[str, Any] = json.loads((folder.path / "metrics.json").read_text("utf-8"))
    scores = read_scores(folder.path / "scores.root", work.analysis.config)
    index, weight = selected_test(load_dataset(work), work, None)
    drawing = Drawing(work=work, metrics=metrics, scores=scores, index=index, weight=weight)
    pictures: dict[str, list[Picture]] = {}
    wanted = list(figures_of(drawing))
    with progress("drawing", len(wanted)) as advance:
        for section, name, draw in wanted:
            figure: Figure = draw()
            png, pdf = style.save(figure, folder.figures, name)
            pictures.setdefault(section, []).append(
                Picture(png, caption_of(name, drawing), others=(pdf,), is_wide=_is_wide(figure))
            )
            advance(text=name)
    page = folder.path / "report.html"
    write(page, build_page(work, metrics, pictures))
    work.recorder.artifact(folder.figures)
    work.recorder.artifact(page)
    for name in ("config.yaml", "environment.json", "metrics.json"):
        work.recorder.artifact(folder.path / name)
    return Outcome([page, *_files(folder.figures)])


def _is_wide(figure: Figure) -> bool:
    return bool(figure.get_figwidth() > 8)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.suffix in {".png", ".pdf"})
