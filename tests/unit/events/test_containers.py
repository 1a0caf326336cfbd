from __future__ import annotations

from collections.abc import Callable

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
