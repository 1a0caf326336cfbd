from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from hepdl.errors import ConfigError
from hepdl.events import Events, select_features
from hepdl.events.particles import attach_particles
from hepdl.models.lstm import Lstm

Make = Callable[..., Events]


def prepared(model: Lstm, events: Events) -> Events:
    assert model.inputs.particles is not None
    chosen = select_features(events, model.inputs.features)
    return attach_particles(chosen, model.inputs.particles)


@pytest.mark.parametrize("order", ["softest_first", "hardest_first"])
def test_it_reads_each_jet_alone_with_torchs_own_lstm(toy_jets: Make, order: str) -> None:
    torch.manual_seed(0)
    model = Lstm(units=9, hidden=(5,), order=order, features=("width",))
    events = prepared(model, toy_jets(6, counts=[4, 1, 9, 2, 7, 9]))
    found = model(*model.prepare(events))
    oracle = nn.LSTM(7, 9, batch_first=True)
    oracle.load_state_dict(model.memory.cell.state_dict())
    assert events.particles is not None
    for jet in range(6):
        rows = events.particles.take(torch.tensor([jet])).values
        assert (rows[:, 2].diff() <= 0).all()
        _, (state, _) = oracle((rows.flip(0) if order == "softest_first" else rows)[None])
        joined = torch.cat((state[0], events.flat[jet][None]), dim=1)
        # Products of other shapes.
        torch.testing.assert_close(found[jet], model.output(model.stack(joined))[0, 0])


def test_more_padding_changes_nothing(toy_jets: Make) -> None:
    model = Lstm(units=9)
    values, is_real, flat = model.prepare(prepared(model, toy_jets(6)))
    wider = torch.cat((values, torch.full((6, 5, 7), 3.0)), dim=1)
    mask = torch.cat((is_real, torch.zeros(6, 5, dtype=torch.bool)), dim=1)
    torch.testing.assert_close(model(wider, mask, flat), model(values, is_real, flat))


def test_padding_is_zero_and_behind_the_particles(toy_jets: Make) -> None:
    model = Lstm(max_particles=6)
    events = prepared(model, toy_jets(30))
    values, is_real, _ = model.prepare(events)
    assert values.shape == (30, 6, 7)
    assert not values[~is_real].any()
    assert (is_real.long().diff(dim=1) <= 0).all()


def test_an_empty_jet_has_the_state_zero(toy_jets: Make) -> None:
    model = Lstm(units=9)
    events = toy_jets(3, counts=[4, 1, 2])
    rows = replace(events.collections["constituents"], offsets=torch.tensor([0, 5, 5, 7]))
    ready = prepared(model, replace(events, collections={"constituents": rows}))
    found = model(*model.prepare(ready))
    torch.testing.assert_close(found[1], model.output(model.stack(torch.zeros(1, 9)))[0, 0])


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"order.*softest_first"):
        Lstm(order="softest")
    with pytest.raises(ConfigError, match="no particle_features"):
        Lstm(())
