"""What must be true of the events before a fit may start."""

from __future__ import annotations

import logging

import torch

from hepdl.errors import ConfigError, DataError
from hepdl.events import Events
from hepdl.losses import Penalty
from hepdl.train.state.options import TrainOptions
from hepdl.train.state.ranks import Ranks

__all__ = ["check_options", "check_parts"]

log = logging.getLogger(__name__)


def check_options(
    options: TrainOptions, n_events: int, *, decorrelation: Penalty | None, ranks: Ranks
) -> None:
    """Check what options cannot know by themselves.

    A minibatch larger than the data is none of these: it means one minibatch an epoch.

    Raises:
        ConfigError: The minibatches are too small for the ranks, or two options exclude each other.
    """
    size = min(options.minibatch_size, n_events)
    if options.minibatch_size > n_events:
        message = "train.minibatch_size %d is more than the %d training events: one step an epoch"
        log.warning(message, options.minibatch_size, n_events)
    problems = []
    if size < ranks.size:
        problems.append(
            f"{ranks.size} ranks cannot share minibatches of {size} events: use at most --nproc "
            f"{size}, or a larger train.minibatch_size"
        )
    if decorrelation is not None and options.accumulate > 1:
        problems.append(
            f"train.accumulate is {options.accumulate}: a decorrelation penalty needs the whole "
            "minibatch at once; use accumulate 1 and a smaller train.minibatch_size"
        )
    if decorrelation is not None and options.autocast == "float16":
        problems.append(
            f"train.autocast is {options.autocast}: its scaled gradients would train the adversary; "
            "use bfloat16 or none with a decorrelation penalty"
        )
    if problems:
        raise ConfigError("\n".join(problems))


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
