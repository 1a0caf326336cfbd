"""What must be true of the events before a fit may start."""

from __future__ import annotations

import torch

from hepdl.errors import DataError
from hepdl.events import Events

__all__ = ["check_parts"]


def check_parts(train: Events, validation: Events) -> None:
    """Check that both classes are there, with weights that a fit can use.

    Raises:
        DataError: A class of a part is empty, its weights sum to zero or less, or a weight is not
            finite.
    """
    for name, events in (("training", train), ("validation", validation)):
        weight = events.event_weight
        bad = torch.nonzero(~torch.isfinite(weight))
        if len(bad):
            entry = int(bad[0, 0])
            message = f"{name} part: event_weight of entry {entry} is {float(weight[entry])}; "
            message += "weights must be finite"
            raise DataError(message)
        for value, word in ((1, "signal"), (0, "background")):
            chosen = weight[events.label == value]
            if len(chosen) == 0:
                message = f"{name} part: no {word} events among {len(events)}; check the labels of "
                message += "the processes, the selection and the split"
                raise DataError(message)
            total = float(chosen.double().sum())
            if total <= 0:
                message = f"{name} part: the event weights of the {len(chosen)} {word} events sum "
                message += f"to {total:g}, which must be positive; use more events or another "
                message += "policy for negative weights (absolute, drop)"
                raise DataError(message)
