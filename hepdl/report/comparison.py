"""All models at a glance: area and rejections with their intervals, the seeds as open points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepdl.report.numbers import with_interval
from hepdl.report.style import empty_figure, model_colours, note_above, plain, styled

__all__ = ["draw_comparison"]

Entry = Mapping[str, Any]


@styled
def draw_comparison(models: Mapping[str, Entry], *, note: str = "") -> Figure:
    """Draw the numbers of each model, a column each metric, a row each model.

    An infinite rejection (no background passes) is drawn as an arrow from its lower end.

    Args:
        models: ``models`` of ``metrics.json``.
        note: Small text above the first column.
    """
    points = {p for entry in models.values() for p in entry.get("background_rejection", {})}
    metrics = [("AUC", "")]
    metrics += [
        (rf"$1/\varepsilon_{{B}}$ at $\varepsilon_{{S}}$ = {p}", p) for p in _sorted(points)
    ]
    figure = empty_figure(2.0 + 2.9 * len(metrics), 1.5 + 0.55 * len(models))
    colours = model_colours(models)
    for column, (label, point) in enumerate(metrics):
        axes = figure.add_subplot(1, len(metrics), column + 1)
        for row, (name, entry) in enumerate(models.items()):
            _draw_row(axes, row, _metric(entry, point), colour=colours[name])
            for seed in entry.get("seeds", {}).values():
                value = _metric(seed, point)
                if isinstance(value, (int, float)):
                    axes.plot(
                        value, row + 0.22, "o", color="white", markeredgecolor=colours[name], ms=3.5
                    )
        axes.set_ylim(len(models) - 0.4, -0.7)
        axes.set_yticks(range(len(models)), [plain(name) for name in models])
        axes.tick_params(axis="y", which="both", left=False, right=False, labelleft=column == 0)
        axes.minorticks_off()
        axes.locator_params(axis="x", nbins=4)
        axes.margins(x=0.18)
        axes.set_xlabel(label, loc="center")
        axes.grid(visible=True, which="major", axis="x", alpha=0.35)
        note_above(axes, right=note if column == 0 else "")
    return figure


def _sorted(points: set[str]) -> list[str]:
    return sorted(points, key=float)


def _metric(entry: Entry, point: str) -> Any:
    return entry.get("background_rejection", {}).get(point) if point else entry.get("auc")


def _draw_row(
    axes: Axes, row: int, interval: Mapping[str, float | None] | None, *, colour: str
) -> None:
    if not interval:
        return
    value, low, high = (_known(interval.get(key)) for key in ("value", "low", "high"))
    if not math.isfinite(value):
        if math.isfinite(low):
            axes.plot(low, row, ">", color=colour)
            _write(axes, low, row, interval)
        return
    down = value - low if low <= value else 0.0
    up = high - value if value <= high < math.inf else 0.0
    axes.errorbar(value, row, xerr=[[down], [up]], fmt="o", color=colour, elinewidth=1.6)
    if math.isinf(high):
        axes.plot(value, row, ">", color=colour)
    _write(axes, value, row, interval)


def _write(axes: Axes, x: float, row: int, interval: Mapping[str, float | None]) -> None:
    axes.annotate(
        with_interval(interval, style="mathtext"),
        (x, row),
        xytext=(0, 5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize="x-small",
    )


def _known(value: float | None) -> float:
    return math.inf if value is None else float(value)
