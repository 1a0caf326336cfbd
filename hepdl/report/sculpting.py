"""The background's mass before and after cuts on the score: does the cut carve a peak into it?

Reference:
    ATLAS Collaboration, ATL-PHYS-PUB-2018-014 (mass decorrelation, comparison of spectra).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from hepdl.evaluate.spectra import Spectrum
from hepdl.report.numbers import with_interval
from hepdl.report.spectra import points, shape, steps
from hepdl.report.style import empty_figure, grid_shape, legend, note_above, plain, stacked, styled

__all__ = ["draw_sculpting"]

_BEFORE = "all"


@styled
def draw_sculpting(
    models: Mapping[str, Mapping[str, Spectrum]],
    *,
    label: str,
    divergence: Mapping[str, Mapping[str, Any]] | None = None,
    note: str = "",
) -> Figure:
    """Draw the background's spectrum before and after cuts, with the ratio below; one panel a model.

    Args:
        models: Spectra by signal efficiency of the cut (``"0.5"``), before it under ``"all"``, by
            model, as `hepdl.evaluate.spectra.background_spectra` gives them.
        label: Label of the horizontal axis, e.g. ``pretty("jet_mass", "GeV")``.
        divergence: Jensen-Shannon divergence (``value, low, high, null``) by model, printed.
        note: Small text above the first panel.
    """
    rows, columns = grid_shape(len(models))
    figure = empty_figure(0.4 + 4.8 * columns, 5.2 * rows)
    stacked(figure)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=(2.2, 1.0) * rows)
    for place, (name, spectra) in enumerate(models.items()):
        row, column = divmod(place, columns)
        upper = figure.add_subplot(grid[2 * row, column])
        lower = figure.add_subplot(grid[2 * row + 1, column], sharex=upper)
        _draw_spectra(upper, lower, spectra)
        lower.set_xlabel(label)
        note_above(upper, name, note if place == 0 else "")
        if divergence and name in divergence:
            _print_divergence(upper, divergence[name])
    return figure


def cut_colours(names: list[str]) -> dict[str, str]:
    """Return shades by signal efficiency, the tightest cut darkest."""
    tight_first = sorted(names, key=float)
    shades = np.linspace(0.15, 0.8, max(len(tight_first), 2))
    return {
        name: to_hex(colormaps["viridis"](shade))
        for name, shade in zip(tight_first, shades, strict=False)
    }


def _draw_spectra(upper: Axes, lower: Axes, spectra: Mapping[str, Spectrum]) -> None:
    before = shape(spectra[_BEFORE])
    edges = spectra[_BEFORE].edges
    highest, steepest = 0.0, 1.5
    if before is not None:
        upper.stairs(
            before.counts, edges, fill=True, color="#d5d8dc", label="background, no cut", lw=0
        )
        highest = float(before.counts.max())
    colours = cut_colours([name for name in spectra if name != _BEFORE])
    for name, colour in colours.items():
        after = shape(spectra[name])
        label = rf"$\varepsilon_{{S}}$ = {plain(name)}"
        if after is None:
            upper.plot([], [], color=colour, label=f"{label} (nothing passes)")
            continue
        steps(upper, after, colour=colour, label=label)
        highest = max(highest, float(after.counts.max()))
        if before is not None:
            steepest = max(steepest, _draw_ratio(lower, after, before, colour=colour))
    upper.set_xlim(edges[0], edges[-1])
    upper.set_ylim(0.0, 1.5 * highest if highest > 0.0 else 1.0)
    upper.set_ylabel("Density")
    upper.tick_params(labelbottom=False)
    legend(upper, "upper right")
    lower.axhline(1.0, color="#808080", linewidth=1.0)
    lower.set_ylim(0.0, min(1.3 * steepest, 12.0))
    lower.set_ylabel("cut / no cut", fontsize="small", loc="center")


def _draw_ratio(axes: Axes, after: Spectrum, before: Spectrum, *, colour: str) -> float:
    """Draw the ratio; return its largest value among the bins that are known to a third."""
    known = before.counts > 0.0
    below = np.where(known, before.counts, 1.0)
    # The cut keeps a part of the same events, so the error of what is kept is the one that shows.
    ratio = np.where(known, after.counts / below, 0.0)
    error = np.where(known, after.errors / below, 0.0)
    points(axes, Spectrum(after.edges, ratio, error, 0.0, 0.0), colour=colour, label="")
    well_known = ratio[error < ratio / 3.0]
    return float(well_known.max()) if len(well_known) else 0.0


def _print_divergence(axes: Axes, entry: Mapping[str, Any]) -> None:
    text = f"JSD {with_interval(entry, style='mathtext')}"
    null = entry.get("null")
    if isinstance(null, Mapping) and null.get("value") is not None:
        text += f"\n(noise alone: {null['value']:.2g})"
    axes.text(0.04, 0.95, text, transform=axes.transAxes, ha="left", va="top", fontsize="small")
