"""What independence of a nuisance costs: every model as a point, every scan of a strength as a line.

Reference:
    ATLAS Collaboration, ATL-PHYS-PUB-2018-014 (1 / JSD against background rejection at half of the signal, both
    logarithmic).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis as DrawnAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from hepdl.report.style import empty_figure, model_colours, note_above, plain, styled

__all__ = ["Axis", "Point", "draw_frontier"]

# Nine of them and ten colours: ninety families before two look alike.
_MARKERS = "osD^vP*X>"


@dataclass(frozen=True)
class Point:
    """A model: two numbers with the ends of their 68 % intervals; None where there is no end.

    Attributes:
        x: Value, low and high of the horizontal number.
        y: The same of the vertical one.
        label: Printed beside the point, e.g. the strength; empty for none.
    """

    x: tuple[float, float | None, float | None]
    y: tuple[float, float | None, float | None]
    label: str = ""


@dataclass(frozen=True)
class Axis:
    """How a number is drawn.

    Attributes:
        label: Below or beside the axis.
        is_logarithmic: Whether the axis is.
    """

    label: str
    is_logarithmic: bool = True


@styled
def draw_frontier(
    families: Mapping[str, Sequence[Point]],
    *,
    x: Axis,
    y: Axis,
    limit: tuple[float, str] | None = None,
    bounds: Sequence[tuple[float, str]] = (),
    note: str = "",
) -> Figure:
    """Draw a line through the points of each family, in their order.

    Args:
        families: The points of each scan; a model that is in no scan is a family of one.
        x: The horizontal number.
        y: The vertical number.
        limit: A value of y and its name: what statistics alone give; beyond it the figure is shaded.
        bounds: Values of x and their names: known limits, drawn as dotted lines.
        note: Small text above the axes.
    """
    figure = empty_figure(7.6, 5.8)
    axes = figure.add_subplot()
    colours = model_colours(families)
    for place, (name, points) in enumerate(families.items()):
        style = _MARKERS[place % len(_MARKERS)]
        _draw_family(axes, points, name=name, colour=colours[name], marker=style)
    axes.margins(0.08)
    for scale, axis in (("x", x), ("y", y)):
        if axis.is_logarithmic:
            getattr(axes, f"set_{scale}scale")("log")
            _label_decades(getattr(axes, f"{scale}axis"), axes, scale)
        getattr(axes, f"set_{scale}label")(axis.label)
    if limit is not None:
        _shade(axes, *limit)
    for value, text in bounds:
        axes.axvline(value, color="#808080", linestyle=":", linewidth=1.0)
        axes.text(
            value, 0.02, f" {text}", transform=axes.get_xaxis_transform(), rotation=90,
            color="#606060", fontsize="x-small", ha="right", va="bottom",
        )  # fmt: skip
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handlelength=1.6)
    note_above(axes, right=note)
    return figure


def _label_decades(axis: DrawnAxis, axes: Axes, scale: str) -> None:
    """Write numbers as they are spoken; between decades only where there are hardly any decades."""
    low, high = getattr(axes, f"get_{scale}lim")()
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    if high < 50 * low:

        def between(value: float, _: object) -> str:
            digit = round(value / 10 ** np.floor(np.log10(value) + 1e-9))
            return f"{value:g}" if digit in (2, 3, 5) else ""

        axis.set_minor_formatter(FuncFormatter(between))


def _draw_family(
    axes: Axes, points: Sequence[Point], *, name: str, colour: str, marker: str
) -> None:
    xs, ys = ([getattr(point, key)[0] for point in points] for key in "xy")
    axes.errorbar(
        xs,
        ys,
        xerr=_errors([point.x for point in points]),
        yerr=_errors([point.y for point in points]),
        color=colour,
        marker=marker,
        linestyle="-" if len(points) > 1 else "none",
        linewidth=1.1,
        elinewidth=0.8,
        markersize=5.5,
        label=plain(name),
    )
    for point in points:
        if point.label:
            axes.annotate(
                point.label, (point.x[0], point.y[0]), xytext=(4, 4), textcoords="offset points",
                fontsize=7, color=colour,
            )  # fmt: skip


def _errors(numbers: Sequence[tuple[float, float | None, float | None]]) -> np.ndarray:
    """Return the lengths below and above, ``(2, n_points)``; none where there is no end."""
    return np.array(
        [
            [0.0 if low is None else max(value - low, 0.0) for value, low, _ in numbers],
            [0.0 if high is None else max(high - value, 0.0) for value, _, high in numbers],
        ]
    )


def _shade(axes: Axes, value: float, text: str) -> None:
    low, high = axes.get_ylim()
    is_rising = value >= float(np.sqrt(abs(low * high))) if low > 0 else value >= 0.5 * (low + high)
    top = max(high, 1.3 * value) if is_rising else high
    bottom = low if is_rising else min(low, value / 1.3)
    axes.set_ylim(bottom, top)
    axes.axhspan(value, top if is_rising else bottom, color="#808080", alpha=0.15, linewidth=0)
    axes.text(
        0.01, value, text, transform=axes.get_yaxis_transform(), fontsize="x-small",
        color="#606060", va="bottom" if is_rising else "top",
    )  # fmt: skip
