"""What is measured is what closed forms, plain hooks and plain gradients say; nothing is changed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hepdl.diagnose import Flow, measure
from hepdl.diagnose.measuring import effective_rank
from hepdl.events import Events
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models.mlp import Mlp
from hepdl.models.recnn import RecNN
from hepdl.pipeline.dataset import arrange
from hepdl.train import TrainOptions

LOSS = BinaryCrossEntropy()
FEATURES = ("jet_pt", "width", "n_constituents")


def test_a_linear_layer_has_the_closed_form(plain, gaussian_events: Callable[..., Events]) -> None:
    network = plain(nn.Linear(2, 1))
    with torch.no_grad():
        network.layers[0].weight.copy_(torch.tensor([[3.0, -4.0]]))
        network.layers[0].bias.zero_()
    events = gaussian_events(400)
    flow = measure(network, events, LOSS)
    logits = 3 * events.flat[:, 0].double() - 4 * events.flat[:, 1].double()
    residual = torch.sigmoid(logits) - events.label
    gradient = (residual[:, None] * events.flat).mean(dim=0)
    (layer,) = flow.layers
    assert (layer.name, layer.activation, layer.n_units) == ("layers.0", "", 1)
    assert layer.std == pytest.approx(float(logits.std()), rel=1e-5)
    assert layer.mean == pytest.approx(float(logits.mean()), abs=1e-6)
    assert layer.weight_norm == 5.0
    assert layer.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-5)
    assert (layer.saturated, layer.dead, layer.update_ratio) == (None, None, None)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_update_is_that_of_the_first_step(
    optimizer: str, plain, gaussian_events: Callable[..., Events]
) -> None:
    network = plain(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    options = TrainOptions(optimizer=optimizer, learning_rate=0.01)
    flow = measure(network, gaussian_events(100), LOSS, options=options)
    for layer, n_entries in zip(flow.layers, (16, 8), strict=True):
        # SGD moves by rate times gradient; the first step of Adam moves every entry by the rate,
        # up to its epsilon of 1e-8 against gradients of 1e-3.
        size = layer.gradient_norm if optimizer == "sgd" else math.sqrt(n_entries)
        # The update is a difference of weights in single precision, each rounded to 2^-24 of itself.
        expected = 0.01 * size / layer.weight_norm
        assert layer.update_ratio == pytest.approx(expected, rel=1e-4, abs=2**-24)


def test_values_and_gradients_are_those_of_hooks_and_backward(
    plain, gaussian_events: Callable[..., Events]
) -> None:
    network = plain(
        nn.Linear(2, 30),
        nn.BatchNorm1d(30),
        nn.ReLU(inplace=True),
        nn.Linear(30, 20),
        nn.Tanh(),
        nn.Linear(20, 1),
    )
    events = gaussian_events(200)
    flow = measure(network, events, LOSS)
    seen: list[Tensor] = []
    twin = copy.deepcopy(network)
    for place in (2, 4, 5):
        twin.layers[place].register_forward_hook(lambda m, i, o: seen.append(o.detach().clone()))
    LOSS(twin(events.flat), events.label, None, events.event_weight).backward()
    for layer, values, place in zip(flow.layers, seen, (0, 3, 5), strict=True):
        weight = twin.layers[place].weight
        assert layer.std == pytest.approx(float(values.std()), rel=1e-5)
        assert layer.mean == pytest.approx(float(values.mean()), rel=1e-4, abs=1e-6)
        assert layer.gradient_norm == pytest.approx(float(weight.grad.norm()), rel=1e-5)
        assert layer.weight_norm == pytest.approx(float(weight.detach().norm()), rel=1e-6)
    assert [layer.activation for layer in flow.layers] == ["relu", "tanh", ""]
    relu, tanh = seen[:2]
    assert flow.layers[0].dead == float((relu == 0).all(dim=0).float().mean())
    assert flow.layers[1].saturated == pytest.approx(float((tanh.abs() > 0.99).float().mean()))


def test_nothing_is_changed(toy_jets: Callable[..., Events]) -> None:
    network = Mlp(FEATURES, (16, 16), dropout=0.3)
    network.eval()
    network.stack.blocks[0].train()
    network.output.weight.grad = torch.ones_like(network.output.weight)
    modes = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    measure(network, toy_jets(64), LOSS, options=TrainOptions())
    assert torch.equal(random, torch.get_rng_state())
    assert [module.training for module in network.modules()] == modes
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert torch.equal(network.output.weight.grad, torch.ones_like(network.output.weight))
    assert network.stack.blocks[0].linear.weight.grad is None


def test_the_same_events_give_the_same_flow(toy_jets: Callable[..., Events]) -> None:
    network, events = Mlp(FEATURES, (16,), batch_norm=False), toy_jets(64)
    assert measure(network, events, LOSS) == measure(network, events, LOSS)


def test_dead_units_are_counted(plain, gaussian_events: Callable[..., Events]) -> None:
    network = plain(nn.Linear(2, 10), nn.ReLU(), nn.Linear(10, 1))
    with torch.no_grad():
        network.layers[0].bias[:3] = -100.0
        network.layers[0].bias[3:] = 100.0
    flow = measure(network, gaussian_events(100), LOSS)
    assert flow.layers[0].dead == pytest.approx(0.3)


def test_a_leaky_rectifier_never_dies(plain, gaussian_events: Callable[..., Events]) -> None:
    network = plain(nn.Linear(2, 10), nn.LeakyReLU(), nn.Linear(10, 1))
    nn.init.constant_(network.layers[0].bias, -100.0)
    layer = measure(network, gaussian_events(100), LOSS).layers[0]
    assert (layer.activation, layer.dead) == ("leaky_relu", 0.0)


@pytest.mark.parametrize(
    ("module", "at", "saturated"),
    [
        (nn.Tanh(), 2.7, 1.0),
        (nn.Tanh(), 2.6, 0.0),
        (nn.Sigmoid(), 5.4, 1.0),
        (nn.Sigmoid(), 5.2, 0),
    ],
)
def test_saturation_begins_where_the_slope_is_a_fiftieth(
    module: nn.Module, at: float, saturated: float, plain, gaussian_events: Callable[..., Events]
) -> None:
    # tanh passes 0.99 at 2.647, and sigmoid(x) = (1 + tanh(x / 2)) / 2 at twice that.
    network = plain(nn.Linear(2, 4), module, nn.Linear(4, 1))
    with torch.no_grad():
        network.layers[0].weight.zero_()
        network.layers[0].bias.fill_(at)
    assert measure(network, gaussian_events(50), LOSS).layers[0].saturated == saturated


class Odd(nn.Module):
    """Slices, functions instead of modules, gates, a shortcut and work in place."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(4, 6)
        self.gate = nn.Linear(3, 3)
        self.value = nn.Linear(3, 3)
        self.last = nn.Parameter(torch.randn(1, 3))

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        return (events.flat,)

    def forward(self, *tensors: Tensor) -> Tensor:
        (flat,) = tensors
        start = torch.addmm(self.wide.bias[:3], flat, self.wide.weight[:3].t()).relu_()
        gated = functional.silu(self.gate(start)) * self.value(start)
        joined = start + gated
        self.seen = {"start": start.detach().clone(), "gated": joined.detach().clone()}
        return functional.linear(joined, 2 * self.last).squeeze(1)


