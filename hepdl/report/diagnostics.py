"""How values and gradients flow through the layers of networks, and which learning rate they take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from hepdl.diagnose import Flow, LayerFlow, RateScan
from hepdl.report.layout import Cell, Column, Table
from hepdl.report.sentences import DASH
from hepdl.report.style import (
    NEUTRAL,
    empty_figure,
    grid_shape,
    legend,
    legend_above,
    model_colours,
    note_above,
    plain,
    styled,
)

__all__ = ["draw_flow", "draw_learning_rates", "flow_table", "verdict_table"]

Value = Callable[[LayerFlow], float | None]

# Title of the panel, value of a layer, whether the axis is logarithmic.
_PANELS: tuple[tuple[str, Value, bool], ...] = (
    ("Standard deviation", lambda layer: layer.std, True),
    ("Gradient norm", lambda layer: layer.gradient_norm, True),
    ("Update over weight", lambda layer: layer.update_ratio, True),
    ("Saturated fraction", lambda layer: layer.saturated, False),
    ("Dead fraction", lambda layer: layer.dead, False),
    # Of a single unit there is nothing to tell.
    ("Effective rank", lambda layer: layer.effective_rank if layer.n_units > 1 else None, True),
)
# Curves of several networks may lie on each other: the later ones let the earlier ones through.
_DASHES = ("-", "--")
_MARKERS = "os^Dv<>pP*"


@styled
def draw_flow(models: Mapping[str, Flow], *, order: Sequence[str] = (), note: str = "") -> Figure:
    """Draw what was measured against the number of the layer, a line a network.

    A value of zero lies outside of a logarithmic axis: it is a triangle on its lower edge. Saturated
    and dead fractions are left out where they are zero in every layer of every network.

    Args:
        models: What was measured of each network, by name.
        order: Names of all models of the run, so that each has its usual colour.
        note: Small text above the first panel, e.g. ``before training``.
    """
    panels = [
        panel
        for panel in _PANELS
        if panel is _PANELS[0] or any(_has_news(flow, panel) for flow in models.values())
    ]
    rows, columns = (1, 4) if len(panels) == 4 else grid_shape(len(panels))
    figure = empty_figure(0.4 + 3.9 * columns, 0.7 + 3.1 * rows)
    colours = model_colours(order or models)
    for place, (title, value, is_log) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, place + 1)
        if is_log:
            axes.set_yscale("log")
        zeros = []
        for number, (name, flow) in enumerate(models.items()):
            layers, values = _points(flow, value)
            if is_log:
                zeros += [(k, colours[name]) for k, v in zip(layers, values, strict=True) if v == 0]
                values = [v if v > 0 else math.nan for v in values]
            axes.plot(
                layers,
                values,
                _DASHES[number // 4 % len(_DASHES)],
                marker=_MARKERS[number % len(_MARKERS)],
                color=colours[name],
                markersize=4,
                linewidth=1.3,
                label=plain(name),
            )
        for k, colour in zeros:
            axes.plot(
                k, 0.02, "v", color=colour, transform=axes.get_xaxis_transform(), clip_on=False
            )
        _finish(axes, title, is_log=is_log, n_layers=max(len(f.layers) for f in models.values()))
        note_above(axes, right=note if place == 0 else "")
    if figure.axes:
        legend_above(figure, figure.axes[0])
    return figure


def _has_news(flow: Flow, panel: tuple[str, Value, bool]) -> bool:
    """Whether there is anything to draw; shares that are zero everywhere are nothing."""
    _, value, is_log = panel
    values = _points(flow, value)[1]
    return bool(values) if is_log else any(values)


def _points(flow: Flow, value: Value) -> tuple[list[int], list[float]]:
    """Return numbers of the layers that have a finite value, and the values."""
    found = [
        (number, float(found))
        for number, layer in enumerate(flow.layers, 1)
        if (found := value(layer)) is not None and math.isfinite(found)
    ]
    return [number for number, _ in found], [number for _, number in found]


def _finish(axes: Axes, title: str, *, is_log: bool, n_layers: int) -> None:
    axes.set_ylabel(title)
    axes.set_xlabel("Layer")
    axes.set_xlim(0.5, n_layers + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    if is_log:
        low, high = axes.get_ylim()
        # Two decades at least, so that there are ticks to read.
        if high < 100 * low:
            middle = math.sqrt(low * high)
            axes.set_ylim(middle / 10, middle * 10)
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        top = min(1.0, max(0.2, 1.2 * axes.dataLim.ymax))
        axes.set_ylim(-0.04 * top, 1.04 * top)
    axes.grid(visible=True, which="major", alpha=0.3)


@styled
def draw_learning_rates(scans: Mapping[str, RateScan], *, note: str = "") -> Figure:
    """Draw the loss after short trainings against their learning rate, a panel a network.

    Args:
        scans: What the trainings ended in, by name of the network.
        note: Small text above the first panel.
    """
    rows, columns = grid_shape(len(scans))
    figure = empty_figure(0.4 + 4.2 * columns, 0.3 + 3.4 * rows)
    colours = model_colours(scans)
    for place, (name, scan) in enumerate(scans.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.set_xscale("log")
        axes.axhline(scan.start, linestyle=":", color=NEUTRAL, label="before")
        losses = [value if math.isfinite(value) else math.nan for value in scan.losses]
        after = f"after {scan.n_steps} steps"
        axes.plot(scan.rates, losses, "o-", color=colours[name], markersize=4, label=after)
        # A training that diverges leaves the panel; its height would hide the rest.
        low = min([value for value in losses if math.isfinite(value)], default=scan.start)
        span = max(scan.start - low, 0.05 * abs(scan.start), 1e-12)
        if math.isfinite(span):
            axes.set_ylim(min(low, scan.start) - 0.2 * span, scan.start + 0.8 * span)
        if scan.suggested is not None:
            axes.axvline(
                scan.suggested, color="#404040", linewidth=1.1, label=f"rate {scan.suggested:.2g}"
            )
        axes.set_xlabel("Learning rate")
        axes.set_ylabel("Loss")
        legend(axes, "upper left")
        _whiten(axes)
        note_above(axes, name, note if place == 0 else "")
    return figure


def _whiten(axes: Axes) -> None:
    """Let the legend stand on white: the line of the suggested rate may run behind it."""
    found = axes.get_legend()
    if found is not None:
        found.set_frame_on(True)
        found.get_frame().set(facecolor="white", edgecolor="none", alpha=0.9)


def flow_table(flow: Flow, *, caption: str = "") -> Table:
    """Return what was measured of one network, a row a layer."""
    columns = (
        Column("layer", is_number=True),
        Column("weights"),
        Column("activation"),
        *(
            Column(title, is_number=True)
            for title in (
                *("units", "mean", "std", "saturated", "dead"),
                *("gradient", "weight norm", "update / weight", "eff. rank"),
            )
        ),
    )
    rows = tuple(
        (
            Cell(str(number)),
            Cell(layer.name),
            Cell(layer.activation or DASH),
            Cell(str(layer.n_units)),
            _cell(layer.mean),
            _cell(layer.std),
            _share(layer.saturated),
            _share(layer.dead),
            _cell(layer.gradient_norm),
            _cell(layer.weight_norm),
            _cell(layer.update_ratio),
            _cell(layer.effective_rank),
        )
        for number, layer in enumerate(flow.layers, 1)
    )
    return Table(columns, rows, caption)


def verdict_table(verdicts: Mapping[str, Mapping[str, Sequence[str]]]) -> Table:
    """Return the verdicts: by network, by moment, the sentences."""
    columns = (Column("network"), Column("when"), Column("verdict", is_long=True))
    rows = tuple(
        (Cell(name), Cell(moment), Cell("; ".join(sentences)))
        for name, moments in verdicts.items()
        for moment, sentences in moments.items()
    )
    return Table(columns, rows)


def _cell(value: float | None) -> Cell:
    if value is None:
        return Cell(DASH)
    return Cell(f"{value:.3g}" if np.isfinite(value) else "not finite")


def _share(value: float | None) -> Cell:
    return Cell(DASH if value is None else f"{100 * value:.1f} %")
