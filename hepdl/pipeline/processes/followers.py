"""Rank 0 calls the other ranks to each fit of a network; between the fits they wait."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from hepdl.train.state.ranks import Ranks

__all__ = ["Followers", "shared_threads"]


class Followers:
    """The other ranks, as rank 0 sees them; alone there is nobody to call.

    Args:
        ranks: All of them.
    """

    def __init__(self, ranks: Ranks | None = None) -> None:
        self.ranks = Ranks.alone() if ranks is None else ranks
        self.are_waiting = self.ranks.is_first and not self.ranks.is_alone

    @contextmanager
    def join(self, call: Mapping[str, Any]) -> Iterator[None]:
        """Have the others do, beside the block, what the call says.

        Args:
            call: Numbers, strings, lists and dicts.
        """
        if not self.are_waiting:
            yield
            return
        self.ranks.broadcast(dict(call))
        # If the block fails, they are somewhere in the middle of it and hear no call.
        self.are_waiting = False
        with shared_threads():
            yield
        self.are_waiting = True

    def dismiss(self) -> None:
        """Tell those that wait that nothing more will come."""
        if self.are_waiting:
            self.ranks.broadcast(None)
            self.are_waiting = False


@contextmanager
def shared_threads() -> Iterator[None]:
    """Leave each rank of this host its part of the cores while the block runs.

    A number that the user has set, ``OMP_NUM_THREADS`` or ``train.n_threads``, is that of a process.
    """
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        n_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(max(1, before // n_here))
    try:
        yield
    finally:
        torch.set_num_threads(before)
