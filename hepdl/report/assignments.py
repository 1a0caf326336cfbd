"""How often each method finds the particles of a decay, by number of jets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepdl.evaluate.assignments import WHOLE_EVENT, AssignmentEfficiency
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.report.style import (
    empty_figure,
    grid_shape,
    legend_above,
    model_colours,
    note_above,
    plain,
    pretty,
    styled,
)

__all__ = ["draw_assignment_efficiencies"]

Floats = npt.NDArray[np.float64]
Efficiencies = Mapping[str, Mapping[str, AssignmentEfficiency]]

_ALL = "all"


@styled
def draw_assignment_efficiencies(
    methods: Mapping[str, Efficiencies], *, label: str = "Number of jets", note: str = ""
) -> Figure:
    """Draw the efficiencies with 68 % intervals, a panel each particle and one for the whole event.

    Short lines above the points show how often a right candidate was there to be chosen. Methods
    may differ in their particles and groups; the first one decides what is drawn.

    Args:
        methods: What `hepdl.evaluate.assignments.assignment_efficiencies` gives, by method.
        label: What the groups are.
        note: Small text above the first panel.
    """
    groups = next(iter(methods.values()), {})
    particles = tuple(next(iter(groups.values()), {}))
    rows, columns = grid_shape(len(particles))
    figure = empty_figure(0.4 + 4.0 * columns, 0.5 + 3.5 * rows)
    for place, particle in enumerate(particles):
        axes = figure.add_subplot(rows, columns, place + 1)
        _draw_particle(axes, methods, tuple(groups), particle)
        axes.set_xlabel(label)
        name = "whole event" if particle == WHOLE_EVENT else pretty(particle)
        # The names may hold formulae of ours; the user's own were made plain.
        axes.set_title(name, loc="left", fontsize="medium", fontweight="bold")
        note_above(axes, right=note if place == 0 else "")
        if place == 0:
            legend_above(figure, axes)
    return figure


def _draw_particle(
    axes: Axes, methods: Mapping[str, Efficiencies], groups: Sequence[str], particle: str
) -> None:
    colours = model_colours(methods)
    ticks = np.arange(len(groups), dtype=np.float64)
    highest, has_ceiling = 0.0, False
    for place, (name, efficiencies) in enumerate(methods.items()):
        # Methods side by side, so that their errors can be told apart.
        where = ticks + 0.7 * ((place + 1.0) / (len(methods) + 1.0) - 0.5)
        found = [efficiencies.get(group, {}).get(particle) for group in groups]
        value, low, high = _columns([None if e is None else e.efficiency for e in found])
        axes.errorbar(
            where,
            value,
            yerr=np.maximum([value - low, high - value], 0.0),
            fmt="o",
            color=colours[name],
            markersize=4.5,
            elinewidth=1.4,
            label=plain(name),
        )
        ceiling, _, _ = _columns([None if e is None else e.ceiling for e in found])
        half = 0.3 / (len(methods) + 1.0)
        axes.hlines(ceiling, where - half, where + half, color=colours[name], linewidth=2.0)
        has_ceiling = has_ceiling or bool(np.isfinite(ceiling).any())
        highest = max(highest, float(np.max(np.nan_to_num([high, ceiling]), initial=0.0)))
    if has_ceiling:
        axes.hlines(
            [], 0.0, 0.0, color="#606060", linewidth=2.0, label="right one among candidates"
        )
    if _ALL in groups[1:]:
        axes.axvline(groups.index(_ALL) - 0.5, color="#a0a0a0", linestyle=":", linewidth=1.0)
    _write_known(axes, list(methods.values()), groups, particle)
    axes.set_xticks(ticks, [plain(group) for group in groups])
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_ylim(0.0, min(1.25 * highest, 1.15) if highest > 0.0 else 1.0)
    axes.set_ylabel("Efficiency")
    axes.grid(visible=True, which="major", axis="y", alpha=0.35)


def _columns(intervals: Sequence[Interval | None]) -> tuple[Floats, Floats, Floats]:
    """Return values and ends; nan where there is none."""
    rows = [
        (np.nan, np.nan, np.nan) if one is None else (one.value, one.low, one.high)
        for one in intervals
    ]
    value, low, high = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return value, low, high


def _write_known(
    axes: Axes, methods: Sequence[Efficiencies], groups: Sequence[str], particle: str
) -> None:
    """Write in how many events truth can tell: it is the same for all methods."""
    group = _ALL if _ALL in groups else groups[-1]
    share = methods[0][group][particle].known.value
    if np.isfinite(share):
        axes.text(
            0.03, 0.95, f"known in {100.0 * share:.0f} % of events", transform=axes.transAxes,
            ha="left", va="top", fontsize="x-small", color="#404040",
        )  # fmt: skip
