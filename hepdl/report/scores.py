"""Score distributions: the training part filled, the test part as points with errors over it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepdl.evaluate.spectra import ScoreSpectra
from hepdl.report.spectra import points, steps
from hepdl.report.style import (
    CLASS_COLOURS,
    empty_figure,
    grid_shape,
    legend,
    note_above,
    plain,
    styled,
)

__all__ = ["draw_scores"]


@styled
def draw_scores(
    models: Mapping[str, Mapping[str, ScoreSpectra]], *, log: bool = False, note: str = ""
) -> Figure:
    """Draw the scores of signal and background, training part over test part.

    Args:
        models: ``{"signal": ..., "background": ...}`` by model.
        log: Logarithmic vertical axis.
        note: Small text above the first panel.
    """
    rows, columns = grid_shape(len(models))
    figure = empty_figure(0.6 + 4.6 * columns, 4.2 * rows)
    for place, (name, classes) in enumerate(models.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        _draw_panel(axes, classes, log=log)
        note_above(axes, name, note if place == 0 else "")
    return figure


def _draw_panel(axes: Axes, classes: Mapping[str, ScoreSpectra], *, log: bool) -> None:
    highest, lowest = 0.0, np.inf
    distances = []
    for name, spectra in classes.items():
        colour = CLASS_COLOURS.get(name)
        steps(axes, spectra.train, colour=colour, label=f"{plain(name)}, train", fill=True)
        points(axes, spectra.test, colour=colour, label=f"{plain(name)}, test")
        for counts in (spectra.train.counts, spectra.test.counts):
            positive = counts[counts > 0.0]
            if len(positive):
                highest, lowest = max(highest, positive.max()), min(lowest, positive.min())
        distance = spectra.distance
        distances.append(f"KS {plain(name)}: {distance.value:.3f} (p = {distance.probability:.2g})")
    if log and np.isfinite(lowest):
        axes.set_yscale("log")
        axes.set_ylim(0.4 * lowest, highest * (highest / lowest) ** 0.7)
    else:
        # Room for the legend and the distances above the histograms.
        axes.set_ylim(0.0, 1.5 * (highest or 1.0))
    first = next(iter(classes.values())).train.edges
    axes.set_xlim(first[0], first[-1])
    axes.set_xlabel("Score")
    axes.set_ylabel("Density")
    legend(axes, "upper left", ncols=2)
    axes.text(
        0.97,
        0.77,
        "\n".join(distances),
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize="x-small",
        color="#404040",
    )
