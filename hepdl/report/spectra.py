"""Spectra: input features, and the flattened variables before and after the weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepdl.evaluate.spectra import Spectrum
from hepdl.report.style import (
    BACKGROUND,
    CLASS_COLOURS,
    empty_figure,
    grid_shape,
    legend,
    model_colours,
    note_above,
    plain,
    pretty,
    styled,
)

__all__ = ["draw_features", "draw_flattening", "points", "shape", "steps"]

Classes = Mapping[str, Spectrum]


def shape(spectrum: Spectrum) -> Spectrum | None:
    """Return the density of a spectrum, or None if its weights have no positive sum."""
    total = float(spectrum.counts.sum()) + spectrum.underflow + spectrum.overflow
    return spectrum.density() if total > 0.0 else None


def steps(
    axes: Axes, spectrum: Spectrum, *, colour: str | None, label: str, fill: bool = False
) -> None:
    """Draw a histogram as a line, over a light filling if wanted."""
    if fill:
        axes.stairs(spectrum.counts, spectrum.edges, fill=True, color=colour, alpha=0.25, lw=0)
    axes.stairs(spectrum.counts, spectrum.edges, color=colour, label=label, linewidth=1.4)


def points(axes: Axes, spectrum: Spectrum, *, colour: str | None, label: str) -> None:
    """Draw a histogram as points with errors; empty bins get none."""
    filled = (spectrum.counts != 0.0) | (spectrum.errors > 0.0)
    centres = 0.5 * (spectrum.edges[1:] + spectrum.edges[:-1])
    axes.errorbar(
        centres[filled],
        spectrum.counts[filled],
        yerr=spectrum.errors[filled],
        fmt="o",
        color=colour,
        markersize=3.2,
        elinewidth=1.0,
        label=label,
    )


@styled
def draw_features(
    features: Mapping[str, Classes], *, units: Mapping[str, str] | None = None, note: str = ""
) -> Figure:
    """Draw the distribution of each input feature for each class, normalised.

    Args:
        features: Spectra by class, by feature.
        units: Unit of each feature.
        note: Small text above the first panel.
    """
    rows, columns = grid_shape(len(features))
    figure = empty_figure(0.4 + 3.7 * columns, 3.2 * rows)
    for place, (name, classes) in enumerate(features.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        _draw_shapes(axes, classes, label=pretty(name, (units or {}).get(name, "")))
        legend(axes, "upper right")
        note_above(axes, right=note if place == 0 else "")
    return figure


@styled
def draw_flattening(
    variables: Mapping[str, tuple[Classes, Classes]],
    *,
    units: Mapping[str, str] | None = None,
    note: str = "",
) -> Figure:
    """Draw the variables whose spectra are made equal, before and after the weights.

    Below each spectrum stands signal over background: after the weights it should be one.

    Args:
        variables: Spectra by class before the weights, and after them, by variable.
        units: Unit of each variable.
        note: Small text above the first panel.
    """
    figure = empty_figure(0.4 + 4.2 * len(variables), 7.6)
    grid = figure.add_gridspec(4, len(variables), height_ratios=(2.4, 1.0, 2.4, 1.0))
    for column, (name, stages) in enumerate(variables.items()):
        label = pretty(name, (units or {}).get(name, ""))
        for stage, (when, classes) in enumerate(zip(("before", "after"), stages, strict=True)):
            upper = figure.add_subplot(grid[2 * stage, column])
            lower = figure.add_subplot(grid[2 * stage + 1, column], sharex=upper)
            _draw_shapes(upper, classes, label="")
            upper.tick_params(labelbottom=False)
            legend(upper, "upper right", ncols=2)
            note_above(upper, f"{when} the weights", note if column == stage == 0 else "")
            _draw_class_ratio(lower, classes)
            lower.set_xlabel(label)
    return figure


def _draw_shapes(axes: Axes, classes: Classes, *, label: str) -> None:
    others = model_colours(name for name in classes if name not in CLASS_COLOURS)
    highest = 0.0
    for name, spectrum in classes.items():
        colour = CLASS_COLOURS.get(name) or others[name]
        density = shape(spectrum)
        axes.set_xlim(spectrum.edges[0], spectrum.edges[-1])
        if density is None:
            axes.plot([], [], color=colour, label=f"{plain(name)} (nothing there)")
            continue
        steps(axes, density, colour=colour, label=plain(name), fill=True)
        highest = max(highest, float(density.counts.max()))
    axes.set_ylim(0.0, 1.4 * highest if highest > 0.0 else 1.0)
    axes.set_xlabel(label)
    axes.set_ylabel("Density")


def _draw_class_ratio(axes: Axes, classes: Classes) -> None:
    signal, background = (
        shape(classes[name]) if name in classes else None for name in ("signal", "background")
    )
    axes.axhline(1.0, color=BACKGROUND, linewidth=1.0)
    axes.set_ylim(0.0, 2.0)
    axes.set_ylabel("signal / bkg.", fontsize="small", loc="center")
    if signal is None or background is None:
        return
    known = background.counts > 0.0
    below = np.where(known, background.counts, 1.0)
    ratio = signal.counts / below
    # Both classes are independent samples: relative errors in quadrature.
    error = np.hypot(signal.errors, ratio * background.errors) / below
    pulled = Spectrum(signal.edges, np.where(known, ratio, 0.0), np.where(known, error, 0.0), 0, 0)
    points(axes, pulled, colour=CLASS_COLOURS["signal"], label="")
