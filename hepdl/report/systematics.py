"""What a variation of the events does to the scores: spectra, and ratios to the nominal ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepdl.evaluate.variations import VariationRatio, VariedSpectra
from hepdl.report.numbers import with_error
from hepdl.report.spectra import steps
from hepdl.report.style import (
    CLASS_COLOURS,
    empty_figure,
    grid_shape,
    legend,
    model_colours,
    note_above,
    plain,
    stacked,
    styled,
)

__all__ = ["draw_variations"]

_LINES = ("--", ":", "-.")
_MARKERS = ("^", "v", "s", "D", "o")
_BAND = "#c9ced6"


@styled
def draw_variations(
    models: Mapping[str, Mapping[str, VariedSpectra]], *, label: str = "Score", note: str = ""
) -> Figure:
    """Draw the spectra of each class, normalised, and below variation over nominal; a column a model.

    Spectra are normalised to the nominal sum of weights, ratios are those of the sums of weights: a
    change of the number of events shows. The band is the Monte-Carlo-statistical error of the
    nominal spectrum, the bars are that of the ratio, which is smaller since events are shared.

    Args:
        models: `hepdl.evaluate.variations.varied_spectra` by class, by model.
        label: Label of the horizontal axis.
        note: Small text above the first panel.
    """
    rows, columns = grid_shape(len(models))
    n_classes = max((len(classes) for classes in models.values()), default=0)
    rows = max(rows, 1)
    figure = empty_figure(0.4 + 4.4 * columns, 0.4 + rows * (2.9 + 1.5 * n_classes))
    stacked(figure)
    heights = (2.6, *(1.3,) * n_classes) * rows
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for place, (name, classes) in enumerate(models.items()):
        block, column = divmod(place, columns)
        start = block * (1 + n_classes)
        upper = figure.add_subplot(grid[start, column])
        _draw_spectra(upper, classes)
        note_above(upper, name, note if place == 0 else "")
        lower = upper
        for row, (kind, spectra) in enumerate(classes.items(), start=start + 1):
            lower.tick_params(labelbottom=False)
            lower = figure.add_subplot(grid[row, column], sharex=upper)
            _draw_ratios(lower, spectra, colour=_colours(classes)[kind])
            lower.set_ylabel(f"{plain(kind)}\nvaried / nom.", fontsize="x-small", loc="center")
        lower.set_xlabel(label)
    return figure


def _colours(classes: Mapping[str, VariedSpectra]) -> dict[str, str]:
    return {**model_colours(classes), **CLASS_COLOURS}


def _draw_spectra(axes: Axes, classes: Mapping[str, VariedSpectra]) -> None:
    """Draw nominal spectra filled and variations as broken lines."""
    highest = 0.0
    for kind, spectra in classes.items():
        colour, nominal = _colours(classes)[kind], spectra.nominal
        total = float(nominal.counts.sum()) + nominal.underflow + nominal.overflow
        scale = 1.0 / (total * np.diff(nominal.edges)) if total > 0.0 else 0.0
        for name, spectrum in {plain(kind): nominal, **spectra.varied}.items():
            density = replace(spectrum, counts=spectrum.counts * scale)
            if spectrum is nominal:
                steps(axes, density, colour=colour, label=name, fill=True)
            else:
                line = _LINES[list(spectra.varied).index(name) % len(_LINES)]
                axes.stairs(density.counts, density.edges, color=colour, ls=line, lw=1.2)
            highest = max(highest, float(density.counts.max()))
        axes.set_xlim(nominal.edges[0], nominal.edges[-1])
    names = tuple(dict.fromkeys(name for spectra in classes.values() for name in spectra.varied))
    for place, name in enumerate(names):
        axes.plot(
            [], [], _MARKERS[place % len(_MARKERS)], ls=_LINES[place % len(_LINES)], lw=1.2, ms=4.0,
            color="#404040", mfc="#404040" if place % 2 == 0 else "white", label=plain(name),
        )  # fmt: skip
    axes.set_ylim(0.0, (1.5 + 0.07 * len(names)) * highest if highest > 0.0 else 1.0)
    axes.set_ylabel("Density")
    legend(axes, "upper right", ncols=2)
    axes.text(
        0.97, 0.8, "\n".join(_changes(classes, name) for name in names),
        transform=axes.transAxes, ha="right", va="top", fontsize="x-small", color="#404040",
    )  # fmt: skip


def _draw_ratios(axes: Axes, spectra: VariedSpectra, *, colour: str) -> None:
    """Draw the ratio of each variation, over the error of the nominal spectrum."""
    nominal = spectra.nominal
    known = nominal.counts > 0.0
    relative = np.where(known, nominal.errors / np.where(known, nominal.counts, 1.0), 0.0)
    axes.stairs(1.0 + relative, nominal.edges, baseline=1.0 - relative, fill=True, color=_BAND)
    axes.axhline(1.0, color="#808080", linewidth=1.0)
    widths = np.diff(nominal.edges)
    reach = 0.05
    for place, ratio in enumerate(spectra.ratios.values()):
        # Variations side by side within the bin.
        share = (place + 1.0) / (len(spectra.ratios) + 1.0)
        where = nominal.edges[:-1] + widths * share
        axes.errorbar(
            where[known],
            ratio.value[known],
            yerr=ratio.error[known],
            fmt=_MARKERS[place % len(_MARKERS)],
            color=colour,
            markerfacecolor=colour if place % 2 == 0 else "white",
            markersize=4.0,
            elinewidth=1.0,
        )
        reach = max(reach, _reach(ratio))
    axes.set_ylim(1.0 - 1.15 * reach, 1.0 + 1.15 * reach)
    axes.grid(visible=True, which="major", axis="y", alpha=0.35)


def _changes(classes: Mapping[str, VariedSpectra], name: str) -> str:
    """Return by how much a variation changes the sum of weights of each class, in per cent."""
    texts = []
    for kind, spectra in classes.items():
        if name in spectra.ratios:
            total = spectra.ratios[name].total
            change, error = 100.0 * (total.value - 1.0), 50.0 * (total.high - total.low)
            texts.append(f"{plain(kind)} ({with_error(change, error, signed=True)}) %")
    return f"{plain(name)}: {', '.join(texts)}".replace(" (-", " (\N{MINUS SIGN}")


def _reach(ratio: VariationRatio) -> float:
    """Return how far from one the bins lie whose ratio is known to a third."""
    away = np.abs(ratio.value - 1.0) + ratio.error
    return float(np.max(away[ratio.error < 1.0 / 3.0], initial=0.0))
