"""Every event once an epoch, however the minibatches are cut, shared, streamed or resumed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor

from hepdl.errors import DataError
from hepdl.events import Events
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.train import TrainOptions
from hepdl.train.state.minibatches import Minibatch, Plan
from hepdl.train.state.ranks import Ranks
from hepdl.train.state.sources import EventSource, Resident
from hepdl.train.supervised import fit

Make = Callable[..., Any]
CPU = torch.device("cpu")


class Store:
    """A source that remembers what it was asked for, as a file would be read."""

    def __init__(self, events: Events, *, fail_after: int | None = None) -> None:
        self.events = events
        self.asked: list[Tensor] = []
        self.threads: set[str] = set()
        self.fail_after = fail_after

    def __len__(self) -> int:
        return len(self.events)

    def gather(self, index: Tensor) -> Events:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise DataError(f"cannot read entry {int(index[0])}: the file ends there")
        self.asked.append(index)
        self.threads.add(threading.current_thread().name)
        return self.events.take(index)


def plan_of(source: EventSource, *, ranks: Ranks | None = None, **options: Any) -> Plan:
    settings = TrainOptions(**{"minibatch_size": 8, "seed": 3} | options)
    return Plan(source, settings, ranks=ranks or Ranks.alone(), device=CPU)


def numbers(minibatches: list[Minibatch]) -> list[list[int]]:
    return [minibatch.events.event_number.tolist() for minibatch in minibatches]


@pytest.mark.parametrize("n_events", [5, 64, 65, 100, 129])
@pytest.mark.parametrize("stream", [None, 32, 70, 4000])
def test_every_event_is_in_one_minibatch_of_an_epoch(
    events: Make, n_events: int, stream: int | None
) -> None:
    plan = plan_of(Resident(events(n_events)), stream=stream)
    orders = []
    for epoch in (0, 1):
        minibatches = list(plan.epoch(epoch))
        found = numbers(minibatches)
        assert [minibatch.number for minibatch in minibatches] == list(range(plan.n_minibatches))
        assert sorted(chain(*found)) == list(range(n_events))
        # None is a single event, and only the last of a segment differs in size.
        assert all(len(part) > 1 for part in found)
        assert all(len(part) <= 9 for part in found)
        orders.append([*chain(*found)])
    assert orders[0] != orders[1]
    assert orders[0] == [*chain(*numbers(list(plan.epoch(0))))]


@pytest.mark.parametrize("stream", [None, 64])
@pytest.mark.parametrize("skip", [1, 2, 5, 12, 13])
def test_an_epoch_can_be_entered_anywhere(events: Make, stream: int | None, skip: int) -> None:
    plan = plan_of(Resident(events(100)), stream=stream)
    whole = list(plan.epoch(4))
    rest = list(plan.epoch(4, skip=skip))
    assert numbers(rest) == numbers(whole)[skip:]
    assert [m.number for m in rest] == [m.number for m in whole[skip:]]
    assert [m.weight for m in rest] == [m.weight for m in whole[skip:]]


def test_a_stream_reads_ascending_blocks_ahead_and_never_more_than_a_quarter(
    events: Make,
) -> None:
    store = Store(events(1000))
    plan = plan_of(store, stream=512)
    minibatches = plan.epoch(0)
    next(minibatches)
    # The second segment is read while the first one is learnt from, the third one is not.
    for _ in range(2000):
        if len(store.asked) == 2:
            break
        threading.Event().wait(0.005)
    assert len(store.asked) == 2
    rest = list(minibatches)
    assert len(rest) == plan.n_minibatches - 1 == 124
    assert [len(index) for index in store.asked] == [128] * 7 + [104]
    assert all(bool((index.diff() > 0).all()) for index in store.asked)
    assert not any(name == "MainThread" for name in store.threads)
    # Each segment has events from everywhere, in runs of neighbours.
    spread = [float(index.double().std()) for index in store.asked[:-1]]
    assert min(spread) > 100
    assert all(int((index.diff() > 1).sum()) < 20 for index in store.asked)
    assert threading.active_count() == 1 or "read-ahead" not in str(threading.enumerate())


def test_a_stream_mixes_events_that_lie_far_apart(events: Make) -> None:
    plan = plan_of(Resident(events(4000)), stream=1600, minibatch_size=50)
    first = [torch.tensor(part) for part in numbers(list(plan.epoch(0)))]
    # A minibatch drawn from everywhere has the mean of all: 5 standard errors of 50 numbers, plus
    # those of the 16 blocks that a segment of 400 is made of.
    error = 4000 / 12**0.5 * (1 / 50 + 1 / 16) ** 0.5
    assert all(abs(float(part.double().mean()) - 2000) < 5 * error for part in first)
    # Neighbours in the file are no neighbours in the order.
    assert sum(int((part.diff() == 1).sum()) for part in first) < 4000 * 0.05


def test_what_cannot_be_read_ahead_ends_the_fit_with_its_own_words(
    tiny: Make, events: Make
) -> None:
    store = Store(events(1000), fail_after=5)
    options = TrainOptions(epochs=2, minibatch_size=50, stream=400)
    with pytest.raises(DataError, match=r"cannot read entry \d+: the file ends there"):
        fit(
            tiny(),
            store,
            events(100),
            options=options,
            loss=BinaryCrossEntropy(),
            observe=lambda values, epoch: None,
        )


def test_a_source_without_a_stream_is_read_once_and_gives_the_same_fit(
    tiny: Make, events: Make
) -> None:
    train, validation, results = events(300), events(100, seed=1), []
    store = Store(train)
    for part in (train, store):
        network = tiny()
        fit(
            network,
            part,
            validation,
            options=TrainOptions(epochs=2, minibatch_size=32),
            loss=BinaryCrossEntropy(),
            observe=lambda values, epoch: None,
        )
        results.append([p.tolist() for p in network.parameters()])
    assert results[0] == results[1]
    assert [index.tolist() for index in store.asked] == [list(range(300))]


def test_chunks_and_ranks_cut_one_global_order_and_their_shares_sum_to_one(events: Make) -> None:
    train = events(103)
    weight = torch.rand(103, generator=torch.Generator().manual_seed(1)) - 0.3
    train = train.with_event_weight(weight)
    whole = list(plan_of(Resident(train)).epoch(2))
    assert [m.chunks[0][1] for m in whole] == [1.0] * 13
    for n_chunks in (2, 3, 100):
        cut = list(plan_of(Resident(train), accumulate=n_chunks).epoch(2))
        assert numbers(cut) == numbers(whole)
        for one, other in zip(cut, whole, strict=True):
            parts = [chunk for chunk, _ in one.chunks]
            pieces = [chunk.event_number for chunk in parts]
            assert torch.cat(pieces).tolist() == numbers([other])[0]
            assert all(len(chunk) > 1 for chunk in parts)
            assert len(parts) == min(n_chunks, len(other.events) // 2)
            expected = [float(c.event_weight.double().abs().sum()) / other.weight for c in parts]
            assert [share for _, share in one.chunks] == pytest.approx(expected, rel=1e-9)
            assert sum(share for _, share in one.chunks) == pytest.approx(1, rel=1e-9)
            assert one.weight == pytest.approx(float(weight[one.events.event_number].abs().sum()))


def test_a_minibatch_whose_weights_are_all_zero_has_no_share(events: Make) -> None:
    train = events(16).with_event_weight(torch.zeros(16))
    for minibatch in plan_of(Resident(train), accumulate=2).epoch(0):
        assert minibatch.weight == 0
        assert [share for _, share in minibatch.chunks] == [0.0, 0.0]
