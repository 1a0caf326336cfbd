"""A jet as its clustering tree, and as constituents in the plane of eta and phi.

Both views share sizes and colours: the area of a point is its transverse momentum, its colour the
angle at which it splits (for a constituent: the angle at which its parent does).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hepdl.errors import DataError
from hepdl.report.style import empty_figure, note_above, styled

__all__ = ["DrawnTree", "draw_jet_trees"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Without its lightest tenth, which is hard to see on white.
_MAP = ListedColormap(colormaps["plasma_r"](np.linspace(0.12, 1.0, 256)), "angles")
_LEAST, _LARGEST = 0.01, 1.5
_ANGLES = LogNorm(_LEAST, _LARGEST)
# Area of a point that carries the whole momentum [pt^2], and of one that carries none.
_LARGE, _SMALL = 420.0, 6.0
# In the plane no node hides another, so that points may be larger.
_PLANE = 2.2
_WIDE, _NARROW = 7.0, 0.6
# Points of the curve that joins a parent to a child.
_BEND = np.linspace(0.0, 1.0, 17)


@dataclass(frozen=True)
class DrawnTree:
    """One jet's clustering tree in breadth-first order, as `hepdl.events.JetTrees` keeps it.

    Attributes:
        pt: Transverse momentum of each node [GeV].
        eta: Pseudorapidity.
        phi: Azimuth [rad].
        energy: Energy [GeV].
        depth: Distance from the root.
        is_inner: True for nodes with two children.

    Shapes:
        all ``(n_nodes,)``; the root comes first.
    """

    pt: Floats
    eta: Floats
    phi: Floats
    energy: Floats
    depth: Integers
    is_inner: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        n_inner = int(np.sum(self.is_inner))
        if len(self.depth) == 0 or len(self.depth) != 2 * n_inner + 1:
            message = (
                f"a tree with {n_inner} inner nodes has {2 * n_inner + 1} nodes, not "
                f"{len(self.depth)}; give the nodes of exactly one jet"
            )
            raise DataError(message)

    @classmethod
    def from_node_features(
        cls,
        features: npt.ArrayLike,
        depth: npt.ArrayLike,
        is_inner: npt.ArrayLike,
    ) -> DrawnTree:
        """Return the tree of one jet from the columns of `hepdl.kinematics.NODE_FEATURES`.

        Args:
            features: Unscaled features of the jet's nodes.
            depth: Distance of each node from the root.
            is_inner: True for nodes with two children.

        Shapes:
            features ``(n_nodes, 7)``, the others ``(n_nodes,)``.
        """
        columns = np.asarray(features, dtype=np.float64)
        return cls(
            pt=columns[:, 5],
            eta=columns[:, 1],
            phi=columns[:, 2],
            energy=columns[:, 3],
            depth=np.asarray(depth, dtype=np.int64),
            is_inner=np.asarray(is_inner, dtype=np.bool_),
        )

    def children(self) -> Integers:
        """Return the places of the two children of each node, -1 for constituents."""
        children = np.full((len(self.depth), 2), -1, dtype=np.int64)
        inner = np.flatnonzero(self.is_inner)
        # Breadth first: the children of the k-th inner node are the nodes 2 k + 1 and 2 k + 2.
        children[inner, 0] = 2 * np.arange(len(inner)) + 1
        children[inner, 1] = children[inner, 0] + 1
        return children

    def mass(self) -> float:
        """Return the mass of the jet [GeV]."""
        momentum = self.pt[0] * np.cosh(self.eta[0])
        return float(np.sqrt(max(self.energy[0] ** 2 - momentum**2, 0.0)))


@styled
def draw_jet_trees(
    jets: Mapping[str, DrawnTree], *, jet_radius: float | None = None, note: str = ""
) -> Figure:
    """Draw jets, a row each: the clustering tree, and the constituents in eta and phi.

    Args:
        jets: The tree by what the jet is, e.g. ``"W jet"``.
        jet_radius: Radius of the circle around the jet axis; None draws none.
        note: Small text above the first panel.
    """
    figure = empty_figure(12.2, 0.4 + 4.6 * len(jets))
    grid = figure.add_gridspec(len(jets), 2, width_ratios=(1.5, 1.0))
    everything = []
    for row, (name, jet) in enumerate(jets.items()):
        left, right = figure.add_subplot(grid[row, 0]), figure.add_subplot(grid[row, 1])
        angles = _angles(jet)
        _draw_tree(left, jet, angles)
        _draw_plane(right, jet, angles, jet_radius=jet_radius)
        size = f"$p_{{T}}$ = {jet.pt[0]:.0f} GeV, mass {jet.mass():.0f} GeV"
        left.set_title(name.replace("$", r"\$"), loc="left", fontweight="bold")
        n_constituents = int(np.sum(~jet.is_inner))
        left.set_title(f"{size}, {n_constituents} constituents", loc="right", fontsize="small")
        note_above(right, right=note if row == 0 else "")
        everything += [left, right]
    bar = figure.colorbar(
        ScalarMappable(_ANGLES, _MAP), ax=everything, shrink=0.6, aspect=34, pad=0.015
    )
    bar.set_label(r"$\Delta R$ between the two children", fontsize="small")
    bar.ax.tick_params(direction="out", which="both", left=False)
    return figure


def _angles(jet: DrawnTree) -> Floats:
    """Return the opening angle of each node's split; a constituent takes that of its parent."""
    children = jet.children()
    inner = np.flatnonzero(jet.is_inner)
    left, right = children[inner].T
    distance = np.hypot(jet.eta[left] - jet.eta[right], _wrapped(jet.phi[left] - jet.phi[right]))
    angles = np.full(len(jet.depth), np.nan)
    angles[inner] = distance
    for place in inner:
        for child in children[place]:
            if not jet.is_inner[child]:
                angles[child] = angles[place]
    clipped: Floats = np.clip(np.nan_to_num(angles, nan=_LEAST), _LEAST, _LARGEST)
    return clipped


