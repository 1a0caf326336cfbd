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
from hepdl.layers import DenseStack

N_EVENTS, WIDTH, DEPTH = 1000, 500, 10


class Deep(nn.Module):
    """Ten equal dense layers of the house; as in the table, the last one has an activation, too."""

    inputs = Inputs(features=("x0",))

    def __init__(self, activation: str, initialisation: str, **options: bool) -> None:
        super().__init__()
        is_wide = initialisation == "N(0, 1)"
        self.stack = DenseStack(
            WIDTH,
            (WIDTH,) * DEPTH,
            activation=activation,
            initialisation="zero" if is_wide else initialisation,
            **{"batch_norm": False, **options},
        )
        if is_wide:
            for block in self.stack.blocks:
                nn.init.normal_(block.linear.weight)

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        return (events.flat,)

    def forward(self, *tensors: Tensor) -> Tensor:
        values: Tensor = self.stack(tensors[0])
        return values


def mean_square(
    logits: Tensor,
    label: Tensor,
    nuisance: Tensor | None,
    event_weight: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    return logits.square().mean()


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


def flow_of(
    seed: int,
    make_events: Callable[..., Events],
    activation: str,
    initialisation: str,
    **options: bool,
) -> Flow:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Deep(activation, initialisation, **options)
    # Of another seed than the weights: the same stream of numbers would make them copies.
    events = make_events(N_EVENTS, WIDTH, seed=1000 + seed)
    return measure(network, events, mean_square, with_rank=not options)


def numbers(*entries: tuple[str, float]) -> tuple[Number, ...]:
    return tuple(Number(*entry) for entry in entries)


# Standard deviation after layers 1, 5 and 10, or after layer 10 alone. `auto` is He for relu, and
# Xavier with gain 5/3 for tanh.
TABLE: dict[tuple[str, str, str], tuple[Number, ...]] = {
    ("tanh", "small_gaussian", ""): numbers((".213", 0.003), ("5.3e-4", 0.006), ("3.0e-7", 0.009)),
    ("tanh", "N(0, 1)", ""): numbers((".98", 1e-4), (".98", 1e-4), (".98", 1e-4)),
    ("tanh", "xavier", ""): numbers((".629", 0.001), (".324", 0.003), (".229", 0.007)),
    ("tanh", "auto", ""): numbers((".76", 0.0009), (".655", 0.0009), (".651", 0.001)),
    ("tanh", "small_gaussian", "batch_norm"): numbers(
        (".628", 0.0004), (".629", 0.0003), (".629", 0.0003)
    ),
    ("tanh", "small_gaussian", "residual"): numbers(
        ("1.02", 0.001), ("1.12", 0.001), ("1.25", 0.002)
    ),
    ("relu", "small_gaussian", ""): numbers(("8.7e-9", 0.13)),
    ("relu", "xavier", ""): numbers((".586", 0.003), (".137", 0.06), (".0215", 0.13)),
    ("relu", "auto", ""): numbers((".826", 0.003), (".794", 0.06), (".660", 0.13)),
    ("relu", "he", "batch_norm"): numbers((".584", 0.001)),
}
VANISHING = {("tanh", "small_gaussian", ""), ("relu", "small_gaussian", "")}


@pytest.mark.parametrize("case", TABLE, ids=" ".join)
def test_standard_deviations_are_those_of_the_table(
    case: tuple[str, str, str], gaussian_events: Callable[..., Events]
) -> None:
    activation, initialisation, extra = case
    flow = flow_of(
        7, gaussian_events, activation, initialisation, **({extra: True} if extra else {})
    )
    assert len(flow.layers) == DEPTH
    wanted = TABLE[case]
    layers = (0, 4, 9) if len(wanted) == 3 else (9,)
    for layer, number in zip(layers, wanted, strict=True):
        found = flow.layers[layer].std
        assert number.matches(found), (layer + 1, found, number)


def test_tanh_with_large_weights_is_saturated_and_its_gradients_explode(
    gaussian_events: Callable[..., Events],
) -> None:
    flow = flow_of(8, gaussian_events, "tanh", "N(0, 1)")
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
    orthogonal = flow_of(9, gaussian_events, "tanh", "orthogonal")
    random = flow_of(9, gaussian_events, "tanh", "xavier")
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
    flow = flow_of(10, gaussian_events, "tanh", "xavier" if gain == 1.0 else "auto")
    # 500 units are not infinitely many: corrections of order depth / width = 2 %.
    for layer, wanted in zip(flow.layers, mean_field(np.tanh, gain), strict=True):
        assert layer.std == pytest.approx(wanted, rel=0.03)


def test_the_verdict_names_the_layer_from_which_activations_vanish(
    gaussian_events: Callable[..., Events],
) -> None:
    flow = flow_of(11, gaussian_events, "tanh", "small_gaussian")
    (finding,) = judge(flow)
    assert finding.is_bad
    # 0.22, 0.05, 0.0107, 0.0024, …: a hundredth of the inputs' size is passed at layer 4.
    assert (finding.kind, finding.layer) == ("vanishing", 4)
    assert "activations vanish from layer 4 (stack.blocks.3.linear)" in finding.sentence
    assert "batch norm" in finding.sentence


@pytest.mark.parametrize(
    "case", [c for c in TABLE if c not in VANISHING and c[1] != "N(0, 1)"], ids=" ".join
)
def test_the_networks_of_the_table_that_learn_get_no_bad_verdict(
    case: tuple[str, str, str], gaussian_events: Callable[..., Events]
) -> None:
    activation, initialisation, extra = case
    options = {extra: True} if extra else {}
    found = judge(flow_of(12, gaussian_events, activation, initialisation, **options))
    assert not [finding for finding in found if finding.is_bad]
