"""Which events make which minibatch: a function of seed and epoch alone, so nothing to store."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["boundaries", "permutation"]

# A prime that keeps (seed, epoch) pairs apart for every number of epochs below it.
_EPOCHS_PER_SEED = 1_000_003


def permutation(n_events: int, *, seed: int, epoch: int) -> Tensor:
    """Return the order of the events in an epoch, the same on every device.

    Shapes:
        Returns ``(n_events,)`` int64, on the CPU.
    """
    generator = torch.Generator().manual_seed(seed * _EPOCHS_PER_SEED + epoch)
    return torch.randperm(n_events, generator=generator)


def boundaries(n_events: int, *, minibatch_size: int) -> list[tuple[int, int]]:
    """Return first and last-plus-one position of each minibatch of an epoch.

    Every event is used once per epoch: the last minibatch may be smaller. Were it a single event,
    it joins the one before, because batch norm cannot train on one event.

    >>> boundaries(10, minibatch_size=4)
    [(0, 4), (4, 8), (8, 10)]
    >>> boundaries(9, minibatch_size=4)
    [(0, 4), (4, 9)]
    >>> boundaries(3, minibatch_size=4)
    [(0, 3)]
    """
    starts = list(range(0, n_events, minibatch_size))
    if minibatch_size > 1 and len(starts) > 1 and n_events - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n_events], strict=True))