def _wrapped(phi: Floats) -> Floats:
    wrapped: Floats = (phi + np.pi) % (2.0 * np.pi) - np.pi
    return wrapped


def _positions(jet: DrawnTree) -> Floats:
    """Return the horizontal place of each node: constituents side by side, parents between."""
    children = jet.children()
    inner = np.flatnonzero(jet.is_inner)
    n_leaves = np.where(jet.is_inner, 0, 1)
    # Children come after their parents, so walking backwards meets them first.
    for place in inner[::-1]:
        n_leaves[place] = n_leaves[children[place]].sum()
    first = np.zeros(len(jet.depth))
    for place in inner:
        left, right = children[place]
        first[left], first[right] = first[place], first[place] + n_leaves[left]
    positions = first + 0.5
    for place in inner[::-1]:
        positions[place] = positions[children[place]].mean()
    return positions


def _share(jet: DrawnTree) -> Floats:
    share: Floats = np.clip(jet.pt / max(float(jet.pt[0]), 1e-12), 0.0, 1.0)
    return share


def _links(jet: DrawnTree) -> tuple[Integers, Integers]:
    """Return parents and children of all links."""
    inner = np.flatnonzero(jet.is_inner)
    return np.repeat(inner, 2), jet.children()[inner].ravel()


def _draw_tree(axes: Axes, jet: DrawnTree, angles: Floats) -> None:
    x, y = _positions(jet), jet.depth.astype(np.float64)
    parents, children = _links(jet)
    bend = 3.0 * _BEND**2 - 2.0 * _BEND**3
    curves = np.empty((len(parents), len(_BEND), 2))
    curves[:, :, 0] = x[parents, None] + bend * (x[children] - x[parents])[:, None]
    curves[:, :, 1] = y[parents, None] + _BEND * (y[children] - y[parents])[:, None]
    share = _share(jet)
    axes.add_collection(
        LineCollection(
            list(curves),
            linewidths=_NARROW + _WIDE * share[children],
            colors=_MAP(_ANGLES(angles[parents])),
            alpha=0.75,
            capstyle="round",
        )
    )
    _scatter(axes, x, y, jet, angles)
    deepest = int(jet.depth.max())
    axes.set_ylim(deepest + 0.9, -0.9)
    axes.set_xlim(-0.6, float(np.sum(~jet.is_inner)) + 0.6)
    axes.set_xticks([])
    axes.tick_params(axis="x", which="both", bottom=False, top=False)
    axes.tick_params(axis="y", which="minor", left=False, right=False)
    axes.set_ylabel("Splittings from the root")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_plane(axes: Axes, jet: DrawnTree, angles: Floats, *, jet_radius: float | None) -> None:
    x, y = jet.eta - jet.eta[0], _wrapped(jet.phi - jet.phi[0])
    parents, children = _links(jet)
    lines = np.stack(
        [np.stack([x[parents], y[parents]], -1), np.stack([x[children], y[children]], -1)], axis=1
    )
    axes.add_collection(
        LineCollection(
            list(lines),
            linewidths=_NARROW + 0.6 * _WIDE * np.sqrt(_share(jet)[children]),
            colors="#c8cdd4",
            alpha=0.6,
            capstyle="round",
        )
    )
    leaves = ~jet.is_inner
    _scatter(axes, x, y, jet, angles, where=leaves, scale=_PLANE)
    axes.plot(0.0, 0.0, "+", color="#202020", markersize=9, markeredgewidth=1.2)
    reach = max(0.1, 1.12 * float(np.max(np.abs([x[leaves], y[leaves]]))))
    if jet_radius is not None:
        turn = np.linspace(0.0, 2.0 * np.pi, 181)
        circle = (jet_radius * np.cos(turn), jet_radius * np.sin(turn))
        axes.plot(*circle, color="#808080", linestyle=":", linewidth=1.0)
        reach = max(reach, 1.06 * jet_radius)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set_xlabel(r"$\eta$ from the jet axis")
    axes.set_ylabel(r"$\phi$ from the jet axis [rad]")


def _scatter(
    axes: Axes,
    x: Floats,
    y: Floats,
    jet: DrawnTree,
    angles: Floats,
    *,
    where: npt.NDArray[np.bool_] | None = None,
    scale: float = 1.0,
) -> None:
    chosen = np.ones(len(x), dtype=np.bool_) if where is None else where
    # Large points first, so that small ones stay visible.
    order = np.flatnonzero(chosen)[np.argsort(-jet.pt[chosen], kind="stable")]
    axes.scatter(
        x[order],
        y[order],
        s=scale * (_SMALL + _LARGE * _share(jet)[order]),
        c=angles[order],
        cmap=_MAP,
        norm=_ANGLES,
        edgecolors=["white" if inner else "#303030" for inner in jet.is_inner[order]],
        linewidths=0.6,
        zorder=3,
    )
