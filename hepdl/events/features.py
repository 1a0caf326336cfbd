"""Choosing and checking flat features by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hepdl.errors import DataError, unknown_name
from hepdl.events.containers import Events

__all__ = ["flat_features", "refuse_truth", "select_features"]


def select_features(events: Events, names: Sequence[str]) -> Events:
    """Return the same events with the named flat features alone, in this order.

    Any flat field will do: what is no feature in the schema is taken from the observers.

    Args:
        events: What to choose from.
        names: The features wanted; may be empty.

    Raises:
        DataError: A name is neither a feature nor an observer, or it is truth.
    """
    columns = []
    for name in names:
        if name in events.truth_names:
            message = (
                f"feature {name!r} is truth, which data do not have: no model may take it as an "
                "input; take it out of the features"
            )
            raise DataError(message)
        if name in events.feature_names:
            columns.append(events.flat[:, events.feature_names.index(name)])
        elif name in events.observers:
            columns.append(events.observers[name].to(events.flat.dtype))
        else:
            known = {*events.feature_names, *events.observers}
            message = unknown_name("feature", name, known, where="features of a model")
            raise DataError(message)
    flat = torch.stack(columns, dim=1) if columns else events.flat[:, :0]
    return replace(events, flat=flat, feature_names=tuple(names))


def refuse_truth(events: Events, collection: str, columns: Sequence[str]) -> None:
    """Refuse columns of a collection that data do not have.

    Raises:
        DataError: One of them is truth.
    """
    found = [name for name in columns if f"{collection}.{name}" in events.truth_names]
    if found:
        named = ", ".join(f"{collection}.{name}" for name in found)
        message = (
            f"{named} is truth, which data do not have: no model may take it as an input; choose "
            "another column or collection"
        )
        raise DataError(message)


def flat_features(events: Events, names: Sequence[str]) -> Tensor:
    """Return ``events.flat`` after a check that its columns are the named ones, in this order.

    Shapes:
        ``(n_events, len(names))``.

    Raises:
        DataError: They are not.
    """
    if events.feature_names != tuple(names):
        message = (
            f"the model takes the features {list(names)}, the events have "
            f"{list(events.feature_names)}; call hepdl.events.select_features first"
        )
        raise DataError(message)
    return events.flat
