"""Scores with the nuisances that they shall not depend on: the checks of all such maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.inputs.scored import check_numbers, check_weights

__all__ = ["BackgroundEvents", "as_nuisances", "check_background", "check_scores"]

Floats = npt.NDArray[np.float64]

# A distribution function of fewer events says nothing about a tail.
FEWEST = 20


@dataclass(frozen=True)
class BackgroundEvents:
    """Checked events of the class whose scores are to be made flat, those of weight 0 left out.

    Attributes:
        scores: Finite numbers.
        nuisance: Finite numbers, one column a nuisance.
        event_weight: Of either sign, not 0; their sum is positive.

    Shapes:
        scores, event_weight: ``(n_events,)``; nuisance: ``(n_events, n_nuisances)``.
    """

    scores: Floats
    nuisance: Floats
    event_weight: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: npt.NDArray[np.int64], columns: list[int]) -> BackgroundEvents:
        """Return some of the events with some of the nuisances."""
        chosen = self.nuisance[index][:, columns]
        return BackgroundEvents(self.scores[index], chosen, self.event_weight[index])


def check_background(
    scores: npt.ArrayLike, nuisance: npt.ArrayLike, event_weight: npt.ArrayLike | None
) -> BackgroundEvents:
    """Return the three as arrays that a map can be fitted to.

    Args:
        scores: One finite score per event.
        nuisance: One column a nuisance, or the values of a single one.
        event_weight: Of either sign; None means 1.

    Shapes:
        scores, event_weight: ``(n_events,)``; nuisance: ``(n_events, n_nuisances)`` or ``(n_events,)``.

    Raises:
        DataError: Lengths differ, a value is not finite, a nuisance is constant, there are fewer than
            20 events, or their weights do not add up to more than zero.
    """
    values = check_numbers(scores, name="scores")
    columns = as_nuisances(nuisance, len(values))
    weights = check_weights(event_weight, len(values))
    there = weights != 0.0
    values, columns, weights = values[there], columns[there], weights[there]
    if len(values) < FEWEST:
        message = (
            f"{len(values)} background events with a weight; a distribution function needs "
            f"{FEWEST} or more: enlarge the validation part"
        )
        raise DataError(message)
    total = float(weights.sum())
    if total <= 0.0:
        message = (
            f"the event weights of the {len(values)} background events add up to {total:g}; a "
            "distribution function needs a sum above zero. Use more events, or another policy for "
            "negative weights (absolute, drop, reweight)"
        )
        raise DataError(message)
    for number, column in enumerate(columns.T):
        if column.min() == column.max():
            message = (
                f"nuisance {number} is {column[0]:g} for all {len(column)} background events: there is "
                "nothing that a score could depend on; leave it out"
            )
            raise DataError(message)
    return BackgroundEvents(values, columns, weights)


def check_scores(scores: npt.ArrayLike) -> Floats:
    """Return finite scores, ``(n_events,)``; none are none.

    Raises:
        DataError: Another shape, or a score is not finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    return values if values.shape == (0,) else check_numbers(values, name="scores")


def as_nuisances(nuisance: npt.ArrayLike, n_events: int, n_nuisances: int | None = None) -> Floats:
    """Return finite nuisances, ``(n_events, n_nuisances)``.

    Args:
        nuisance: One column a nuisance, or the values of a single one.
        n_events: How many there have to be.
        n_nuisances: How many columns there have to be; None accepts one or more.

    Raises:
        DataError: Another shape, or a value is not finite.
    """
    values = np.asarray(nuisance, dtype=np.float64)
    columns = values[:, np.newaxis] if values.ndim == 1 else values
    wanted = "n_nuisances" if n_nuisances is None else n_nuisances
    if (
        columns.ndim != 2
        or len(columns) != n_events
        or columns.shape[1] != (n_nuisances or max(columns.shape[1], 1))
    ):
        message = (
            f"nuisances have shape {values.shape} for {n_events} scores; ({n_events}, {wanted}) is "
            "needed: one column a nuisance, in the order in which the map was fitted"
        )
        raise DataError(message)
    bad = np.argwhere(~np.isfinite(columns))
    if len(bad):
        row, number = bad[0]
        message = (
            f"nuisance {number} is {columns[row, number]} at entry {row} ({len(bad)} of {columns.size} "
            "values are not finite): a map against it needs its value for every event"
        )
        raise DataError(message)
    return columns
