"""Reliability curve: is an event with score 0.7 signal in seven cases of ten?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hepdl.evaluate.calibration import Reliability
from hepdl.report.numbers import with_interval
from hepdl.report.style import (
    empty_figure,
    legend,
    model_colours,
    note_above,
    plain,
    stacked,
    styled,
)

__all__ = ["draw_reliability"]


@styled
def draw_reliability(
    models: Mapping[str, Reliability],
    *,
    error: Mapping[str, Mapping[str, float | None]] | None = None,
    note: str = "",
) -> Figure:
    """Draw share of signal against mean score, and the difference of the two below.

    Args:
        models: The curve by model.
        error: Expected calibration error (``value, low, high``) by model, for the legend.
        note: Small text above the axes.
    """
    figure = empty_figure(6.0, 6.6)
    stacked(figure)
    grid = figure.add_gridspec(2, 1, height_ratios=(3.0, 1.2))
    upper = figure.add_subplot(grid[0])
    lower = figure.add_subplot(grid[1], sharex=upper)
    upper.plot([0.0, 1.0], [0.0, 1.0], "--", color="#808080", linewidth=1.0, label="calibrated")
    lower.axhline(0.0, color="#808080", linestyle="--", linewidth=1.0)
    colours = model_colours(models)
    largest = 0.02
    for name, curve in models.items():
        known = np.isfinite(curve.mean_score) & np.isfinite(curve.signal_fraction)
        score, share = curve.mean_score[known], curve.signal_fraction[known]
        bars = np.nan_to_num(curve.error[known])
        label = plain(name)
        if error and name in error:
            label += f",  ECE {with_interval(error[name], style='mathtext')}"
        style: dict[str, Any] = {
            "color": colours[name],
            "markersize": 4.0,
            "elinewidth": 1.2,
            "linewidth": 1.0,
        }
        upper.errorbar(score, share, yerr=bars, fmt="o-", label=label, **style)
        lower.errorbar(score, share - score, yerr=bars, fmt="o-", **style)
        if len(score):
            largest = max(largest, float(np.max(np.abs(share - score) + bars)))
    upper.set_xlim(0.0, 1.0)
    upper.set_ylim(0.0, 1.0)
    upper.set_ylabel("Share of signal")
    upper.tick_params(labelbottom=False)
    legend(upper, "upper left")
    note_above(upper, right=note)
    lower.set_ylim(-1.1 * largest, 1.1 * largest)
    lower.set_xlabel("Mean score")
    lower.set_ylabel("share \N{MINUS SIGN} score", fontsize="small", loc="center")
    lower.grid(visible=True, which="major", axis="y", alpha=0.35)
    return figure
