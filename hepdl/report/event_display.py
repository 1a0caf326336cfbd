"""An event as a physicist draws it: jets in the plane of eta and phi, and the assigned decay tree.

Both views share their colours: one for each branch of the decay, that is for the highest particle
above a leaf of which the mass is known (else for the mother). Jets that are nothing are grey.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepdl.kinematics import Decay, mass, pt
from hepdl.report.drawn_event import DrawnEvent
from hepdl.report.eta_phi_plane import draw_plane
from hepdl.report.style import empty_figure, note_above, pretty, styled

__all__ = ["DrawnEvent", "draw_events"]

_PALE = "#b8bec6"
_BEND = np.linspace(0.0, 1.0, 25)
_RIGHT, _WRONG, _UNKNOWN = "\N{CHECK MARK}", "\N{BALLOT X}", "?"


@styled
def draw_events(
    events: Mapping[str, DrawnEvent], *, jet_radius: float = 0.4, note: str = ""
) -> Figure:
    """Draw events, a row each: the plane of eta and phi, and the decay with its masses.

    Args:
        events: The event by what it is, e.g. ``"ttH"``.
        jet_radius: Radius of the circle around each jet.
        note: Small text above the first panel.
    """
    figure = empty_figure(12.2, 0.3 + 5.0 * len(events))
    grid = figure.add_gridspec(len(events), 2, width_ratios=(1.0, 1.25))
    for row, (name, event) in enumerate(events.items()):
        left, right = figure.add_subplot(grid[row, 0]), figure.add_subplot(grid[row, 1])
        draw_plane(left, event, jet_radius=jet_radius)
        _draw_decay(right, event)
        note_above(left, name)
        size = float(np.hypot(*event.missing))
        left.set_title(
            f"{len(event.jets)} jets, missing $p_{{T}}$ {size:.0f} GeV",
            loc="right",
            fontsize="small",
        )
        note_above(right, right=note if row == 0 else "")
    return figure


def _positions(decay: Decay) -> dict[str, tuple[float, float]]:
    """Return the place of everything: the root left, leaves right below each other."""
    height = {name: -float(row) for row, name in enumerate(decay.leaves)}
    for particle in decay.particles:
        height[particle.name] = float(np.mean([height[d] for d in particle.daughters]))
    column = {decay.root.name: 0}
    for particle in decay.particles[::-1]:
        column |= dict.fromkeys(particle.daughters, column[particle.name] + 1)
    last = max(column.values())
    return {
        name: (float(last if name in decay.leaves else column[name]), height[name])
        for name in decay.names
    }


def _links(decay: Decay) -> Iterator[tuple[str, str]]:
    for particle in decay.particles:
        for daughter in particle.daughters:
            yield particle.name, daughter


def _draw_decay(axes: Axes, event: DrawnEvent) -> None:
    """Draw the decay with the mass of each particle and the transverse momentum of each leaf."""
    decay, colours, places = event.decay, event.colours(), _positions(event.decay)
    bend = 3.0 * _BEND**2 - 2.0 * _BEND**3
    for mother, daughter in _links(decay):
        (x0, y0), (x1, y1) = places[mother], places[daughter]
        colour = colours.get(daughter, _PALE)
        axes.plot(x0 + _BEND * (x1 - x0), y0 + bend * (y1 - y0), color=colour, lw=2.0, zorder=1)
    momenta = dict(zip(decay.names, event.momenta(), strict=True))
    for row, particle in enumerate(decay.particles):
        verdict = _verdict(event, row)
        size = float(mass(momenta[particle.name]))
        axes.text(
            *places[particle.name],
            f"{pretty(particle.name)} {verdict}".rstrip() + f"\n{size:.0f} GeV",
            ha="center", va="center", fontsize="small", zorder=3,
            bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "linewidth": 1.4,
                  "edgecolor": colours.get(particle.name, _PALE),
                  "linestyle": "--" if verdict == _WRONG else "-"},
        )  # fmt: skip
    for leaf, name in enumerate(decay.leaves):
        x, y = places[name]
        axes.plot(x, y, "o", color=colours[name], markersize=6, zorder=2)
        text = f"{pretty(name)},  $p_{{T}}$ {float(pt(momenta[name])):.0f} GeV"
        jet = int(event.jet_of_leaf[leaf])
        if jet >= 0:
            text += f",  tag {event.b_tag[jet]}"
        axes.text(x + 0.1, y, text, ha="left", va="center", fontsize="small")
    axes.set_xlim(-0.45, max(x for x, _ in places.values()) + 1.75)
    axes.set_ylim(0.1 - len(decay.leaves), 0.6)
    axes.set_axis_off()
    notes = ["Jets: area of the disc, $p_{T}$; number, bin of the b-tag"]
    if event.is_right is not None:
        notes.append(f"{_RIGHT} right, {_WRONG} wrong, {_UNKNOWN} not known from truth")
    axes.text(
        0.0, 0.0, "\n".join(notes), transform=axes.transAxes, fontsize="x-small", va="bottom",
        color="#404040",
    )  # fmt: skip


def _verdict(event: DrawnEvent, row: int) -> str:
    if event.is_right is None:
        return ""
    if event.is_known is not None and not event.is_known[row]:
        return _UNKNOWN
    return _RIGHT if event.is_right[row] else _WRONG
