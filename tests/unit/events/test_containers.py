from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from hepdl.events import Events, TreeInputs, gather_rows
from hepdl.events.trees import attach_trees

Make = Callable[..., Events]


def test_gathered_rows_are_those_of_the_entries_in_the_order_wanted() -> None:
    offsets = torch.tensor([0, 3, 3, 4, 9])
    index = torch.tensor([3, 1, 0, 0])
    rows, new = gather_rows(offsets, index)
    expected = [row for i in index for row in range(offsets[i], offsets[i + 1])]
    assert rows.tolist() == expected
    assert new.tolist() == [0, 5, 5, 8, 11]


def test_taking_nothing_is_possible() -> None:
    rows, new = gather_rows(torch.tensor([0, 3]), torch.empty(0, dtype=torch.int64))
    assert (rows.tolist(), new.tolist()) == ([], [0])


def test_taken_events_keep_everything_together(toy_jets: Make) -> None:
    events = attach_trees(toy_jets(30), TreeInputs())
    index = torch.tensor([7, 0, 29, 7])
    taken = events.take(index)
    assert taken.event_number.tolist() == (index + 2**60).tolist()
    assert torch.equal(taken.flat, events.flat[index])
    assert torch.equal(taken.observers["width"], events.observers["width"][index])
    for position, jet in enumerate(index.tolist()):
        for name in ("constituents", "trees"):
            one, many = (
                (e.collections["constituents"] if name == "constituents" else e.jet_trees)
                for e in (taken, events)
            )
            values = "values" if name == "constituents" else "features"
            mine = getattr(one, values)[one.offsets[position] : one.offsets[position + 1]]
            theirs = getattr(many, values)[many.offsets[jet] : many.offsets[jet + 1]]
            assert torch.equal(mine, theirs)
    assert len(taken) == len(taken.jet_trees) == len(taken.collections["constituents"]) == 4


def test_another_weight_leaves_the_rest(toy_jets: Make) -> None:
    events = toy_jets(4)
    other = events.with_event_weight(torch.tensor([1.0, -2.0, 3.0, 4.0], dtype=torch.float64))
    assert other.event_weight.dtype == torch.float32
    assert other.flat is events.flat


def test_a_slice_is_what_taking_its_range_gives_without_a_copy(toy_jets: Make) -> None:
    events = attach_trees(toy_jets(30), TreeInputs())
    for first, end in ((0, 30), (4, 11), (29, 30), (7, 7)):
        taken, part = events.take(torch.arange(first, end)), events.slice(first, end)
        assert len(part) == end - first
        for name in ("event_number", "process", "label", "event_weight", "flat", "nuisance"):
            assert torch.equal(getattr(part, name), getattr(taken, name))
        assert list(part.observers) == list(events.observers)
        for name, column in part.observers.items():
            assert torch.equal(column, taken.observers[name])
        mine, theirs = part.collections["constituents"], taken.collections["constituents"]
        assert torch.equal(mine.values, theirs.values)
        assert torch.equal(mine.offsets, theirs.offsets)
        for name in ("features", "depth", "is_inner", "offsets"):
            assert torch.equal(getattr(part.jet_trees, name), getattr(taken.jet_trees, name))
    # More slices than are made together.
    pieces = list(attach_trees(toy_jets(700), TreeInputs()).split([1, 2, 0, 3] * 80))
    many = attach_trees(toy_jets(700), TreeInputs())
    for number in (0, 2, 3, 150, 257, 319):
        first = sum(len(piece) for piece in pieces[:number])
        alone = many.slice(first, first + len(pieces[number]))
        assert torch.equal(pieces[number].flat, alone.flat)
        assert torch.equal(pieces[number].event_number, alone.event_number)
        assert torch.equal(pieces[number].observers["width"], alone.observers["width"])
        assert torch.equal(pieces[number].jet_trees.features, alone.jet_trees.features)
    part = events.slice(4, 11)
    assert part.flat.untyped_storage().data_ptr() == events.flat.untyped_storage().data_ptr()
    rows = part.collections["constituents"].values.untyped_storage()
    assert rows.data_ptr() == events.collections["constituents"].values.untyped_storage().data_ptr()


def test_a_slice_of_a_slice_counts_from_the_first(toy_jets: Make) -> None:
    events = attach_trees(toy_jets(30), TreeInputs())
    once, twice = events.slice(7, 9), events.slice(5, 20).slice(2, 4)
    assert torch.equal(once.event_number, twice.event_number)
    assert torch.equal(once.jet_trees.features, twice.jet_trees.features)
    assert torch.equal(once.observers["width"], twice.observers["width"])


def test_a_slice_beyond_the_events_is_refused(toy_jets: Make) -> None:
    with pytest.raises(IndexError, match="events 2 to 5 are no range of 4 events"):
        toy_jets(4).slice(2, 5)
