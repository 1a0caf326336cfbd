"""The objects of an event in the plane of eta and phi.

The plane is cut at the azimuth where most is empty, so that what belongs together is seen together;
a circle that crosses the cut all the same goes on at the other side.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from hepdl.kinematics import eta, phi, pt
from hepdl.report.drawn_event import DrawnEvent
from hepdl.report.style import NEUTRAL, pretty

__all__ = ["draw_plane"]

Floats = npt.NDArray[np.float64]
# Place and size of an object, its name and its colour.
Label = tuple[float, float, float, str, str]

# Jets of |eta| < 2.5 and their circles.
_LEAST_REACH = 3.0
# A name that has this much room needs no more.
_ENOUGH = 0.7
_QUARTERS = ("0", r"$\pi/2$", r"$\pm\pi$", r"$-\pi/2$")
_OUTLINE = [withStroke(linewidth=2.2, foreground="white")]
_TURNS = (-2.0 * np.pi, 0.0, 2.0 * np.pi)


def draw_plane(axes: Axes, event: DrawnEvent, *, jet_radius: float) -> None:
    """Draw the objects of an event in eta and phi.

    Args:
        axes: Where.
        event: The event.
        jet_radius: Radius of the dotted circle around a jet. The area of the disc within it is the
            jet's transverse momentum; that of the hardest jet fills it.
    """
    radius = jet_radius
    colours, start = event.colours(), _cut(event)
    leaf_of = {int(jet): leaf for leaf, jet in enumerate(event.jet_of_leaf) if jet >= 0}
    share = np.sqrt(pt(event.jets) / max(float(np.max(pt(event.jets), initial=0.0)), 1e-9))
    labels = []
    for jet, p4 in enumerate(event.jets):
        name = event.decay.leaves[leaf_of[jet]] if jet in leaf_of else ""
        colour = colours[name] if name else NEUTRAL
        x, y = _place(p4, start)
        for turn in _TURNS:
            disc = {"facecolor": colour, "linewidth": 0}
            ring = {"fill": False, "edgecolor": colour, "linewidth": 1.0, "linestyle": ":"}
            for size, style in (
                (radius, disc | {"alpha": 0.14}),
                (radius, ring),
                (radius * share[jet], disc | {"alpha": 0.85}),
            ):
                axes.add_patch(Circle((x, y + turn), size, **style))
        _write(axes, x, y, str(event.b_tag[jet]), size="small")
        labels.append((x, y, radius, pretty(name), colour))
    labels += _draw_others(axes, event, colours, start)
    reach = max(_LEAST_REACH, float(np.max(np.abs(eta(event.jets)), initial=0.0)) + radius)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(start, start + 2.0 * np.pi)
    axes.set_aspect("equal")
    _write_beside(axes, labels)
    quarters = np.arange(np.ceil(2.0 * start / np.pi), 2.0 * start / np.pi + 4.0)
    axes.set_yticks(0.5 * np.pi * quarters, [_QUARTERS[int(k) % 4] for k in quarters])
    axes.set_xlabel(r"$\eta$")
    axes.set_ylabel(r"$\phi$ [rad]")


def _cut(event: DrawnEvent) -> float:
    """Return the azimuth in the middle of the widest gap between objects, where the plane is cut."""
    objects = np.concatenate([event.jets, event.leaves, event.lepton[None]])
    angles = np.sort(np.append(phi(objects), np.arctan2(event.missing[1], event.missing[0])))
    gaps = np.diff(np.append(angles, angles[0] + 2.0 * np.pi))
    widest = int(np.argmax(gaps))
    cut = float(angles[widest] + 0.5 * gaps[widest])
    return cut if cut < 0.0 else cut - 2.0 * np.pi


def _place(p4: Floats, start: float) -> tuple[float, float]:
    """Return pseudorapidity, and azimuth above the cut."""
    return float(eta(p4)), start + float((phi(p4) - start) % (2.0 * np.pi))


def _draw_others(
    axes: Axes, event: DrawnEvent, colours: Mapping[str, str], start: float
) -> list[Label]:
    """Draw missing momentum, lepton, and leaves that are neither it nor a jet; return their labels."""
    angle = start + (float(np.arctan2(event.missing[1], event.missing[0])) - start) % (2.0 * np.pi)
    axes.axhline(angle, color="#404040", linestyle="--", linewidth=1.0, zorder=1)
    height = angle + (0.12 if angle < start + np.pi else -0.12)
    jets = np.array([_place(p4, start) for p4 in event.jets]).reshape(-1, 2)
    sides = {
        side: float(np.min(np.hypot(*(jets - (edge, height)).T), initial=_ENOUGH))
        for side, edge in (("right", 2.4), ("left", -2.4))
    }
    side = max(sides, key=lambda name: sides[name])
    axes.text(
        0.985 if side == "right" else 0.015, height, "missing $p_{T}$",
        transform=axes.get_yaxis_transform(), ha=side, va="center", fontsize="x-small",
        color="#404040", path_effects=_OUTLINE,
    )  # fmt: skip
    points = {
        name: (event.leaves[leaf], colours[name])
        for leaf, name in enumerate(event.decay.leaves)
        if event.jet_of_leaf[leaf] < 0
    }
    if not any(_is_same(p4, event.lepton) for p4, _ in points.values()):
        points["lepton"] = (event.lepton, NEUTRAL)
    labels = []
    for name, (p4, colour) in points.items():
        x, y = _place(p4, start)
        if _is_same(p4, event.lepton):
            axes.plot(x, y, "*", color=colour, ms=15, mec="#202020", mew=0.8, zorder=4)
        else:
            # What lies beyond the edge, as a neutrino may, is a triangle that points there.
            marker = "D" if abs(x) < _LEAST_REACH else ">" if x > 0.0 else "<"
            x = float(np.clip(x, 0.12 - _LEAST_REACH, _LEAST_REACH - 0.12))
            axes.plot(x, y, marker, color="white", ms=7, mec=colour, mew=1.8, zorder=4)
        labels.append((x, y, 0.1, pretty(name), colour))
    return labels


def _is_same(one: Floats, other: Floats) -> bool:
    return bool(np.allclose(one, other, rtol=1e-3))


def _write_beside(axes: Axes, labels: list[Label]) -> None:
    """Write the name of each object where it is farthest from the other objects and names."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    taken = [(x, y) for x, y, *_ in labels]
    for place, (x, y, radius, text, colour) in enumerate(labels):
        if not text:
            continue
        others = np.array(taken[:place] + taken[place + 1 :]).reshape(-1, 2)
        half = 0.05 * len(text)
        aside, above = radius + 0.08 + half, radius + 0.14
        within = float(np.clip(x, left + half, right - half))
        beside = [(within, y + above), (within, y - above), (x + aside, y), (x - aside, y)]
        free = [
            float(np.min(np.hypot(*(others - spot).T), initial=_ENOUGH))
            if left + half <= spot[0] <= right - half and bottom + 0.1 < spot[1] < top - 0.1
            else -1.0
            for spot in beside
        ]
        taken.append(beside[int(np.argmax(free))])
        _write(axes, *taken[-1], text, colour=colour)


def _write(
    axes: Axes, x: float, y: float, text: str, *, colour: str = "#202020", size: str = "x-small"
) -> None:
    axes.text(
        x, y, text, ha="center", va="center", fontsize=size, color=colour, fontweight="bold",
        path_effects=_OUTLINE, zorder=5, clip_on=True,
    )  # fmt: skip
