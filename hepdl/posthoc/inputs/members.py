"""The scores of several models for the same events, as columns: the checks of all combinations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.inputs.scored import check_numbers, check_scored

__all__ = ["MemberScores", "as_columns", "check_members"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MemberScores:
    """Checked events with the score of each member.

    Attributes:
        is_signal: True for signal.
        scores: In [0, 1], one column a member.
        event_weight: Of either sign; each class has a positive sum.

    Shapes:
        is_signal, event_weight: ``(n_events,)``; scores: ``(n_events, n_members)``.
    """

    is_signal: npt.NDArray[np.bool_]
    scores: Floats
    event_weight: Floats


def check_members(
    scores: npt.ArrayLike, label: npt.ArrayLike, event_weight: npt.ArrayLike
) -> MemberScores:
    """Return the three as arrays that a map can be fitted to.

    Args:
        scores: In [0, 1], one column a member.
        label: 1 for signal, 0 for background.
        event_weight: Of either sign.

    Shapes:
        scores: ``(n_events, n_members)``; label, event_weight: ``(n_events,)``.

    Raises:
        DataError: Fewer than two members, a score is no probability, a class is absent, or its
            weights do not add up to more than zero.
    """
    columns = as_columns(scores)
    if columns.shape[1] < 2:
        message = (
            f"scores have {columns.shape[1]} columns; a combination needs those of two or more "
            "models, one column each"
        )
        raise DataError(message)
    for member, column in enumerate(columns.T):
        values = check_numbers(column, name=f"scores of member {member}")
        outside = np.flatnonzero((values < 0.0) | (values > 1.0))
        if len(outside):
            message = (
                f"score {values[outside[0]]:g} of member {member} at entry {outside[0]} is outside "
                f"[0, 1] ({len(outside)} of {len(values)}): give the score after the link, not the "
                "logits"
            )
            raise DataError(message)
    events = check_scored(label, columns[:, 0], event_weight)
    return MemberScores(events.is_signal, columns, events.event_weight)


def as_columns(scores: npt.ArrayLike, n_members: int | None = None) -> Floats:
    """Return scores as ``(n_events, n_members)``.

    Args:
        scores: One column a member.
        n_members: How many there have to be; None accepts any number.

    Raises:
        DataError: Another shape.
    """
    columns = np.asarray(scores, dtype=np.float64)
    if columns.ndim != 2 or n_members not in (None, columns.shape[1]):
        wanted = "n_members" if n_members is None else n_members
        message = (
            f"scores have shape {columns.shape}; (n_events, {wanted}) is needed: one column for "
            "each model that is combined, in the order in which the map was fitted"
        )
        raise DataError(message)
    return columns
