"""Expected significance against the cut on the score, with the background that is left to know it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hepdl.evaluate.significance import SignificanceScan
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

__all__ = ["draw_significance"]


@styled
def draw_significance(
    models: Mapping[str, SignificanceScan], *, fewest_background: float = 10.0, note: str = ""
) -> Figure:
    """Draw the significance, a line and a 68 % band a model, and the background entries below.

    The marked maximum is the largest among cuts that keep enough background; where less is left the
    line is dotted and has no band.

    Args:
        models: The scan by model.
        fewest_background: Effective number of background entries that is enough.
        note: Small text above the axes.
    """
    figure = empty_figure(6.4, 6.6)
    stacked(figure)
    grid = figure.add_gridspec(2, 1, height_ratios=(2.6, 1.0))
    upper = figure.add_subplot(grid[0])
    lower = figure.add_subplot(grid[1], sharex=upper)
    colours = model_colours(models)
    highest = 0.0
    for name, scan in models.items():
        highest = max(highest, _draw_scan(upper, name, scan, colours[name], fewest_background))
        _draw_entries(lower, scan, colours[name])
    upper.set_xlim(0.0, 1.0)
    # Room for the legend.
    upper.set_ylim(0.0, (1.15 + 0.09 * len(models)) * highest if highest > 0.0 else 1.0)
    upper.set_ylabel("Asimov significance")
    upper.tick_params(labelbottom=False)
    upper.grid(visible=True, which="major", alpha=0.35)
    if models:
        legend(upper, "upper right")
    errors = sorted({scan.relative_background_uncertainty for scan in models.values()})
    text = ", ".join(f"{100.0 * error:g} %" for error in errors)
    upper.set_title(rf"$\sigma_{{b}}/b$ = {text}" if errors else "", loc="left", fontsize="medium")
    note_above(upper, right=note)
    _finish_entries(lower, fewest_background)
    return figure


def _draw_scan(
    axes: Axes, name: str, scan: SignificanceScan, colour: str, fewest_background: float
) -> float:
    """Draw one model; return the largest height that is worth to be seen."""
    x = scan.signal_efficiency
    enough = (scan.yields.n_effective >= fewest_background) & np.isfinite(scan.value)
    axes.plot(x, scan.value, ":", color=colour, linewidth=1.0)
    if not enough.any():
        axes.plot([], [], color=colour, label=f"{plain(name)}, too few background entries")
        return 0.0
    known = np.where(enough, scan.value, np.nan)
    high = np.where(np.isfinite(scan.high), scan.high, 1e3 * scan.value)
    axes.fill_between(x, scan.low, high, where=enough, color=colour, alpha=0.2, linewidth=0)
    label = plain(name)
    best = scan.best(fewest_background=fewest_background)
    if best is not None:
        label += f",  max {with_interval(scan.interval(best).as_dict(), style='mathtext')}"
        axes.plot(x[best], scan.value[best], "o", color=colour, markersize=6, mec="white")
    axes.plot(x, known, color=colour, label=label)
    bounded = enough & np.isfinite(scan.high)
    return float(np.max(scan.high[bounded], initial=float(np.nanmax(known))))


def _draw_entries(axes: Axes, scan: SignificanceScan, colour: str) -> None:
    entries = scan.yields.n_background.astype(float)
    effective = scan.yields.n_effective
    x = scan.signal_efficiency
    axes.plot(x, np.where(entries > 0.0, entries, np.nan), color=colour, linewidth=1.4)
    axes.plot(x, np.where(effective > 0.0, effective, np.nan), "--", color=colour, linewidth=1.0)


def _finish_entries(axes: Axes, fewest_background: float) -> None:
    axes.set_yscale("log")
    axes.set_ylim(bottom=1.0)
    axes.axhline(fewest_background, color="#808080", linestyle=":", linewidth=1.0)
    axes.set_xlabel(r"Signal efficiency $\varepsilon_{S}$")
    axes.set_ylabel("bkg. entries", fontsize="small", loc="center")
    axes.grid(visible=True, which="major", alpha=0.35)
    lines = [
        Line2D([], [], color="#404040", linewidth=1.4),
        Line2D([], [], color="#404040", linewidth=1.0, linestyle="--"),
    ]
    axes.legend(lines, ["entries", "effective"], loc="lower right", fontsize="x-small", ncols=2)
