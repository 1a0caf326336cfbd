"""Significance against the cut, when a nuisance moves the background.

Reference:
    G. Louppe, M. Kagan and K. Cranmer, arXiv:1611.01046, figure 4 (AMS against the threshold on the score).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hepdl.evaluate.shifted_significance import ShiftedScan
from hepdl.report.numbers import with_interval
from hepdl.report.style import empty_figure, legend, model_colours, note_above, plain, styled

__all__ = ["draw_shifted_significance"]


@styled
def draw_shifted_significance(
    models: Mapping[str, ShiftedScan],
    *,
    numbers: Mapping[str, Mapping[str, Any]] | None = None,
    note: str = "",
) -> Figure:
    """Draw a line and a 68 % band a model; points are cuts that other events chose.

    Args:
        models: The scan by model.
        numbers: Significance (``value, low, high``) at the cut that other events chose, for the legend.
        note: Small text above the axes.
    """
    figure = empty_figure(6.4, 5.2)
    axes = figure.add_subplot()
    colours = model_colours(models)
    highest = 0.0
    for name, scan in models.items():
        label = plain(name)
        if numbers and name in numbers:
            label += f",  {with_interval(numbers[name], style='mathtext')}"
        # The tightest cuts may leave no background in any replica.
        known = np.isfinite(scan.replicas).any(axis=0) & np.isfinite(scan.value)
        if not known.any():
            continue
        x, value = scan.signal_efficiency[known], scan.value[known]
        low, high = np.nanquantile(scan.replicas[:, known], (0.158655, 0.841345), axis=0)
        axes.plot(x, value, color=colours[name], label=label)
        axes.fill_between(x, low, high, color=colours[name], alpha=0.2, linewidth=0)
        if numbers and name in numbers:
            own = numbers[name]
            axes.plot(own["signal_efficiency"], own["value"], "o", color=colours[name], mec="white")
        highest = max(highest, float(np.nanmax(high)))
    axes.set_xlim(0.0, 1.0)
    # Room for the legend.
    axes.set_ylim(0.0, (1.1 + 0.09 * len(models)) * highest if highest > 0.0 else 1.0)
    axes.set_xlabel(r"Signal efficiency $\varepsilon_{S}$")
    axes.set_ylabel("AMS with a background that moves")
    axes.grid(visible=True, which="major", alpha=0.35)
    if models:
        legend(axes, "upper right")
    note_above(axes, right=note)
    return figure
