from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hepdl.errors import ConfigError
from hepdl.layers.initialisation import INITIALISATIONS, SMALL_STD, SWIGLU_GAIN, initialise_

N_IN, N_OUT = 300, 500


def drawn(name: str, *, activation: str = "relu", n_out: int = N_OUT) -> torch.Tensor:
    weight = torch.full((n_out, N_IN), float("nan"))
    initialise_(weight, name, activation=activation, generator=torch.Generator().manual_seed(5))
    return weight


@pytest.mark.parametrize(
    ("name", "activation", "std"),
    [
        ("he", "tanh", math.sqrt(2 / N_IN)),
        ("xavier", "relu", math.sqrt(2 / (N_IN + N_OUT))),
        ("small_gaussian", "relu", SMALL_STD),
        ("auto", "relu", math.sqrt(2 / N_IN)),
        ("auto", "silu", math.sqrt(2 / N_IN)),
        ("auto", "tanh", 5 / 3 * math.sqrt(2 / (N_IN + N_OUT))),
        ("auto", "linear", math.sqrt(2 / (N_IN + N_OUT))),
        ("auto", "swiglu", SWIGLU_GAIN / math.sqrt(N_IN)),
    ],
)
def test_standard_deviations_are_those_of_the_papers(name, activation, std) -> None:
    weight = drawn(name, activation=activation)
    # 150 000 numbers: 1/sqrt(2 n) = 0.2 % relative, five times that.
    assert weight.std().item() == pytest.approx(std, rel=0.01)
    assert abs(weight.mean().item()) < 5 * std / math.sqrt(weight.numel())


def test_orthogonal_keeps_lengths() -> None:
    weight = drawn("orthogonal").double()
    # Orthogonalised in float32, 300 columns.
    torch.testing.assert_close(
        weight.T @ weight, torch.eye(N_IN, dtype=torch.float64), atol=1e-5, rtol=0
    )


def test_the_two_halves_of_swiglu_are_two_matrices() -> None:
    weight = drawn("orthogonal", activation="swiglu").double()
    for half in weight.chunk(2):
        torch.testing.assert_close(
            half @ half.T, torch.eye(N_OUT // 2, dtype=torch.float64), atol=1e-5, rtol=0
        )
    xavier = drawn("xavier", activation="swiglu")
    assert xavier.std().item() == pytest.approx(math.sqrt(2 / (N_IN + N_OUT / 2)), rel=0.01)


def test_zero_is_zero() -> None:
    assert not drawn("zero").any()


def test_the_gain_of_swiglu_keeps_the_second_moment() -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    z = SWIGLU_GAIN * nodes
    silu = z / (1 + np.exp(-z))
    moment = SWIGLU_GAIN**2 * np.average(silu**2, weights=weights)
    # The constant has seven digits.
    assert moment == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_one_generator_draws_one_matrix(name: str) -> None:
    first = drawn(name)
    torch.rand(3)
    assert torch.equal(drawn(name), first)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'xavier'"):
        drawn("xavir")
