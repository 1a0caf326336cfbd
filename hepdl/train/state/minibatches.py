"""Which events make which minibatch: a function of seed and epoch alone, so nothing to store.

The unit is the *global* minibatch of an epoch's order. It is cut first over the ranks, then into
the chunks of ``accumulate``; each chunk knows its share of the minibatch's sum of |w|, so that
the gradients of all chunks on all ranks add up to that of the whole.

An epoch is one segment, gathered in the order of the epoch once, of which the minibatches are
views. With ``stream`` it is several, and a thread reads the next one while this one is learnt from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, chain, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from hepdl.events import Events
from hepdl.train.state.options import TrainOptions
from hepdl.train.state.ranks import Ranks
from hepdl.train.state.sources import EventSource

__all__ = ["Minibatch", "Plan", "boundaries", "permutation"]

# A prime that keeps (seed, epoch) pairs apart for every number of epochs below it.
_EPOCHS_PER_SEED = 1_000_003
# Each segment of a stream is made of this many blocks of neighbouring events from everywhere.
_BLOCKS = 16


def permutation(n_events: int, *, seed: int, epoch: int, segment: int = 0) -> Tensor:
    """Return the order of the events in an epoch, or in a segment of it, the same on every device.

    Shapes:
        Returns ``(n_events,)`` int64, on the CPU.
    """
    generator = torch.Generator().manual_seed(seed * _EPOCHS_PER_SEED + epoch)
    for _ in range(segment):
        # Each segment has a stretch of random numbers of its own.
        generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
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


class Minibatch(NamedTuple):
    """One step's events, as far as this rank has them.

    Attributes:
        number: Its place in the epoch, from 0.
        events: Views of a segment; empty if other ranks have them all.
        chunks: The events of each chunk, and its share: its fraction in the sum of |w| of the whole
            minibatch, on all ranks. None if there are no events.
        weight: That sum.
        first: Position of ``events`` in the whole minibatch.
        n_events: Events of the whole minibatch.
    """

    number: int
    events: Events
    chunks: Sequence[tuple[Events, float]]
    weight: float
    first: int
    n_events: int


class Plan:
    """The minibatches of every epoch, of this rank.

    Args:
        source: The training part.
        options: ``minibatch_size``, ``accumulate``, ``stream`` and ``seed`` are used.
        ranks: Who shares the work.
        device: Where the minibatches are wanted.

    Attributes:
        n_minibatches: Of an epoch.
    """

    def __init__(
        self, source: EventSource, options: TrainOptions, *, ranks: Ranks, device: torch.device
    ) -> None:
        self._source = source
        self.options = options
        self.ranks = ranks
        self._device = device
        size = options.minibatch_size
        # Whole minibatches: none crosses the border of a segment.
        longest = len(source) if options.stream is None else options.stream // 4 // size * size
        segments = boundaries(len(source), minibatch_size=max(longest, 1))
        self._segments = [
            (first, boundaries(end - first, minibatch_size=size)) for first, end in segments
        ]
        self.n_minibatches = sum(len(parts) for _, parts in self._segments)

    def epoch(self, epoch: int, *, skip: int = 0) -> Iterator[Minibatch]:
        """Yield the minibatches of an epoch, but for the first ``skip``.

        A segment is gathered whole also where its beginning is skipped: matrix products depend on
        how their operands lie in memory, and a fit that is resumed must get the same bits.
        """
        work = []
        number = 0
        for segment, (_, parts) in enumerate(self._segments):
            first = min(max(skip - number, 0), len(parts))
            if first < len(parts):
                work.append((segment, number, first))
            number += len(parts)
        if self.options.stream is None:
            for segment, number, first in work:
                yield from self._cut(self._gather(epoch, segment), segment, number, first)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
            coming: list[Future[Events]] = []
            for place, (segment, number, first) in enumerate(work):
                for wanted, _, _ in work[place + len(coming) : place + 2]:
                    coming.append(reader.submit(self._gather, epoch, wanted))
                yield from self._cut(coming.pop(0).result(), segment, number, first)

    def _gather(self, epoch: int, segment: int) -> Events:
        """Return this rank's events of the minibatches of a segment, in their order."""
        first, parts = self._segments[segment]
        # The first numbers of a streamed epoch have put the blocks in order.
        is_streamed = self.options.stream is not None
        order = permutation(
            parts[-1][1],
            seed=self.options.seed,
            epoch=epoch,
            segment=segment + is_streamed,
        )
        if self.ranks.is_alone:
            chosen = order
        else:
            chosen = torch.cat([order[slice(*self.ranks.share(*part))] for part in parts])
        if not is_streamed:
            return self._source.gather(chosen).to(self._device)
        # A store on disk is read in its own order, and put into ours in memory.
        rows, back = torch.sort(self._rows(first + chosen, epoch))
        events = self._source.gather(rows)
        if self._device.type == "cuda":
            return events.to(self._device).take(torch.argsort(back).to(self._device))
        return events.take(torch.argsort(back))

    def _rows(self, positions: Tensor, epoch: int) -> Tensor:
        """Return the rows at the given positions of the epoch's order of blocks."""
        n_events, longest = len(self._source), self._segments[0][1][-1][1]
        size = max(longest // _BLOCKS, 1)
        starts = torch.arange(0, n_events, size)
        order = permutation(len(starts), seed=self.options.seed, epoch=epoch)
        starts = starts[order]
        ends = torch.cumsum((n_events - starts).clamp_max(size), 0)
        block = torch.searchsorted(ends, positions, right=True)
        return starts[block] + positions - ends[block] + (n_events - starts[block]).clamp_max(size)

    def _cut(self, events: Events, segment: int, number: int, skip: int) -> Iterator[Minibatch]:
        """Yield the minibatches of a segment's events but for the first ``skip``.

        The first of the segment has the number ``number``.
        """
        ranks, n_chunks = self.ranks, self.options.accumulate
        parts = self._segments[segment][1]
        own = [ranks.share(*part) for part in parts]
        ends = list(accumulate(end - first for first, end in own))
        begins = [0, *ends[:-1]]
        running = torch.cumsum(events.event_weight.double().abs(), 0)
        running = torch.cat([running.new_zeros(1), running])
        wholes = running[[0, *ends]].diff()
        ranks.sum_(wholes)
        cuts = [_cuts(*both, n_chunks=n_chunks) for both in zip(begins, ends, strict=True)]
        is_cut = n_chunks > 1 or not ranks.is_alone
        borders = sorted({*chain(*cuts)}) if is_cut else []
        # The only waits for the device in a segment.
        below = dict(zip(borders, running[borders].tolist(), strict=True))
        weights: list[float] = wholes.tolist()
        sizes = [end - begin for begin, end in zip(begins, ends, strict=True)]
        for i, whole in enumerate(events.split(sizes)):
            if i < skip:
                continue
            chunks, weight = [(whole, 1.0)], weights[i]
            if is_cut:
                chunks = [
                    (events.slice(first, end), (below[end] - below[first]) / (weight or 1.0))
                    for first, end in pairwise(cuts[i])
                    if first < end
                ]
            first, end = parts[i]
            yield Minibatch(number + i, whole, chunks, weight, own[i][0] - first, end - first)


def _cuts(first: int, end: int, *, n_chunks: int) -> list[int]:
    """Return the borders of at most ``n_chunks`` chunks, whose sizes differ by one at most.

    No chunk has a single event unless there is only one: batch norm cannot train on it.

    >>> _cuts(10, 17, n_chunks=3)
    [10, 13, 15, 17]
    """
    n_chunks = max(1, min(n_chunks, (end - first) // 2))
    whole, rest = divmod(end - first, n_chunks)
    return [first + whole * i + min(i, rest) for i in range(n_chunks + 1)]
