"""Scores of a fitted model, networks and boosted trees alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hepdl.events import Events
from hepdl.models import Network, Trees
from hepdl.train.state.device import device_of

__all__ = ["in_minibatches", "predict_logits", "predict_scores"]


def in_minibatches(
    network: Network,
    events: Events,
    compute: Callable[..., Tensor],
    *,
    minibatch_size: int = 512,
) -> Iterator[Tensor]:
    """Yield what is computed of each minibatch, in evaluation mode and on the network's device.

    The network is left in the mode it was in.

    Args:
        network: Prepares the events.
        events: Scaled.
        compute: Takes what ``prepare`` gives: the network itself, or a method of it.
        minibatch_size: Events at once.
    """
    module = cast("nn.Module", network)
    device = device_of(module)
    was_training = module.training
    module.eval()
    try:
        for start in range(0, len(events), minibatch_size):
            stop = min(start + minibatch_size, len(events))
            minibatch = events.slice(start, stop).to(device)
            with torch.no_grad():
                yield compute(*network.prepare(minibatch))
    finally:
        module.train(was_training)


def predict_logits(network: Network, events: Events, *, minibatch_size: int) -> Tensor:
    """Return the logits in evaluation mode; the network is left in the mode it was in.

    Shapes:
        Returns ``(n_events,)`` on the device of the network.
    """
    module = cast("nn.Module", network)
    logits = list(in_minibatches(network, events, module, minibatch_size=minibatch_size))
    return torch.cat(logits) if logits else torch.zeros(0, device=device_of(module))


def predict_scores(
    model: Network | Trees, events: Events, *, minibatch_size: int = 512
) -> npt.NDArray[np.float32]:
    """Return the score of each event, in [0, 1], larger for signal.

    Shapes:
        Returns ``(n_events,)``.
    """
    if not isinstance(model, nn.Module):
        return cast("Trees", model).scores(events)
    logits = predict_logits(cast("Network", model), events, minibatch_size=minibatch_size)
    return np.asarray(torch.sigmoid(logits.double()).cpu().numpy(), dtype=np.float32)
