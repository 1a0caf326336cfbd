"""Processes that train one network together: ``torch.distributed`` behind one small door.

A process is a *rank*. With one process everything here is free and does nothing, so a loop is
written once, for any number of ranks.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from hepdl.errors import ConfigError, RankLostError

__all__ = ["Ranks"]

# The other ranks wait while rank 0 simulates or evaluates. A rank that dies is not found by this
# limit, but at once: its connections close, and the launcher ends the others.
_LONGEST_WAIT = timedelta(days=14)


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is, and what they do together.

    Every method but ``share`` is collective: all ranks must call it, in the same order.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
        local_rank: Number of this process on its host; the number of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def alone(cls) -> Ranks:
        """Return the one process of an ordinary run."""
        return cls()

    @classmethod
    def from_environment(cls) -> Ranks:
        """Join the other ranks if torchrun has started this process, else be alone.

        Raises:
            RankLostError: The other ranks cannot be reached.
        """
        if not distributed.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
            return cls.alone()
        has_gpu = torch.cuda.is_available() and distributed.is_nccl_available()
        with _wording("meeting the other ranks"):
            if not distributed.is_initialized():
                # Objects always travel over gloo: waiting there needs no GPU.
                backend = "cpu:gloo,cuda:nccl" if has_gpu else "gloo"
                distributed.init_process_group(backend, timeout=_LONGEST_WAIT)
        rank, size = distributed.get_rank(), distributed.get_world_size()
        return cls(rank, size, int(os.environ.get("LOCAL_RANK", rank)))

    def leave(self) -> None:
        """Close the connections; nothing collective may follow."""
        if self.size > 1 and distributed.is_initialized():
            distributed.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this rank writes, logs and draws."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    def device(self, chosen: torch.device) -> torch.device:
        """Return the device of this rank: a GPU of its own, if GPUs are used.

        Raises:
            ConfigError: There are fewer GPUs than ranks on this host.
        """
        if self.is_alone or chosen.type != "cuda":
            return chosen
        n_gpus = torch.cuda.device_count()
        if self.local_rank >= n_gpus:
            message = f"--nproc {self.size}: rank {self.rank} has no GPU of its own, this host has "
            message += f"{n_gpus}; use --nproc {n_gpus}, or --device cpu"
            raise ConfigError(message)
        device = torch.device("cuda", self.local_rank)
        torch.cuda.set_device(device)
        return device

    def share(self, first: int, end: int) -> tuple[int, int]:
        """Return this rank's part of the positions ``first`` to ``end`` of a global minibatch.

        The parts are contiguous, in the order of the ranks, and differ by one event at most. A
        minibatch with fewer than two events per rank is left to the first ranks, because batch
        norm cannot train on one event; the parts of the others are empty.

        >>> [Ranks(rank, 3).share(10, 18) for rank in range(3)]
        [(10, 13), (13, 16), (16, 18)]
        >>> [Ranks(rank, 3).share(0, 5) for rank in range(3)]
        [(0, 3), (3, 5), (5, 5)]
        """
        n_events = end - first
        n_working = max(1, min(self.size, n_events // 2))
        whole, rest = divmod(n_events, n_working)
        before = min(self.rank, n_working)
        start = first + before * whole + min(before, rest)
        size = whole + (before < rest) if self.rank < n_working else 0
        return start, start + size

    def sum_(self, tensor: Tensor) -> None:
        """Replace the tensor by its sum over the ranks, in place, the same bits on each of them."""
        if not self.is_alone:
            with _wording("adding up"):
                distributed.all_reduce(tensor)

    def whole(self, rows: Tensor, *, first: int, n_rows: int) -> Tensor:
        """Return all ranks' rows, without gradient; ours begin at ``first``.

        Shapes:
            rows ``(n_own, …)`` → ``(n_rows, …)``.
        """
        if self.is_alone:
            return rows.detach()
        # The others have zeros in our place, so the sum is exact.
        everything = rows.new_zeros((n_rows, *rows.shape[1:]), requires_grad=False)
        everything[first : first + len(rows)] = rows.detach()
        self.sum_(everything)
        return everything

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.is_alone:
            return flag
        number = torch.tensor([int(flag)])
        self.sum_(number)
        return bool(number.item())

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, on every rank, in their order.

        Args:
            value: Tensors on the CPU, numbers, strings, lists and dicts: what a checkpoint may hold.
        """
        if self.is_alone:
            return [value]
        own = _to_bytes(value)
        sizes = torch.zeros(self.size, dtype=torch.int64)
        sizes[self.rank] = len(own)
        self.sum_(sizes)
        parts = [torch.zeros(int(sizes.max()), dtype=torch.uint8) for _ in range(self.size)]
        padded = torch.zeros_like(parts[0])
        padded[: len(own)] = own
        with _wording("gathering"):
            distributed.all_gather(parts, padded)
        return [_from_bytes(part[:size]) for part, size in zip(parts, sizes.tolist(), strict=True)]

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value on every rank.

        Args:
            value: As for ``gather``; that of other ranks is not looked at.
        """
        if self.is_alone:
            return value
        content = _to_bytes(value) if self.is_first else torch.zeros(0, dtype=torch.uint8)
        size = torch.tensor([len(content)])
        with _wording("waiting for rank 0"):
            distributed.broadcast(size, src=0)
            if not self.is_first:
                content = torch.zeros(int(size.item()), dtype=torch.uint8)
            distributed.broadcast(content, src=0)
        return value if self.is_first else _from_bytes(content)

    def share_parameters(self, module: nn.Module) -> None:
        """Give the module of every rank the parameters and buffers of rank 0's."""
        if not self.is_alone:
            state = {key: value.cpu() for key, value in module.state_dict().items()}
            module.load_state_dict(self.broadcast(state))

    def barrier(self) -> None:
        """Wait until every rank has come here."""
        self.any(False)


@contextmanager
def _wording(what: str) -> Iterator[None]:
    """Say in our words that a rank is gone; only its launcher knows why it went."""
    try:
        yield
    except RuntimeError as error:
        # The class `DistBackendError` and everything that gloo raises derive from it.
        reason = str(error).partition("\n")[0].partition(". ")[0]
        message = f"lost another rank while {what}: {reason}; run again with --resume"
        raise RankLostError(message) from error


def _to_bytes(value: Any) -> Tensor:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def _from_bytes(content: Tensor) -> Any:
    return torch.load(io.BytesIO(content.numpy().tobytes()), weights_only=True, map_location="cpu")
