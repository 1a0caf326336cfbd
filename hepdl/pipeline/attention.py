"""Which assignment a network looks at most."""

from __future__ import annotations

from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from hepdl.events import Events
from hepdl.pipeline.saved import SavedModel

__all__ = ["Attentive", "attends", "attention_of"]

_EVENTS_AT_ONCE = 512


@runtime_checkable
class Attentive(Protocol):
    """A network that weighs the assignments of an event."""

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        """Return what the network computes with."""

    def attention(self, *tensors: Tensor) -> Tensor:
        """Return the weight of each assignment, 1 in sum, ``(n_events, n_assignments)``."""


def attends(saved: SavedModel) -> bool:
    """Whether a model chooses among several assignments."""
    wanted = saved.inputs.assignments
    return isinstance(saved.model, Attentive) and wanted is not None and wanted.n_best > 1


def attention_of(saved: SavedModel, events: Events, *, device: torch.device) -> Tensor:
    """Return how much each assignment of each event counts.

    Args:
        saved: A network that attends.
        events: From ``arrange`` with its inputs; not scaled.
        device: Where it computes.

    Shapes:
        ``(n_events, n_assignments)``, on the CPU.
    """
    if saved.scaling is not None:
        events = saved.scaling.apply(events)
    cast("nn.Module", saved.model).to(device).eval()
    network = cast("Attentive", saved.model)
    found = []
    with torch.no_grad():
        for first in range(0, len(events), _EVENTS_AT_ONCE):
            some = events.slice(first, min(first + _EVENTS_AT_ONCE, len(events))).to(device)
            found.append(network.attention(*network.prepare(some)).cpu())
    assert saved.inputs.assignments is not None
    return torch.cat(found) if found else torch.zeros(0, saved.inputs.assignments.n_best)