def test_functions_slices_gates_and_shortcuts_are_followed(
    gaussian_events: Callable[..., Events],
) -> None:
    network, events = Odd(), gaussian_events(80, 4)
    flow = measure(network, events, LOSS)
    assert [layer.name for layer in flow.layers] == ["wide", "gate", "value", "last"]
    assert [layer.activation for layer in flow.layers] == ["relu", "silu", "", ""]
    assert flow.layers[0].std == pytest.approx(float(network.seen["start"].std()), rel=1e-5)
    # What the last layer takes was finished by the value's product, shortcut included.
    assert flow.layers[2].std == pytest.approx(float(network.seen["gated"].std()), rel=1e-5)


@pytest.mark.parametrize("cell", ["simple", "gated"])
def test_the_cell_of_a_recursive_network_is_seen(
    cell: Any, toy_jets: Callable[..., Events]
) -> None:
    network = RecNN(cell=cell, hidden=8)
    events = arrange(toy_jets(40), network.inputs)
    flow = measure(network, events, LOSS)
    names = [layer.name for layer in flow.layers]
    assert names[0] == "embedding.embed"
    assert "embedding.cell.combine" in names
    assert names[-3:] == ["head.0", "head.2", "head.4"]
    LOSS(network(*network.prepare(events)), events.label, None, events.event_weight).backward()
    parameters = dict(network.named_parameters())
    for layer in flow.layers:
        gradients = torch.stack([parameters[n].grad.norm() for n in layer.parameters])
        assert layer.gradient_norm == pytest.approx(float(gradients.norm()), rel=1e-4)
        assert layer.std > 0
    covered = {name for layer in flow.layers for name in layer.parameters}
    assert covered == {name for name, p in parameters.items() if p.ndim >= 2}


