"""Batch norm when several ranks share a minibatch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from hepdl.train.state.device import device_of
from hepdl.train.state.ranks import Ranks

__all__ = ["running_statistics", "shared_batch_norm"]

log = logging.getLogger(__name__)

# torch keeps the common class of its one-, two- and three-dimensional kinds under this name.
_BatchNorm = nn.modules.batchnorm._BatchNorm


@contextmanager
def shared_batch_norm(network: nn.Module, ranks: Ranks) -> Iterator[bool]:
    """Let batch norm see the whole minibatch while the block runs, where torch can do that.

    On GPUs its layers are exchanged for ``SyncBatchNorm``, which shares their parameters and
    statistics, and put back at the end. torch has none for gloo: there each rank normalises with
    its own events, and one warning says so.

    Gives:
        Whether a rank must take part in every forward pass, even one without events.
    """
    found = [
        (parent, name, layer)
        for parent in network.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm)
    ]
    if ranks.is_alone or not found:
        yield False
        return
    if device_of(network).type != "cuda":
        if ranks.is_first:
            log.warning(
                "batch norm in %d processes on the CPU: each of them normalises with its own part "
                "of a minibatch, so results differ from those of one process, within the spread "
                "between seeds; use layer norm, or GPUs, for the same numbers",
                ranks.size,
            )
        yield False
        return
    for parent, name, layer in found:
        setattr(parent, name, nn.SyncBatchNorm.convert_sync_batchnorm(layer))
    try:
        yield True
    finally:
        for parent, name, layer in found:
            setattr(parent, name, layer.train(getattr(parent, name).training))


def running_statistics(network: nn.Module) -> list[Tensor]:
    """Return the means and variances that batch norm keeps for inference."""
    return [
        value
        for layer in network.modules()
        if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm)
        for value in (layer.running_mean, layer.running_var)
        if value is not None
    ]
