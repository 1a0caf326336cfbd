"""The figures of a run that show how its scores depend on nuisances."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from hepdl.evaluate.efficiency import efficiencies_at
from hepdl.evaluate.spectra import background_spectra
from hepdl.pipeline.families import families, shown_models, strength_of
from hepdl.report.background_efficiency import draw_background_efficiency
from hepdl.report.frontier import Axis, Point, draw_frontier
from hepdl.report.sculpting import draw_sculpting
from hepdl.report.style import pretty

if TYPE_CHECKING:
    from hepdl.pipeline.drawing import Drawing

__all__ = ["bin_edges", "dependence_figures"]

Floats = npt.NDArray[np.float64]

N_BINS = 40
WORKING_POINT = "0.5"


def dependence_figures(drawing: Drawing) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """Yield section of the page, name of the file and how to draw it.

    Args:
        drawing: The run, its numbers and scores.
    """
    for pair in _pairs(drawing):
        key = pair.replace(", ", "_")
        yield "Dependence", f"frontier_{key}", partial(_against_variations, drawing, pair)
    for nuisance in _nuisances(drawing):
        if _inverses(drawing, nuisance):
            yield "Dependence", f"decorrelation_{nuisance}", partial(_frontier, drawing, nuisance)
        yield "Dependence", f"sculpting_{nuisance}", partial(_sculpting, drawing, nuisance)
        name = f"background_efficiency_{nuisance}"
        yield "Dependence", name, partial(_background_efficiency, drawing, nuisance)


def _nuisances(drawing: Drawing) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for entry in drawing.metrics["models"].values():
        found |= dict.fromkeys(entry.get("dependence_on", {}))
    return tuple(found)


def _pairs(drawing: Drawing) -> tuple[str, ...]:
    """Return the pairs of variations whose scores have been compared."""
    found: dict[str, None] = {}
    for entry in drawing.metrics["models"].values():
        found |= dict.fromkeys(entry.get("variation_ks", {}))
    return tuple(found)


def _inverses(drawing: Drawing, nuisance: str) -> dict[str, Mapping[str, Any]]:
    """Return 1 / JSD of each model that has one and a rejection at half of the signal."""
    found = {}
    for name, entry in drawing.metrics["models"].items():
        inverse = entry.get("dependence_on", {}).get(nuisance, {}).get("inverse_jsd", {})
        rejection = entry["background_rejection"].get(WORKING_POINT, {})
        if inverse.get("value") is not None and rejection.get("value") is not None:
            found[name] = inverse
    return found


def _frontier(drawing: Drawing, nuisance: str) -> Figure:
    models, inverses = drawing.metrics["models"], _inverses(drawing, nuisance)
    groups = {
        family: [
            Point(
                _ends(models[name]["background_rejection"][WORKING_POINT]),
                _ends(inverses[name]),
                _label(drawing, name, len(members)),
            )
            for name in members
            if name in inverses
        ]
        for family, members in families(drawing.config).items()
    }
    ceilings = [entry["ceiling"] for entry in inverses.values() if entry["ceiling"] is not None]
    unit = drawing.units((nuisance,))[nuisance]
    return draw_frontier(
        {family: points for family, points in groups.items() if points},
        x=Axis(r"Background rejection $R_{50}$ at $\varepsilon_{S}$ = 0.5"),
        y=Axis(f"1 / JSD of {pretty(nuisance, unit)} (base 2)"),
        limit=(float(np.median(ceilings)), "statistical ceiling") if ceilings else None,
    )


def _against_variations(drawing: Drawing, pair: str) -> Figure:
    models = drawing.metrics["models"]
    groups = {
        family: [
            Point(
                (max(models[name]["variation_ks"][pair]["value"], 1e-4), None, None),
                _ends(models[name]["auc"]),
                _label(drawing, name, len(members)),
            )
            for name in members
            if pair in models[name].get("variation_ks", {})
        ]
        for family, members in families(drawing.config).items()
    }
    nulls = [
        entry["variation_ks"][pair]["null"]["value"]
        for entry in models.values()
        if pair in entry.get("variation_ks", {})
    ]
    return draw_frontier(
        {family: points for family, points in groups.items() if points},
        x=Axis(f"Distance (KS) between the scores of {pair}"),
        y=Axis("Area under the ROC curve", is_logarithmic=False),
        bounds=[(float(np.median(nulls)), "mean of the null")],
    )


def _ends(entry: Mapping[str, float | None]) -> tuple[float, float | None, float | None]:
    value = entry["value"]
    assert value is not None
    return value, entry["low"], entry["high"]


def _label(drawing: Drawing, name: str, n_members: int) -> str:
    strength = strength_of(drawing.config, name)
    return f"{strength:g}" if strength is not None and n_members > 1 else ""


def _sculpting(drawing: Drawing, nuisance: str) -> Figure:
    values = drawing.dataset.column(nuisance)[drawing.index]
    edges = bin_edges(values[drawing.label == 0])
    names = shown_models(drawing.config, drawing.scores)
    models = {
        name: background_spectra(
            drawing.label,
            drawing.chosen(name)[drawing.index],
            values,
            drawing.weight,
            edges=edges,
            signal_efficiencies=drawing.config.evaluate.signal_efficiencies,
        )
        for name in names
    }
    numbers = drawing.metrics["models"]
    divergence = {
        name: numbers[name]["dependence_on"][nuisance]["jsd"]
        for name in names
        if "jsd" in numbers[name]["dependence_on"][nuisance]
    }
    unit = drawing.units((nuisance,))[nuisance]
    return draw_sculpting(models, label=pretty(nuisance, unit), divergence=divergence)


def _background_efficiency(drawing: Drawing, nuisance: str) -> Figure:
    values = drawing.dataset.column(nuisance)[drawing.index]
    edges = bin_edges(values[drawing.label == 0], n_bins=16)
    models = {
        name: {
            f"{efficiency:g}": efficiencies_at(
                drawing.label,
                drawing.chosen(name)[drawing.index],
                values,
                drawing.weight,
                edges=edges,
                signal_efficiency=efficiency,
            )["background"]
            for efficiency in drawing.config.evaluate.signal_efficiencies
        }
        for name in shown_models(drawing.config, drawing.scores)
    }
    unit = drawing.units((nuisance,))[nuisance]
    return draw_background_efficiency(models, label=pretty(nuisance, unit))


def bin_edges(values: Floats, n_bins: int = N_BINS) -> Floats:
    """Return equal bins over the range that holds nearly all values; integers get whole bins."""
    low, high = np.quantile(values, (0.002, 0.998))
    if np.array_equal(values, np.round(values)):
        step = max(1.0, np.ceil((high - low + 1) / n_bins))
        return np.arange(low - 0.5, high + step + 0.5, step)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, n_bins + 1)
