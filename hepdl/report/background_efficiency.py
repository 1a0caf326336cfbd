"""Share of the background that passes, against the nuisance, at several working points.

Reference:
    O. Kitouni et al., JHEP 04 (2021) 070, arXiv:2010.09745 (false positive rate against mass).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepdl.evaluate.efficiency import BinnedEfficiency
from hepdl.report.sculpting import cut_colours
from hepdl.report.style import empty_figure, grid_shape, note_above, styled

__all__ = ["draw_background_efficiency"]


@styled
def draw_background_efficiency(
    models: Mapping[str, Mapping[str, BinnedEfficiency]], *, label: str, note: str = ""
) -> Figure:
    """Draw one panel a model, one line a working point; a flat score has flat lines.

    Args:
        models: Efficiencies of the background in bins, by signal efficiency of the cut (``"0.5"``), by model.
        label: Label of the horizontal axis.
        note: Small text above the first panel.
    """
    rows, columns = grid_shape(len(models))
    figure = empty_figure(0.4 + 4.2 * columns, 3.6 * rows)
    grid = figure.add_gridspec(rows, columns)
    first: Axes | None = None
    for place, (name, efficiencies) in enumerate(models.items()):
        axes = figure.add_subplot(grid[divmod(place, columns)], sharey=first)
        first = axes if first is None else first
        colours = cut_colours(list(efficiencies))
        for working_point, binned in efficiencies.items():
            _draw_line(axes, binned, colour=colours[working_point], label=working_point)
        axes.set_yscale("log")
        axes.set_xlabel(label)
        if place % columns == 0:
            axes.set_ylabel(r"Background efficiency $\varepsilon_{B}$")
        if place == 0:
            axes.legend(
                title=r"at $\varepsilon_{S}$", loc="upper center", ncols=len(efficiencies), fontsize="x-small",
                title_fontsize="x-small", frameon=False,
            )  # fmt: skip
        note_above(axes, name, note if place == 0 else "")
    if first is not None:
        _limit(first, models)
    return figure


def _draw_line(axes: Axes, binned: BinnedEfficiency, *, colour: str, label: str) -> None:
    centre = 0.5 * (binned.edges[1:] + binned.edges[:-1])
    known = np.isfinite(binned.value) & (binned.value > 0.0)
    value = binned.value[known]
    errors = np.array([value - binned.low[known], binned.high[known] - value])
    axes.errorbar(
        centre[known], value, yerr=np.maximum(errors, 0.0), color=colour, fmt="o-", markersize=3,
        linewidth=1.0, elinewidth=0.8, label=label,
    )  # fmt: skip


def _limit(axes: Axes, models: Mapping[str, Mapping[str, BinnedEfficiency]]) -> None:
    """Keep bins with hardly an event from stretching the axis."""
    found = [
        binned.value[np.isfinite(binned.value) & (binned.value > 0.0)]
        for efficiencies in models.values()
        for binned in efficiencies.values()
    ]
    values = np.concatenate([np.ones(1), *found])
    axes.set_ylim(max(0.5 * float(values.min()), 1e-5), 12.0)
