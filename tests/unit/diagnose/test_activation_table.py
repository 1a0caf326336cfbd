"""Ten layers of 500 units on 1000 standard normal inputs: the classic table of initialisations.

The wanted numbers are one draw of a program that shares no code with this one; ours is another
draw. The relative spread beside each number is that between twelve seeds, so two draws differ by
less than 5 sqrt(2) of it, and by half a unit of the last digit that was written down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hepdl.diagnose import Flow, judge, measure
from hepdl.events import Events, Inputs

N_EVENTS, WIDTH, DEPTH = 1000, 500, 10


class Deep(nn.Module):
    """Ten equal layers; as in the table, the last one has an activation, too."""

    inputs = Inputs(features=("x0",))

    def __init__(
        self,
        activation: Callable[[Tensor], Tensor],
        draw: Callable[[Tensor], Any],
        *,
        batch_norm: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH))
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(WIDTH) if batch_norm else nn.Identity() for _ in range(DEPTH)
        )
        self.activation, self.residual = activation, residual
        for linear in self.linears:
            draw(linear.weight)

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        return (events.flat,)

    def forward(self, *tensors: Tensor) -> Tensor:
        values = tensors[0]
        for linear, norm in zip(self.linears, self.norms, strict=True):
            output = self.activation(norm(linear(values)))
            values = values + output if self.residual else output
        return values


def mean_square(
    logits: Tensor,
    label: Tensor,
    nuisance: Tensor | None,
    event_weight: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    return logits.square().mean()


def gaussian(std: float) -> Callable[[Tensor], Any]:
    return lambda weight: nn.init.normal_(weight, std=std)


def xavier(weight: Tensor) -> Any:
    return nn.init.xavier_normal_(weight)


def xavier_tanh(weight: Tensor) -> Any:
    return nn.init.xavier_normal_(weight, gain=5 / 3)


def he(weight: Tensor) -> Any:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


@dataclass(frozen=True)
class Number:
    """A number as it was written down, and its relative spread between seeds."""

    text: str
    spread: float

    def matches(self, value: float) -> bool:
        wanted = float(self.text)
        mantissa, _, exponent = self.text.partition("e")
        decimals = len(mantissa.partition(".")[2])
        rounding = 0.5 * 10 ** (int(exponent or 0) - decimals)
        return abs(value - wanted) <= 5 * math.sqrt(2) * self.spread * wanted + rounding


def flow_of(seed: int, make_events: Callable[..., Events], *options: Any, **more: Any) -> Flow:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Deep(*options, **more)
    with_rank = more == {}
    return measure(
        network, make_events(N_EVENTS, WIDTH, seed=seed), mean_square, with_rank=with_rank
    )


# Standard deviation after layers 1, 5 and 10.
TABLE = {
    "tanh N(0, 0.01)": (
        (torch.tanh, gaussian(0.01)),
        {},
        (Number(".213", 0.003), Number("5.3e-4", 0.006), Number("3.0e-7", 0.009)),
    ),
    "tanh N(0, 1)": (
        (torch.tanh, gaussian(1.0)),
        {},
        (Number(".98", 1e-4), Number(".98", 1e-4), Number(".98", 1e-4)),
    ),
    "tanh Xavier": (
        (torch.tanh, xavier),
        {},
        (Number(".629", 0.001), Number(".324", 0.003), Number(".229", 0.007)),
    ),
    "tanh Xavier, gain 5/3": (
        (torch.tanh, xavier_tanh),
        {},
        (Number(".76", 0.0009), Number(".655", 0.0009), Number(".651", 0.001)),
    ),
    "tanh N(0, 0.01), batch norm": (
        (torch.tanh, gaussian(0.01)),
        {"batch_norm": True},
        (Number(".628", 0.0004), Number(".629", 0.0003), Number(".629", 0.0003)),
    ),
    "tanh N(0, 0.01), residual": (
        (torch.tanh, gaussian(0.01)),
        {"residual": True},
        (Number("1.02", 0.001), Number("1.12", 0.001), Number("1.25", 0.002)),
    ),
    "relu N(0, 0.01)": ((torch.relu, gaussian(0.01)), {}, (None, None, Number("8.7e-9", 0.13))),
    "relu Xavier": (
        (torch.relu, xavier),
        {},
        (Number(".586", 0.003), Number(".137", 0.06), Number(".0215", 0.13)),
    ),
    "relu He": (
        (torch.relu, he),
        {},
        (Number(".826", 0.003), Number(".794", 0.06), Number(".660", 0.13)),
    ),
    "relu He, batch norm": (
        (torch.relu, he),
        {"batch_norm": True},
        (None, None, Number(".584", 0.001)),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_standard_deviations_are_those_of_the_table(
    name: str, gaussian_events: Callable[..., Events]
) -> None:
    options, more, wanted = TABLE[name]
    flow = flow_of(7, gaussian_events, *options, **more)
    assert len(flow.layers) == DEPTH
    for layer, number in zip((0, 4, 9), wanted, strict=True):
        found = flow.layers[layer].std
        assert number is None or number.matches(found), (name, layer + 1, found, number)


def test_tanh_with_large_weights_is_saturated_and_its_gradients_explode(
    gaussian_events: Callable[..., Events],
) -> None:
    flow = flow_of(8, gaussian_events, torch.tanh, gaussian(1.0))
    for layer in flow.layers:
        # "90 % saturated": 0.9057 in layer 1, 0.9042 in layer 10, spread 0.0006.
        assert layer.saturated == pytest.approx(0.905, abs=0.006)
    ratio = flow.layers[0].gradient_norm / flow.layers[-1].gradient_norm
    assert Number("8e4", 0.03).matches(ratio)
    kinds = {finding.kind: finding for finding in judge(flow)}
    assert set(kinds) == {"saturated", "gradient"}
    assert "explode towards the input" in kinds["gradient"].sentence


def test_orthogonal_weights_keep_more_directions_than_random_ones(
    gaussian_events: Callable[..., Events],
) -> None:
    orthogonal = flow_of(9, gaussian_events, torch.tanh, nn.init.orthogonal_)
    random = flow_of(9, gaussian_events, torch.tanh, xavier)
    assert Number("389", 0.001).matches(orthogonal.layers[-1].effective_rank or 0)
    assert Number("69", 0.02).matches(random.layers[-1].effective_rank or 0)


def mean_field(activation: Callable[[Any], Any], gain: float) -> list[float]:
    """Return the standard deviations of infinitely wide layers: Gaussian integrals, no networks."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)
    weights = weights / weights.sum()
    second_moment, found = 1.0, []
    for _ in range(DEPTH):
        values = activation(gain * math.sqrt(second_moment) * nodes)
        mean, second_moment = float(weights @ values), float(weights @ values**2)
        found.append(math.sqrt(second_moment - mean**2))
    return found


