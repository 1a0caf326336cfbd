from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError
from hepdl.events import Events, select_features
from hepdl.events.particles import attach_particles, particle_columns
from hepdl.events.scaling import Scaling
from hepdl.layers.edge_conv import EdgeConvBlock
from hepdl.layers.neighbours import arrange_neighbourhood
from hepdl.models.particle_net import ParticleNet

Make = Callable[..., Events]


def n_parameters(**options: Any) -> int:
    return sum(p.numel() for p in ParticleNet(**options).parameters())


def prepared(model: ParticleNet, events: Events) -> Events:
    assert model.inputs.particles is not None
    chosen = select_features(events, model.inputs.features)
    ready = attach_particles(chosen, model.inputs.particles)
    return Scaling.fit(ready, model.inputs).apply(ready)


@pytest.fixture
def lite() -> ParticleNet:
    torch.manual_seed(0)
    model = ParticleNet(lite=True)
    # Running moments that are neither 0 nor 1.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def test_it_has_as_many_parameters_as_the_published_networks() -> None:
    # arXiv:1902.08570, table V: ParticleNet 366k, ParticleNet-Lite 26k, with two outputs in place
    # of our one.
    assert n_parameters() + 257 == 366_160
    assert n_parameters(lite=True) + 129 == 26_416
    # arXiv:2202.03772 (JetClass), table 1: 370k, with 17 features and ten outputs.
    names = [f"branch_{k}" for k in range(17)]
    assert n_parameters(particle_features=names) + 9 * 257 == 370_156


def test_it_is_the_published_formula_written_as_loops(lite: ParticleNet, toy_jets: Make) -> None:
    """One jet at a time, neighbours by sorting distances, messages one by one."""
    events = prepared(lite, toy_jets(5, counts=[12, 1, 3, 9, 2]))
    found = lite(*lite.prepare(events))
    assert events.particles is not None
    for jet in range(5):
        rows = events.particles.take(torch.tensor([jet])).values
        values, points = lite.norm(rows[:, :7]), rows[:, 7:]
        for block in lite.blocks:
            assert isinstance(block, EdgeConvBlock)
            values = points = one_block(block, values, points, 7)
        logit = lite.output(lite.stack(values.mean(0, keepdim=True)))
        # Means and products in another order, through a dozen layers.
        torch.testing.assert_close(found[jet], logit[0, 0], rtol=1e-4, atol=1e-5)


def one_block(block: EdgeConvBlock, values: Tensor, points: Tensor, k: int) -> Tensor:
    shortcut, new = block.shortcut(values), []
    for i in range(len(values)):
        others = [j for j in range(len(values)) if j != i]
        others.sort(key=lambda j: float((points[j] - points[i]).detach().norm()))
        messages = [
            block.convolution.nn(torch.cat((values[i], values[j] - values[i]))[None])[0]
            for j in others[:k]
        ]
        mean = sum(messages) / len(messages) if messages else torch.zeros(block.out_features)
        new.append(torch.relu(shortcut[i] + mean))
    return torch.stack(new)


def test_particles_in_another_order_change_nothing(lite: ParticleNet, toy_jets: Make) -> None:
    events = prepared(lite, toy_jets(9))
    particles = events.particles
    assert particles is not None
    before = lite(*lite.prepare(events))
    jet = torch.repeat_interleave(torch.arange(9), particles.counts)
    order = torch.randperm(len(jet), generator=torch.Generator().manual_seed(2))
    order = order[jet[order].sort(stable=True).indices]
    other = replace(events, particles=replace(particles, values=particles.values[order]))
    # No two distances of these random particles are equal. Sums in another order.
    torch.testing.assert_close(lite(*lite.prepare(other)), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("captured", [False, True])
def test_more_padding_changes_no_bit(
    lite: ParticleNet, toy_jets: Make, captured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neighbours are searched for in another way where the network is taken out of Python.
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: captured)
    events = prepared(lite, toy_jets(9))
    assert lite.inputs.particles is not None
    particles = particle_columns(events, lite.inputs.particles)
    values, jet, flat, *layout = lite.prepare(events)
    wider = arrange_neighbourhood(
        particles.offsets, particles.host_offsets, n_neighbours=7, n_max=90
    )
    for training in (False, True):
        lite.train(training)
        torch.manual_seed(1)
        one = lite(values, jet, flat, *layout)
        torch.manual_seed(1)
        assert torch.equal(lite(values, jet, flat, *wider), one)


def test_an_exported_network_gives_the_same_logits(lite: ParticleNet, toy_jets: Make) -> None:
    events = prepared(lite, toy_jets(9))
    tensors = lite.prepare(events)
    exported = torch.export.export(lite, tensors).module()
    # Distances in float64 there; the same neighbours.
    torch.testing.assert_close(exported(*tensors), lite(*tensors), rtol=1e-5, atol=1e-6)


def test_training_works_where_no_jet_has_two_particles(toy_jets: Make) -> None:
    model = ParticleNet(lite=True).train()
    events = toy_jets(4, counts=[1, 1, 1, 1])
    rows = events.collections["constituents"]
    empty = replace(rows, offsets=torch.tensor([0, 1, 1, 3, 4]))
    for collection in (rows, empty):
        chosen = replace(events, collections={"constituents": collection})
        assert model.inputs.particles is not None
        ready = attach_particles(select_features(chosen, ()), model.inputs.particles)
        found = model(*model.prepare(ready))
        assert torch.isfinite(found).all()
        found.sum().backward()
    for name, buffer in model.named_buffers():
        assert torch.isfinite(buffer).all(), name


def test_coordinates_of_the_first_neighbours_are_not_scaled(toy_jets: Make) -> None:
    model = ParticleNet(lite=True, max_particles=8)
    raw = attach_particles(select_features(toy_jets(9), ()), model.inputs.particles)  # type: ignore[arg-type]
    scaled = Scaling.fit(raw, model.inputs).apply(raw)
    (values, *_), (unscaled, *_) = model.prepare(scaled), model.prepare(raw)
    assert torch.equal(values[:, -2:], unscaled[:, -2:])
    assert torch.equal(unscaled[:, -2:], unscaled[:, :2])
    assert not torch.equal(values[:, :2], unscaled[:, :2])


def test_explicit_options_win_over_the_lite_ones() -> None:
    model = ParticleNet(lite=True, n_neighbours=3, hidden=(11,))
    assert model.n_neighbours == 3
    assert model.output.in_features == 11
    assert len(model.blocks) == 2


@pytest.mark.parametrize(
    "options", [{"particle_features": ()}, {"blocks": ()}, {"n_neighbours": 0}]
)
def test_a_network_of_nothing_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="needs at least one of each"):
        ParticleNet(**options)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_logits(lite: ParticleNet, toy_jets: Make) -> None:
    events = prepared(lite, toy_jets(30))
    expected = lite(*lite.prepare(events))
    on_device = events.to("cuda")
    found = lite.to("cuda")(*lite.prepare(on_device))
    # Other kernels, sums by atomic additions.
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)
