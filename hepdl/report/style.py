"""How every figure looks: mplhep's ROOT style at the size of a page, colours, and how it is saved.

Reference:
    A. Novak et al., mplhep, doi:10.5281/zenodo.3766157 (style and fonts); M. A. Petroff, "Accessible
    color sequences for data visualization", arXiv:2107.02270 (the cycle of ten colours).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib as mpl
import mplhep
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.rcsetup import cycler

from hepdl.errors import EnvironmentFailure

__all__ = [
    "BACKGROUND",
    "CLASS_COLOURS",
    "NEUTRAL",
    "SIGNAL",
    "context",
    "empty_figure",
    "grid_shape",
    "legend",
    "legend_above",
    "model_colours",
    "model_lines",
    "note_above",
    "plain",
    "pretty",
    "save",
    "stacked",
    "styled",
]

P = ParamSpec("P")
R = TypeVar("R")
Corner = Literal["upper left", "upper right", "lower right"]

_CYCLE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#832db6",
    "#94a4a2",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
SIGNAL, BACKGROUND, NEUTRAL = "#3f90da", "#bd1f01", "#717581"
CLASS_COLOURS = {"signal": SIGNAL, "background": BACKGROUND}

# mplhep draws for 10 x 10 inch with a font of 26 pt; a page wants about 12 pt at half that size.
_PAGE = {
    "font.size": 12.0,
    # The second family lends the glyphs that the first one has not.
    "font.family": ["TeX Gyre Heros", "DejaVu Sans"],
    "figure.figsize": (6.0, 5.0),
    "figure.dpi": 100.0,
    "savefig.dpi": 160.0,
    "axes.linewidth": 1.0,
    "axes.unicode_minus": True,
    "axes.titlesize": "medium",
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.0,
    "xtick.major.size": 6.0,
    "xtick.minor.size": 3.0,
    "ytick.major.size": 6.0,
    "ytick.minor.size": 3.0,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "xtick.minor.width": 0.6,
    "ytick.minor.width": 0.6,
    "legend.fontsize": "small",
    "legend.labelspacing": 0.35,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "axes.prop_cycle": cycler(color=_CYCLE),
}

_LABELS = {
    "jet_pt": "Jet $p_{T}$",
    "jet_eta": "Jet $\\eta$",
    "jet_phi": "Jet $\\phi$",
    "jet_mass": "Jet mass",
    "jet_energy": "Jet energy",
    "soft_drop_mass": "Soft-drop mass",
    "tau1": "$\\tau_{1}$",
    "tau2": "$\\tau_{2}$",
    "tau3": "$\\tau_{3}$",
    "tau21": "$\\tau_{21}$",
    "tau32": "$\\tau_{32}$",
    "n_constituents": "Number of constituents",
    "pt": "$p_{T}$",
    "eta": "$\\eta$",
    "phi": "$\\phi$",
    "mass": "Mass",
    "energy": "Energy",
}


def context() -> AbstractContextManager[None]:
    """Return the context in which figures are made and saved; it leaves no setting behind."""
    settings: dict[Any, Any] = {**mplhep.style.ROOT, **_PAGE}
    return mpl.rc_context(settings)


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a drawing function work in `context`."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with context():
            return draw(*args, **kwargs)

    return wrapper


def model_colours(names: Iterable[str]) -> dict[str, str]:
    """Return one colour a model, by its place; after ten the colours begin again.

    >>> model_colours(["recnn", "mlp"])
    {'recnn': '#3f90da', 'mlp': '#ffa90e'}
    """
    return {name: _CYCLE[place % len(_CYCLE)] for place, name in enumerate(names)}


def model_lines(names: Iterable[str]) -> dict[str, str]:
    """Return one style of line a model: those of a colour that has been before are dash-dotted.

    >>> list(model_lines(map(str, range(11))).values())[9:]
    ['-', '-.']
    """
    styles = ("-", "-.", ":")
    return {name: styles[place // len(_CYCLE) % len(styles)] for place, name in enumerate(names)}


def grid_shape(n_panels: int, *, most: int = 3) -> tuple[int, int]:
    """Return rows and columns that leave the fewest panels empty, wider than high.

    >>> [grid_shape(n) for n in (1, 2, 3, 4, 5)]
    [(1, 1), (1, 2), (1, 3), (2, 2), (2, 3)]
    """
    columns = 2 if n_panels == 4 and most >= 2 else max(1, min(n_panels, most))
    return -(-n_panels // columns), columns


def plain(text: str) -> str:
    """Return a name of the user as matplotlib text: a dollar is a dollar and starts no formula."""
    return text.replace("$", r"\$")


def pretty(name: str, unit: str = "") -> str:
    r"""Return an axis label for a feature: the usual symbol where there is one, and the unit.

    >>> pretty("jet_pt", "GeV")
    'Jet $p_{T}$ [GeV]'
    >>> pretty("width_of_jet")
    'width of jet'
    """
    label = _LABELS.get(name) or plain(name).replace("_", " ")
    return f"{label} [{plain(unit)}]" if unit not in ("", "1") else label


def empty_figure(width: float = 6.0, height: float = 5.0) -> Figure:
    """Return a figure without axes; sizes in inches. Call it inside `context`."""
    return Figure(figsize=(width, height), layout="constrained")


def stacked(figure: Figure) -> None:
    """Let panels that share a horizontal axis stand close to each other."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(hspace=0.0, h_pad=0.02)


def legend(axes: Axes, loc: Corner = "upper right", *, ncols: int = 1) -> None:
    """Add the legend of some axes; however long its names, it does not squeeze the axes."""
    found = axes.legend(loc=loc, ncols=ncols, columnspacing=1.0)
    found.set_in_layout(False)


def legend_above(figure: Figure, axes: Axes) -> None:
    """Write the legend of some axes over the whole figure, in as many columns as fit its width."""
    handles, names = axes.get_legend_handles_labels()
    # A letter of small type is about 0.085 inch wide, the handle and its space 0.6 inch.
    width = 0.6 + 0.085 * max(map(len, names), default=1)
    columns = max(1, min(len(names), int(figure.get_figwidth() / width)))
    if handles:
        figure.legend(handles, names, loc="outside upper center", ncols=columns)


def note_above(axes: Axes, left: str = "", right: str = "") -> None:
    """Write above the axes: what the panel shows (bold, left), and of what sample (right)."""
    if left:
        axes.set_title(plain(left), loc="left", fontsize="medium", fontweight="bold")
    if right:
        axes.set_title(plain(right), loc="right", fontsize="small", color="#404040")


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``name.png`` and ``name.pdf``, each whole or not at all; return both paths.

    The same figure gives the same bytes: neither file holds the time or the version.

    Raises:
        EnvironmentFailure: The folder cannot be written.
    """
    metadata: Mapping[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Creator": "hepdl", "Producer": None},
    }
    paths = []
    with context():
        for kind, content in metadata.items():
            path = folder / f"{name}.{kind}"
            temporary = folder / f".{name}.{os.getpid()}.{kind}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                figure.savefig(temporary, format=kind, metadata=content)
                temporary.replace(path)
            except OSError as error:
                message = f"cannot write the figure {path}: {error.strerror or error}"
                raise EnvironmentFailure(message) from error
            finally:
                if temporary.exists():
                    temporary.unlink()
            paths.append(path)
    return paths[0], paths[1]
