"""What separation costs: AUC against parameters, training time and speed of the training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepdl.report.style import empty_figure, legend_above, model_colours, note_above, plain, styled

__all__ = ["draw_cost"]

Entry = Mapping[str, Any]

COSTS = {
    "n_parameters": "Parameters",
    "fit_seconds": "Training time [s]",
    "events_per_second": "Entries per second in training",
}


@styled
def draw_cost(models: Mapping[str, Entry], *, note: str = "") -> Figure:
    """Draw the area under the ROC curve with its interval against each cost, a panel each.

    A model without a positive number for a cost is left out of that panel.

    Args:
        models: ``models`` of ``metrics.json``.
        note: Small text above the first panel.
    """
    figure = empty_figure(4.2 * len(COSTS), 4.2)
    colours = model_colours(models)
    first: Axes | None = None
    for column, (key, label) in enumerate(COSTS.items()):
        axes = figure.add_subplot(1, len(COSTS), column + 1, sharey=first)
        for name, entry in models.items():
            _draw_point(axes, entry, entry.get(key), name=name, colour=colours[name])
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.margins(x=0.15, y=0.12)
        _widen(axes)
        axes.grid(visible=True, which="major", alpha=0.35)
        if first is None:
            first = axes
            axes.set_ylabel("AUC")
            note_above(axes, right=note)
        else:
            axes.tick_params(labelleft=False)
    if first is not None:
        legend_above(figure, first)
    return figure


def _widen(axes: Axes) -> None:
    """Show at least one decade: on less, every tick of a logarithmic axis gets a long label."""
    low, high = axes.get_xlim()
    missing = 10.0 / (high / low)
    if missing > 1.0:
        axes.set_xlim(low / math.sqrt(missing), high * math.sqrt(missing))


def _draw_point(axes: Axes, entry: Entry, cost: Any, *, name: str, colour: str) -> None:
    area = entry.get("auc") or {}
    value = area.get("value")
    x, y, below, above = [], [], [], []
    if isinstance(cost, int | float) and cost > 0 and math.isfinite(cost) and value is not None:
        x, y, below, above = [cost], [value], [value - area["low"]], [area["high"] - value]
    # An empty point keeps the legend of the first panel complete.
    axes.errorbar(
        x, y, yerr=[below, above], fmt="o", color=colour, elinewidth=1.4, label=plain(name)
    )
