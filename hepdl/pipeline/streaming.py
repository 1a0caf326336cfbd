"""A training part that stays on disk: its events are read, built and scaled when they are needed.

The prepared events are memory-mapped, so what is not looked at takes no memory. Jet trees and
particles are built anew each time the events are read, by the thread that reads ahead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hepdl.events import Events, Inputs
from hepdl.events.scaling import Scaling
from hepdl.models.reconstruction.fitted import Reconstruction
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.dataset import Dataset, arrange

__all__ = ["StoredPart", "in_chunks", "is_streamed", "stream_parts", "with_nuisances"]

log = logging.getLogger(__name__)

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StoredPart:
    """One part of a data set, as the loop reads it (an ``EventSource``).

    Attributes:
        dataset: Its events may be memory-mapped.
        rows: Positions of the part in the data set, ascending, ``(n_events,)``.
        inputs: What the model needs.
        nuisances: Observers that become nuisances.
        scaling: Applied to what is read, or None.
        reconstruction: Assigns objects to a decay, if the model needs that.
    """

    dataset: Dataset
    rows: Rows
    inputs: Inputs
    nuisances: tuple[str, ...] = ()
    scaling: Scaling | None = None
    reconstruction: Reconstruction | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, index: Tensor) -> Events:
        """Return the chosen events with their training weights, in the order of ``index``.

        Shapes:
            index: ``(n_chosen,)`` int64.
        """
        rows = self.rows[index.cpu().numpy()]
        weight = torch.from_numpy(self.dataset.training_weight[rows])
        chosen = self.dataset.events.take(torch.from_numpy(rows))
        events = arrange(chosen, self.inputs, self.reconstruction).with_event_weight(weight)
        if self.scaling is not None:
            events = self.scaling.apply(events)
        return with_nuisances(events, self.nuisances)


def is_streamed(config: AnalysisConfig) -> bool:
    """Whether a model of the analysis reads its training part from disk."""
    return any(config.train_of(name).stream is not None for name in config.models)


def stream_parts(
    dataset: Dataset,
    inputs: Inputs,
    *,
    stream: int,
    seed: int,
    nuisances: tuple[str, ...],
    standardise: Callable[[Events], None] = lambda sample: None,
) -> tuple[StoredPart, Events, Scaling | None]:
    """Return training part, validation part in memory, and the scaling, as a network takes them.

    The scaling is fitted on as many training events as may be in memory, drawn at random.

    Args:
        dataset: Without folds, or that of one fold.
        inputs: What the network needs.
        stream: Events in memory at once.
        seed: Draws the events for the scaling.
        nuisances: Observers that become nuisances.
        standardise: Called with these events, scaled.

    Raises:
        DataError: The scaling cannot be fitted.
    """
    made = dataset.reconstruction(inputs)
    part = StoredPart(dataset, dataset.index("train"), inputs, nuisances, reconstruction=made)
    choosing = replace(part, rows=dataset.index("validation"))
    n_drawn = min(stream, len(part))
    drawn = np.random.default_rng(seed).permutation(len(part))[:n_drawn]
    sample = part.gather(torch.from_numpy(np.sort(drawn)))
    scaling = None
    if inputs.scaled:
        log.info("scaling fitted on %d of %d training entries", n_drawn, len(part))
        scaling = Scaling.fit(sample, inputs)
        sample = scaling.apply(sample)
        part, choosing = replace(part, scaling=scaling), replace(choosing, scaling=scaling)
    standardise(sample)
    return part, choosing.gather(torch.arange(len(choosing))), scaling


def in_chunks(
    dataset: Dataset,
    inputs: Inputs,
    rows: Rows,
    *,
    stream: int | None,
    reconstruction: Reconstruction | None = None,
) -> Iterator[Events]:
    """Yield events with what a model needs, at most ``stream`` at once.

    Args:
        dataset: All events.
        inputs: What the model needs.
        rows: The events wanted.
        stream: None takes them all together, and keeps what was built for the next model.
        reconstruction: That the model was trained with.
    """
    if stream is None:
        events = dataset.arranged(inputs, reconstruction)
        yield events if len(rows) == len(events) else events.take(torch.from_numpy(rows))
        return
    for first in range(0, len(rows), stream):
        some = rows[first : first + stream]
        yield arrange(dataset.events.take(torch.from_numpy(some)), inputs, reconstruction)


def with_nuisances(events: Events, names: tuple[str, ...]) -> Events:
    """Take the named observers as nuisances, whatever their role in the schema."""
    if not names:
        return events
    columns = [events.observers[name].to(torch.float32) for name in names]
    return replace(events, nuisance=torch.stack(columns, dim=1), nuisance_names=names)
