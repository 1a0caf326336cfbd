"""Efficiencies of signal and background against pT, eta and mass at a fixed working point."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepdl.evaluate.efficiency import BinnedEfficiency
from hepdl.report.style import (
    empty_figure,
    legend_above,
    model_colours,
    note_above,
    plain,
    pretty,
    stacked,
    styled,
)

__all__ = ["draw_efficiencies"]

_CLASSES = ("signal", "background")


@styled
def draw_efficiencies(
    variables: Mapping[str, Mapping[str, Mapping[str, BinnedEfficiency]]],
    *,
    signal_efficiency: float,
    units: Mapping[str, str] | None = None,
    note: str = "",
) -> Figure:
    """Draw the efficiencies, a column each variable: signal above, background below.

    Args:
        variables: ``{"signal": ..., "background": ...}`` by model, by variable, as
            `hepdl.evaluate.efficiency.efficiencies_at` gives them.
        signal_efficiency: The working point; a dashed line shows it.
        units: Unit of each variable.
        note: Small text above the first panel.
    """
    figure = empty_figure(0.4 + 4.2 * len(variables), 6.7)
    stacked(figure)
    grid = figure.add_gridspec(2, len(variables))
    for column, (variable, models) in enumerate(variables.items()):
        upper = figure.add_subplot(grid[0, column])
        lower = figure.add_subplot(grid[1, column], sharex=upper)
        for axes, name in zip((upper, lower), _CLASSES, strict=True):
            _draw_class(axes, {model: classes[name] for model, classes in models.items()})
            axes.set_ylabel(f"{name.capitalize()} efficiency")
        upper.axhline(signal_efficiency, color="#808080", linestyle="--", linewidth=1.0)
        upper.set_ylim(0.0, 1.0)
        upper.tick_params(labelbottom=False)
        lower.set_xlabel(pretty(variable, (units or {}).get(variable, "")))
        if column == 0:
            legend_above(figure, upper)
            upper.set_title(rf"$\varepsilon_{{S}}$ = {signal_efficiency:g}", loc="left")
            note_above(upper, right=note)
    return figure


def _draw_class(axes: Axes, models: Mapping[str, BinnedEfficiency]) -> None:
    colours = model_colours(models)
    highest = 0.0
    for place, (name, binned) in enumerate(models.items()):
        known = np.isfinite(binned.value)
        widths = np.diff(binned.edges)
        # Models side by side within the bin, so that their errors can be told apart.
        share = (place + 1.0) / (len(models) + 1.0)
        where = binned.edges[:-1] + widths * (0.2 + 0.6 * share)
        value, low, high = binned.value[known], binned.low[known], binned.high[known]
        axes.errorbar(
            where[known],
            value,
            yerr=np.maximum([value - low, high - value], 0.0),
            fmt="o",
            color=colours[name],
            markersize=3.5,
            elinewidth=1.2,
            label=plain(name),
        )
        line = np.where(known, binned.value, np.nan)
        axes.stairs(line, binned.edges, color=colours[name], alpha=0.35, baseline=None, lw=1.0)
        if len(high):
            highest = max(highest, float(high.max()))
        axes.set_xlim(binned.edges[0], binned.edges[-1])
    axes.set_ylim(0.0, 1.15 * highest if highest > 0.0 else 1.0)
