"""``torch.compile`` where it works, the network as it is where it does not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from hepdl.events import Events
from hepdl.losses import Penalty
from hepdl.models import Network
from hepdl.train.state.device import device_of
from hepdl.train.state.precision import Precision

__all__ = ["compiled"]

log = logging.getLogger(__name__)

Forward = Callable[..., Tensor]


def compiled(
    model: Network, sample: Events, *, precision: Precision, decorrelation: Penalty | None
) -> Forward:
    """Return the compiled forward pass, or with one warning the network itself.

    It is tried on a sample, backwards too; the network and the random numbers stay as they were. A
    penalty that says ``needs_double_backward`` differentiates the network twice, which compiled
    networks cannot do.

    Args:
        model: The network; it is left in training mode.
        sample: A minibatch.
        precision: Of the forward pass.
        decorrelation: The penalty on its logits, if any.
    """
    network = cast("nn.Module", model).train()
    if getattr(decorrelation, "needs_double_backward", False):
        log.warning("train.compile: not for a penalty that differentiates the network twice")
        return network
    state = {name: value.detach().clone() for name, value in network.state_dict().items()}
    device = device_of(network)
    candidate: Forward = network
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            candidate = cast("Forward", torch.compile(network))
            with precision.autocast():
                logits = candidate(*model.prepare(sample))
            precision.full(logits).sum().backward()
        # Everything that the compiler raises derives from these two.
        except (RuntimeError, OSError) as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            log.warning("train.compile: this network runs uncompiled here: %s", reason)
            candidate = network
    network.zero_grad()
    network.load_state_dict(state)
    return candidate