@pytest.mark.parametrize("gain", [1.0, 5 / 3], ids=["Xavier", "gain 5/3"])
def test_tanh_layers_follow_the_theory_of_wide_networks(
    gain: float, gaussian_events: Callable[..., Events]
) -> None:
    draw = xavier if gain == 1.0 else xavier_tanh
    flow = flow_of(10, gaussian_events, torch.tanh, draw)
    # 500 units are not infinitely many: corrections of order depth / width = 2 %.
    for layer, wanted in zip(flow.layers, mean_field(np.tanh, gain), strict=True):
        assert layer.std == pytest.approx(wanted, rel=0.03)


def test_the_verdict_names_the_layer_from_which_activations_vanish(
    gaussian_events: Callable[..., Events],
) -> None:
    flow = flow_of(11, gaussian_events, torch.tanh, gaussian(0.01))
    (finding,) = judge(flow)
    assert finding.is_bad
    # 0.22, 0.05, 0.0107, 0.0024, …: a hundredth of the inputs' size is passed at layer 4.
    assert (finding.kind, finding.layer) == ("vanishing", 4)
    assert "activations vanish from layer 4 (linears.3)" in finding.sentence
    assert "batch norm" in finding.sentence


@pytest.mark.parametrize("name", [n for n in TABLE if "N(0, 1)" not in n and "relu N" not in n])
def test_the_networks_of_the_table_that_learn_get_no_bad_verdict(
    name: str, gaussian_events: Callable[..., Events]
) -> None:
    options, more, _ = TABLE[name]
    if (options[1], more) == (TABLE["tanh N(0, 0.01)"][0][1], {}):
        pytest.skip("vanishes: a test of its own")
    found = judge(flow_of(12, gaussian_events, *options, **more))
    assert not [finding for finding in found if finding.is_bad]