def test_only_the_first_events_of_a_large_minibatch_are_looked_at(
    plain, gaussian_events: Callable[..., Events]
) -> None:
    network, events = plain(nn.Linear(2, 1)), gaussian_events(3000)
    flow = measure(network, events, LOSS)
    assert flow.n_events == 1024
    assert flow == measure(network, events.take(torch.arange(1024)), LOSS)


def test_auxiliary_losses_join_the_gradient(plain, gaussian_events: Callable[..., Events]) -> None:
    network, events = plain(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)), gaussian_events(60)
    kept: list[Tensor] = []
    network.layers[1].register_forward_hook(lambda m, i, o: kept.append(o))
    alone = measure(network, events, LOSS)
    joined = measure(network, events, LOSS, auxiliary=lambda _: 100 * kept[-1].square().mean())
    assert joined.loss == alone.loss
    assert joined.layers[0].gradient_norm > 10 * alone.layers[0].gradient_norm
    assert joined.layers[1].gradient_norm == alone.layers[1].gradient_norm


def test_a_compiled_network_is_measured_without_its_compiler(
    plain, gaussian_events: Callable[..., Events]
) -> None:
    network, events = plain(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)), gaussian_events(64)
    # Nothing is compiled before the first call, and there is none.
    assert measure(torch.compile(network), events, LOSS) == measure(network, events, LOSS)


def test_synchronised_batch_norm_does_not_wait_for_others(
    plain, gaussian_events: Callable[..., Events]
) -> None:
    # Outside of `measure` it would refuse to work on a CPU, and wait for every process on a GPU.
    network = plain(nn.Linear(2, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 1))
    twin = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(network))
    assert isinstance(twin.layers[1], nn.SyncBatchNorm)
    events = gaussian_events(64)
    assert measure(twin, events, LOSS) == measure(network, events, LOSS)
    assert "forward" not in vars(twin.layers[1])


def test_a_minibatch_of_one_event_can_be_measured(
    plain, gaussian_events: Callable[..., Events]
) -> None:
    network = plain(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    flow = measure(network, gaussian_events(1), LOSS, options=TrainOptions())
    assert flow.n_events == 1
    assert math.isfinite(flow.layers[0].std)


def test_a_flow_survives_json_with_values_that_are_not_finite(
    plain, gaussian_events: Callable[..., Events]
) -> None:
    network = plain(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    good = measure(network, gaussian_events(40), LOSS, options=TrainOptions())
    assert Flow.from_dict(good.as_dict()) == good
    with torch.no_grad():
        network.layers[0].weight[0, 0] = math.inf
    bad = measure(network, gaussian_events(40), LOSS)
    content = bad.as_dict()
    assert content["layers"][0]["std"] is None
    assert math.isnan(Flow.from_dict(content).layers[0].std)


def test_the_effective_rank_is_the_entropy_of_the_singular_values() -> None:
    random = np.random.default_rng(5)
    values = random.normal(size=(300, 40)) @ random.normal(size=(40, 40)) + 7.0
    shares = np.linalg.svd(values - values.mean(axis=0), compute_uv=False) ** 2
    shares /= shares.sum()
    wanted = np.exp(-(shares * np.log(shares)).sum())
    assert effective_rank(torch.from_numpy(values)) == pytest.approx(wanted, rel=1e-6)
    assert effective_rank(torch.from_numpy(values.T.copy())) <= 39.0 + 1e-6
    line = torch.from_numpy(np.outer(random.normal(size=50), random.normal(size=9)))
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-6)
    assert effective_rank(torch.ones(10, 3)) == 0.0
    # Does not depend on the scale, down to what float32 can hold.
    assert effective_rank(1e-30 * torch.from_numpy(values)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.gpu
def test_a_network_on_a_gpu_is_measured_there(toy_jets: Callable[..., Events]) -> None:
    network, events = Mlp(FEATURES, (16, 16), batch_norm=False), toy_jets(64)
    here = measure(network, events, LOSS, options=TrainOptions())
    there = measure(network.to("cuda"), events, LOSS, options=TrainOptions())
    for a, b in zip(here.layers, there.layers, strict=True):
        assert b.std == pytest.approx(a.std, rel=1e-3)
        assert b.gradient_norm == pytest.approx(a.gradient_norm, rel=1e-2)
