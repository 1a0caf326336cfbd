"""Where the training events come from: resident on the device, or read while others are learnt from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hepdl.events import Events
from hepdl.events.table import concatenate
from hepdl.train.state.identity import data_fingerprint
from hepdl.train.state.options import TrainOptions

__all__ = [
    "EventSource",
    "Resident",
    "as_source",
    "fingerprint_of",
    "sample_of",
    "without_features",
]

# Rows looked at together when a whole source is passed over once.
_CHUNK = 65_536


@runtime_checkable
class EventSource(Protocol):
    """Events that need not be in memory."""

    def __len__(self) -> int:
        """Return how many there are."""

    def gather(self, index: Tensor) -> Events:
        """Return the chosen events, in the order of ``index``; called from a thread of its own.

        Shapes:
            index ``(n_chosen,)`` int64, on the CPU, ascending.
        """


class Resident:
    """Events in memory, as a source."""

    def __init__(self, events: Events) -> None:
        self.events = events

    def __len__(self) -> int:
        return len(self.events)

    def gather(self, index: Tensor) -> Events:
        """Return the chosen events, in the order of ``index``, on the device of the events."""
        return self.events.take(index.to(self.events.device))


def as_source(
    train: Events | EventSource, options: TrainOptions, device: torch.device
) -> EventSource:
    """Return the training part as a source; without ``stream`` all of it is on the device."""
    if isinstance(train, Events):
        return Resident(train if options.stream else train.to(device))
    if options.stream is None:
        return Resident(train.gather(torch.arange(len(train))).to(device))
    return train


def without_features(source: EventSource) -> Events:
    """Return all events of a source, with labels, weights, nuisances and observers alone."""
    if isinstance(source, Resident):
        return source.events
    return concatenate([_lighter(chunk) for chunk in _chunks(source)])


def sample_of(source: EventSource, n_events: int) -> Events:
    """Return the first few events of a source."""
    return source.gather(torch.arange(min(len(source), n_events)))


def fingerprint_of(source: EventSource) -> str:
    """Return a hash (sha256, hex) of every value of the events that a fit can see."""
    if isinstance(source, Resident):
        return data_fingerprint(source.events)
    digest = hashlib.sha256()
    for chunk in _chunks(source):
        digest.update(data_fingerprint(chunk).encode())
    return digest.hexdigest()


def _chunks(source: EventSource) -> Iterator[Events]:
    for first in range(0, len(source), _CHUNK):
        yield source.gather(torch.arange(first, min(first + _CHUNK, len(source))))


def _lighter(events: Events) -> Events:
    return replace(
        events,
        flat=events.flat[:, :0].clone(),
        feature_names=(),
        collections={},
        jet_trees=None,
        particles=None,
        assignments=None,
    )
