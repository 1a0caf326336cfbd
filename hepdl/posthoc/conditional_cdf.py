"""Conditional CDF: a score that has the same distribution at every value of the nuisances.

The new score is the distribution function of the background's old score at the event's own nuisances. For
background it is uniform whatever they are; a cut on it keeps the same share of background everywhere. At
fixed nuisances it rises with the old score, so no ROC curve at fixed nuisances changes. The nuisances must
be known wherever the map is applied.

Kinds:

* ``linear``: minus a line in the nuisances, then the distribution function of all (DDT).
* ``knn``: tables of the nearest events at centres, interpolated (the default).
* ``quantile``: quantile regression on splines.
* ``flow``: a monotone spline whose knots depend on the nuisances, fitted by likelihood.

With a ``strength`` below 1 the logit of the new score is mixed with that of its rank among all events: less
flat, and stronger.

Whole numbers with few values are categories: each value (of several such nuisances, each combination) has a
map of its own, against the other nuisances or, without any, plain ranks. A value that was not fitted takes
the map of the nearest one. Outside of the range of what was fitted the nearest map holds.

Equal scores share the middle of their step, so that a score with few values, of trees, say, is as flat as
its steps allow. Weights of either sign enter as they are (sums are made to rise), but for ``quantile``,
which takes their absolute values.

Reference:
    S. Klein, T. Golling, "Decorrelation with conditional normalizing flows", arXiv:2211.02486; J. Dolen
    et al., JHEP 05 (2016) 156, arXiv:1603.00027 (DDT).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from hepdl.errors import DataError, unknown_name
from hepdl.posthoc.conditional.flow import Flow, FlowOptions
from hepdl.posthoc.conditional.linear import Line, LineOptions
from hepdl.posthoc.conditional.neighbours import NeighbourOptions, NeighbourTables
from hepdl.posthoc.conditional.quantiles import QuantileOptions, Quantiles
from hepdl.posthoc.conditional.ranks import Ranks
from hepdl.posthoc.inputs.nuisances import (
    FEWEST,
    BackgroundEvents,
    as_nuisances,
    check_background,
    check_scores,
)
from hepdl.posthoc.inputs.options import check_share, check_whole

__all__ = ["ConditionalCDF"]

Floats = npt.NDArray[np.float64]


class Conditional(Protocol):
    """What is fitted to the events of one category."""

    @classmethod
    def fit(cls, events: BackgroundEvents, options: Any, *, seed: int) -> Conditional:
        """Return the map of some events."""

    def cdf(self, scores: Floats, nuisance: Floats) -> Floats:
        """Return the distribution function of each score at its nuisances."""

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Conditional:
        """Return the map that ``as_dict`` wrote down."""


KINDS: dict[str, tuple[type[Conditional], type[Any]]] = {
    "knn": (NeighbourTables, NeighbourOptions),
    "quantile": (Quantiles, QuantileOptions),
    "flow": (Flow, FlowOptions),
    "linear": (Line, LineOptions),
}


# Of all kinds.
OPTIONS = ("kind", "seed", "max_categories", "strength")
# As near to 0 and 1 as a rank is taken to be where logits are mixed.
TINY = 1e-15


@dataclass(frozen=True)
class Cell:
    """The events of one category.

    Attributes:
        values: Of the nuisances that are categories.
        columns: Which nuisances the map depends on; those that vary in it.
        map: Of these; plain ranks if there are none.
    """

    values: tuple[float, ...]
    columns: tuple[int, ...]
    map: Conditional | Ranks

    def cdf(self, scores: Floats, nuisance: Floats) -> Floats:
        """Return the distribution function of each score at its nuisances."""
        if isinstance(self.map, Ranks):
            return self.map.at(scores)
        return self.map.cdf(scores, nuisance[:, list(self.columns)])


@dataclass(frozen=True)
class ConditionalCDF:
    """The distribution function of the background's score at given nuisances.

    Attributes:
        kind: ``knn``, ``quantile``, ``flow`` or ``linear``.
        spread: What counts as one step of each nuisance, where the nearest category is looked for.
        categories: Which nuisances are categories.
        cells: One for each category; a single one without.
        strength: How much of the way from the rank among all events to that at the nuisances is gone.
        ranks: Among all events; None at full strength.

    Shapes:
        spread: ``(n_nuisances,)``.
    """

    kind: str
    spread: Floats
    categories: tuple[int, ...]
    cells: tuple[Cell, ...]
    strength: float = 1.0
    ranks: Ranks | None = None

    @classmethod
    def fit(
        cls,
        scores: npt.ArrayLike,
        nuisance: npt.ArrayLike,
        event_weight: npt.ArrayLike | None = None,
        *,
        kind: str = "knn",
        seed: int = 0,
        max_categories: int = 10,
        strength: float = 1.0,
        **options: Any,
    ) -> ConditionalCDF:
        """Return the map of background events that the model was not trained on.

        Args:
            scores: One finite score per event.
            nuisance: One column a nuisance, or the values of a single one.
            event_weight: Of either sign; None means 1. The map stays as it is when all are scaled by
                one factor.
            kind: ``knn``, ``quantile``, ``flow`` or ``linear``.
            seed: Of everything that is drawn: the same seed gives the same map.
            max_categories: A nuisance of whole numbers with at most so many values is a category; 0
                takes all as continuous.
            strength: From 0, the rank among all events, to 1, that at the nuisances: the logits are mixed.
            options: Of the kind: see `NeighbourOptions`, `QuantileOptions`, `FlowOptions`.

        Shapes:
            scores, event_weight: ``(n_events,)``; nuisance: ``(n_events, n_nuisances)`` or
            ``(n_events,)``.

        Raises:
            DataError: As `hepdl.posthoc.inputs.nuisances.check_background`, an option is refused, or
                there are too few events of a category.
        """
        problems = cls.option_problems(
            {"kind": kind, "max_categories": max_categories, "strength": strength, **options}
        )
        if problems:
            raise DataError("\n".join(problems))
        events = check_background(scores, nuisance, event_weight)
        made, wanted = KINDS[kind][0], KINDS[kind][1](**options)
        categories = _categories(events.nuisance, max_categories)
        others = [n for n in range(events.nuisance.shape[1]) if n not in categories]
        rows, number = np.unique(events.nuisance[:, categories], axis=0, return_inverse=True)
        inside = [np.flatnonzero(number.reshape(-1) == k) for k in range(len(rows))]
        for row, index in zip(rows, inside, strict=True):
            _check_category(row, events.event_weight[index])
        cells = []
        for row, index in zip(rows, inside, strict=True):
            varying = [n for n in others if np.ptp(events.nuisance[index, n]) > 0.0]
            own = events.take(index, varying)
            try:
                found = made.fit(own, wanted, seed=seed) if varying else _ranks(own)
            except DataError as error:
                message = f"{_in_words(row)}{error}"
                raise DataError(message) from error
            cells.append(Cell(tuple(row.tolist()), tuple(varying), found))
        spread, everything = (
            events.nuisance.std(axis=0),
            None if strength == 1.0 else _ranks(events),
        )
        return cls(kind, spread, tuple(categories), tuple(cells), float(strength), everything)

    @classmethod
    def option_problems(cls, options: Mapping[str, Any], *, where: str = "options") -> list[str]:
        """Return what is wrong with keyword arguments of ``fit``; an empty list if nothing is.

        Args:
            options: ``kind``, ``seed``, ``max_categories``, ``strength``, and those of the kind.
            where: The place that the user has to edit.
        """
        kind = options.get("kind", "knn")
        if kind not in KINDS:
            return [unknown_name("kind", str(kind), KINDS, where=f"{where}.kind")]
        problems = []
        for name in ("seed", "max_categories"):
            try:
                check_whole(f"{where}.{name}", options.get(name, 0), least=0)
            except DataError as error:
                problems.append(str(error))
        try:
            check_share(f"{where}.strength", options.get("strength", 1.0), closed=True)
        except DataError as error:
            problems.append(str(error))
        known = [field.name for field in fields(KINDS[kind][1])]
        own = {name: value for name, value in options.items() if name not in OPTIONS}
        accepted = [*OPTIONS, *known]
        unknown = [
            unknown_name(f"option of kind {kind}", name, accepted, where=f"{where}.{name}")
            for name in own
            if name not in known
        ]
        if not unknown:
            try:
                KINDS[kind][1](**own)
            except DataError as error:
                problems.append(f"{where}: {error}")
        return problems + unknown

    def transform(self, scores: npt.ArrayLike, nuisance: npt.ArrayLike) -> Floats:
        """Return the distribution function of each score at its nuisances, in [0, 1].

        Shapes:
            scores ``(n_events,)``, nuisance ``(n_events, n_nuisances)`` or ``(n_events,)`` →
            ``(n_events,)``.

        Raises:
            DataError: Another number of nuisances, or a value is not finite.
        """
        values = check_scores(scores)
        columns = as_nuisances(nuisance, len(values), len(self.spread))
        number = self._cell_of(columns)
        found = np.zeros(len(values))
        for k, cell in enumerate(self.cells):
            inside = number == k
            if inside.any():
                found[inside] = cell.cdf(values[inside], columns[inside])
        found = np.clip(found, 0.0, 1.0)
        if self.ranks is None:
            return found
        before, after = (
            logit(np.clip(x, TINY, 1.0 - TINY)) for x in (self.ranks.at(values), found)
        )
        mixed = (1.0 - self.strength) * before + self.strength * after
        return np.asarray(expit(mixed), dtype=np.float64)

    def _cell_of(self, nuisance: Floats) -> npt.NDArray[np.int64]:
        """Return the nearest category of each event."""
        chosen = list(self.categories)
        values = np.array([cell.values for cell in self.cells]) / self.spread[chosen]
        own, place = np.unique(nuisance[:, chosen], axis=0, return_inverse=True)
        apart = own[:, np.newaxis] / self.spread[chosen] - values
        nearest = np.argmin((apart**2).sum(axis=2), axis=1)
        return np.asarray(nearest[place.reshape(-1)], dtype=np.int64)

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""
        return {
            "kind": self.kind,
            "spread": self.spread.tolist(),
            "categories": list(self.categories),
            "cells": [
                {
                    "values": list(cell.values),
                    "columns": list(cell.columns),
                    "map": cell.map.as_dict(),
                }
                for cell in self.cells
            ],
            "strength": self.strength,
            "ranks": None if self.ranks is None else self.ranks.as_dict(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ConditionalCDF:
        """Return the map that ``as_dict`` wrote down."""
        made = KINDS[content["kind"]][0]
        cells = [
            Cell(
                tuple(cell["values"]),
                tuple(cell["columns"]),
                (made if cell["columns"] else Ranks).from_dict(cell["map"]),
            )
            for cell in content["cells"]
        ]
        ranks = content["ranks"]
        return cls(
            content["kind"],
            np.array(content["spread"]),
            tuple(content["categories"]),
            tuple(cells),
            content["strength"],
            None if ranks is None else Ranks.from_dict(ranks),
        )


def _categories(nuisance: Floats, max_categories: int) -> list[int]:
    """Return which nuisances are whole numbers with few values."""
    return [
        number
        for number, column in enumerate(nuisance.T)
        if len(np.unique(column)) <= max_categories and np.array_equal(column, np.round(column))
    ]


def _ranks(events: BackgroundEvents) -> Ranks:
    return Ranks.of(events.scores, events.event_weight)


def _check_category(values: Floats, event_weight: Floats) -> None:
    """Refuse a category that has too few events for a map of its own."""
    total = float(event_weight.sum())
    if len(event_weight) < FEWEST or total <= 0.0:
        message = (
            f"{_in_words(values)}{len(event_weight)} background events with weights that add up to "
            f"{total:g}; a map of its own needs {FEWEST} with a positive sum. Enlarge the validation part, or "
            "give max_categories: 0 to take the nuisance as continuous"
        )
        raise DataError(message)


def _in_words(values: Floats) -> str:
    """Return what a message about a category begins with; nothing if there are none."""
    return f"category {', '.join(f'{value:g}' for value in values)}: " if len(values) else ""
