"""Which assignment a network looks at most."""

from __future__ import annotations

from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from hepdl.events import Events
from hepdl.models import Network
from hepdl.pipeline.saved import SavedModel
from hepdl.train.state.scoring import in_minibatches

__all__ = ["Attentive", "attends", "attention_of"]


@runtime_checkable
class Attentive(Protocol):
    """A network that weighs the assignments of an event."""

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
    network = cast("Network", cast("nn.Module", saved.model).to(device))
    attention = cast("Attentive", saved.model).attention
    found = [weights.cpu() for weights in in_minibatches(network, events, attention)]
    assert saved.inputs.assignments is not None
    return torch.cat(found) if found else torch.zeros(0, saved.inputs.assignments.n_best)
