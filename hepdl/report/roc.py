"""The curve that everybody looks at first: signal efficiency against background rejection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from hepdl.evaluate.roc import RocCurve
from hepdl.report.numbers import with_interval
from hepdl.report.style import (
    empty_figure,
    legend,
    model_colours,
    model_lines,
    note_above,
    plain,
    stacked,
    styled,
)

__all__ = ["draw_roc"]

Floats = npt.NDArray[np.float64]

# Below this signal efficiency a handful of background events decides where the curve is.
_FIRST_EFFICIENCY = 0.1
# The ratio of two such curves settles later; its axis is made for what lies above.
_FIRST_RATIO, _LEAST_RATIO = 0.2, 1.2
# Longer names do not fit beside the lower panel; the legend then says who the reference is.
_LONGEST_LABEL = 16
_GRID = np.linspace(0.02, 1.0, 491)


@styled
def draw_roc(
    curves: Mapping[str, Sequence[RocCurve]],
    *,
    auc: Mapping[str, Mapping[str, float | None]] | None = None,
    signal_efficiencies: Sequence[float] = (0.3, 0.5, 0.8),
    reference: str | None = None,
    note: str = "",
) -> Figure:
    """Draw one line a model, with the range that its seeds span; random guessing is dashed.

    Args:
        curves: One curve per seed, by model. The line is the mean rejection over the seeds.
        auc: Area with its 68 % interval (``value, low, high``) by model, for the legend.
        signal_efficiencies: Working points that get a marker.
        reference: A model that the lower panel divides by; None draws no lower panel.
        note: Small text above the axes.
    """
    has_ratio = reference is not None and len(curves) > 1
    figure = empty_figure(6.4, 6.4 if has_ratio else 5.2)
    upper, lower = _panels(figure, has_ratio=has_ratio)
    colours, lines = model_colours(curves), model_lines(curves)
    summaries = {name: _summary(found) for name, found in curves.items()}
    for name, (middle, low, high) in summaries.items():
        label = plain(name)
        if has_ratio and name == reference and len(name) > _LONGEST_LABEL:
            label += " (reference)"
        if auc and name in auc:
            label += f",  AUC {with_interval(auc[name], style='mathtext')}"
        upper.plot(_GRID, middle, lines[name], color=colours[name], label=label)
        if len(curves[name]) > 1:
            upper.fill_between(_GRID, low, high, color=colours[name], alpha=0.25, linewidth=0)
        for point in signal_efficiencies:
            upper.plot(point, _at(middle, point), "o", color=colours[name], markersize=4.5)
    upper.plot(_GRID, 1.0 / _GRID, "--", color="#808080", linewidth=1.0, label="random guess")
    first = min(_FIRST_EFFICIENCY, 0.5 * min(signal_efficiencies, default=1.0))
    _decorate(upper, [middle for middle, _, _ in summaries.values()], first=first)
    note_above(upper, right=note)
    if lower is not None and reference is not None:
        _draw_ratio(lower, summaries, reference)
    (lower or upper).set_xlabel(r"Signal efficiency $\varepsilon_{S}$")
    return figure


def _panels(figure: Figure, *, has_ratio: bool) -> tuple[Axes, Axes | None]:
    if not has_ratio:
        return figure.add_subplot(), None
    stacked(figure)
    grid = figure.add_gridspec(2, 1, height_ratios=(3.0, 1.0))
    upper = figure.add_subplot(grid[0])
    lower = figure.add_subplot(grid[1], sharex=upper)
    upper.tick_params(labelbottom=False)
    return upper, lower


def _summary(curves: Sequence[RocCurve]) -> tuple[Floats, Floats, Floats]:
    """Return mean, smallest and largest rejection of the seeds; nan where no background passes."""
    passing = np.array([curve.background_efficiency_at(_GRID) for curve in curves])
    rejection = np.full_like(passing, np.nan)
    # A share below zero, which negative weights can give, has no rejection either.
    np.divide(1.0, passing, out=rejection, where=passing > 0.0)
    return rejection.mean(axis=0), rejection.min(axis=0), rejection.max(axis=0)


def _at(rejection: Floats, signal_efficiency: float) -> float:
    known = np.isfinite(rejection)
    if not known.any():
        return float("nan")
    value = np.interp(signal_efficiency, _GRID[known], np.log(rejection[known]))
    return float(np.exp(value)) if signal_efficiency >= _GRID[known][0] else float("nan")


def _decorate(axes: Axes, rejections: Sequence[Floats], *, first: float) -> None:
    axes.set_yscale("log")
    axes.set_xlim(first, 1.0)
    shown = [r[(first <= _GRID) & np.isfinite(r)] for r in rejections]
    top = max([float(r.max()) for r in shown if len(r)], default=10.0)
    # The legend needs the more room the more models there are.
    axes.set_ylim(1.0, max(4.0 * top, 20.0) * 10.0 ** (0.15 * max(0, len(rejections) - 8)))
    axes.yaxis.set_major_locator(LogLocator(numticks=12))
    axes.set_ylabel(r"Background rejection $1/\varepsilon_{B}$")
    axes.grid(visible=True, which="major", alpha=0.35)
    legend(axes, "upper right")


def _draw_ratio(
    axes: Axes, summaries: Mapping[str, tuple[Floats, Floats, Floats]], reference: str
) -> None:
    colours, lines = model_colours(summaries), model_lines(summaries)
    base = summaries[reference][0]
    lowest, highest = 1.0 / _LEAST_RATIO, _LEAST_RATIO
    for name, columns in summaries.items():
        middle, low, high = (column / base for column in columns)
        axes.plot(_GRID, middle, lines[name], color=colours[name])
        if name != reference:
            axes.fill_between(_GRID, low, high, color=colours[name], alpha=0.25, linewidth=0)
        shown = middle[(_GRID >= _FIRST_RATIO) & np.isfinite(middle)]
        if len(shown):
            lowest, highest = min(lowest, float(shown.min())), max(highest, float(shown.max()))
    if highest > 4.0 * lowest:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set_ylim(max(lowest / 1.1, 0.05), min(highest * 1.1, 20.0))
    short = reference if len(reference) <= _LONGEST_LABEL else "reference"
    axes.set_ylabel(f"over {plain(short)}", fontsize="small", loc="center")
    axes.grid(visible=True, which="major", alpha=0.35)
