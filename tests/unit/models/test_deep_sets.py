from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from hepdl.errors import ConfigError, DataError
from hepdl.events import Events, select_features
from hepdl.events.particles import attach_particles
from hepdl.events.scaling import Scaling
from hepdl.models.deep_sets import SUM_UNIT, DeepSets

Make = Callable[..., Events]
PAPER = ("pt_fraction", "delta_eta", "delta_phi")


def n_parameters(**options: Any) -> int:
    return sum(p.numel() for p in DeepSets(**options).parameters())


def prepared(model: DeepSets, events: Events) -> Events:
    assert model.inputs.particles is not None
    chosen = select_features(events, model.inputs.features)
    return attach_particles(chosen, model.inputs.particles)


def logits(model: DeepSets, events: Events, scaling: Scaling | None = None) -> torch.Tensor:
    ready = prepared(model, events)
    if scaling is not None:
        ready = scaling.apply(ready)
    with torch.no_grad():
        found: torch.Tensor = model(*model.prepare(ready))
    return found


def with_rows(events: Events, extra: Sequence[tuple[int, torch.Tensor]]) -> Events:
    """Return the events with rows put at the end of some jets."""
    rows = events.collections["constituents"]
    parts = list(rows.values.split(rows.counts.tolist()))
    for jet, row in extra:
        parts[jet] = torch.cat((parts[jet], row[None]))
    counts = torch.tensor([0, *(len(part) for part in parts)])
    rows = replace(rows, values=torch.cat(parts), offsets=counts.cumsum(0))
    return replace(events, collections={"constituents": rows})


def test_it_has_as_many_parameters_as_the_published_networks() -> None:
    # arXiv:1902.09914 (landscape of top taggers), table 1: PFN and EFN 82k each; with two outputs
    # in place of our one, which are 101 numbers more.
    assert n_parameters(particle_features=PAPER) + 101 == 82_458
    assert n_parameters(weighted=True) + 101 == 82_358
    # arXiv:2202.03772 (JetClass), table 1: PFN 86.1k, with 17 features, three layers of 128 each
    # for Φ and F, and ten outputs.
    names = [f"branch_{k}" for k in range(17)]
    sizes = {"particle_hidden": (128, 128, 128), "hidden": (128, 128, 128)}
    assert n_parameters(particle_features=names, **sizes) + 9 * 129 == 86_154


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_sum_over_the_particles_written_as_a_loop(toy_jets: Make, weighted: bool) -> None:
    model = DeepSets(weighted=weighted, features=("width",))
    events = prepared(model, toy_jets(6))
    found = model(*model.prepare(events))
    assert events.particles is not None
    n_features = 2 if weighted else 7
    for jet in range(6):
        rows = events.particles.take(torch.tensor([jet])).values
        total = torch.zeros(256)
        for row in rows:
            weight = row[-1] if weighted else 1 / SUM_UNIT
            total = total + weight * model.particle_stack(row[None, :n_features])[0]
        total = torch.cat((total, events.flat[jet]))
        # Twenty additions in another order.
        torch.testing.assert_close(found[jet], model.output(model.stack(total[None]))[0, 0])


@pytest.mark.parametrize("weighted", [False, True])
def test_particles_in_another_order_change_nothing(toy_jets: Make, weighted: bool) -> None:
    model = DeepSets(weighted=weighted)
    events = prepared(model, toy_jets(9))
    values, jet, flat = model.prepare(events)
    order = torch.randperm(len(jet), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model(values[order], jet[order], flat), model(values, jet, flat))


def test_an_energy_flow_network_is_infrared_and_collinear_safe(toy_jets: Make) -> None:
    events = toy_jets(12)
    model = DeepSets(weighted=True)
    ready = prepared(model, events)
    scaling = Scaling.fit(ready, model.inputs)
    before = logits(model, events, scaling)
    first = events.collections["constituents"].offsets[:-1]
    values = events.collections["constituents"].values
    soft = torch.tensor([1e-6, 0.5, 0.5, 1e-6])
    with_soft = with_rows(events, [(jet, soft) for jet in range(12)])
    # The soft one has less than 1e-6 of the momentum.
    torch.testing.assert_close(logits(model, with_soft, scaling), before, rtol=1e-5, atol=1e-5)

    # pT, η, φ and energy of a quarter and of the rest of the first particle of each jet.
    quarter, rest = torch.tensor([0.25, 1.0, 1.0, 0.25]), torch.tensor([0.75, 1.0, 1.0, 0.75])
    split = with_rows(events, [(jet, quarter * values[first[jet]]) for jet in range(12)])
    rows = split.collections["constituents"]
    rows.values[rows.offsets[:-1]] *= rest
    torch.testing.assert_close(logits(model, split, scaling), before, rtol=1e-5, atol=1e-5)

    # The same two changes move a particle flow network: the checks above can fail.
    unsafe = DeepSets()
    plain = logits(unsafe, events)
    assert ((logits(unsafe, with_soft) - plain).abs() > 1e-2).any()
    assert ((logits(unsafe, split) - plain).abs() > 1e-2).any()


def test_a_jet_without_particles_has_the_sum_zero(toy_jets: Make) -> None:
    model = DeepSets()
    events = toy_jets(3, counts=[4, 1, 2])
    rows = events.collections["constituents"]
    events = replace(
        events,
        collections={"constituents": replace(rows, offsets=torch.tensor([0, 5, 5, 7]))},
    )
    found = logits(model, events)
    assert torch.isfinite(found).all()
    nothing = model.output(model.stack(torch.zeros(1, 256)))
    torch.testing.assert_close(found[1], nothing[0, 0])


def test_momentum_shares_and_only_they_stay_unscaled(toy_jets: Make) -> None:
    model = DeepSets(weighted=True)
    events = prepared(model, toy_jets(40))
    scaled = Scaling.fit(events, model.inputs).apply(events)
    values, jet, _ = model.prepare(scaled)
    total = torch.zeros(40).index_add(0, jet, values[:, -1])
    torch.testing.assert_close(total, torch.ones(40))
    rows = toy_jets(40).collections["constituents"]
    first_jet = rows.values[: int(rows.offsets[1]), 0].sort(descending=True).values
    torch.testing.assert_close(values[jet == 0, -1], first_jet / first_jet.sum())


def test_the_first_logits_are_of_order_one(toy_jets: Make) -> None:
    torch.manual_seed(0)
    events = toy_jets(64, counts=[50] * 64)
    for weighted in (False, True):
        model = DeepSets(weighted=weighted)
        ready = prepared(model, events)
        found = logits(model, events, Scaling.fit(ready, model.inputs))
        assert found.abs().max() < 5


def test_what_is_not_safe_is_refused_for_a_weighted_sum() -> None:
    with pytest.raises(ConfigError, match=r"holds log_pt: .* use delta_eta, delta_phi, delta_r"):
        DeepSets(("delta_eta", "log_pt"), weighted=True)
    with pytest.raises(ConfigError, match="no particle_features"):
        DeepSets(())


def test_events_without_particles_are_refused(toy_jets: Make) -> None:
    with pytest.raises(DataError, match="no particles; call"):
        DeepSets().prepare(select_features(toy_jets(3), ()))
