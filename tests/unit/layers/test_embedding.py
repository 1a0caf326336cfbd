from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hepdl.errors import ConfigError
from hepdl.layers.embedding import EMBEDDINGS, NumericalEmbedding, make_embedding

N_FEATURES, SIZE, K = 3, 5, 4


def embedding(name: str) -> NumericalEmbedding:
    made = NumericalEmbedding(N_FEATURES, name, size=SIZE, frequencies=K, scale=0.5).double()
    made.reset_parameters(torch.Generator().manual_seed(3))
    return made


@pytest.fixture
def values() -> torch.Tensor:
    return torch.randn(20, N_FEATURES, generator=torch.Generator().manual_seed(4)).double()


def by_hand(made: NumericalEmbedding, name: str, x: float, feature: int) -> list[float]:
    """One feature of one event, one number at a time."""
    state = {key: value.numpy() for key, value in made.state_dict().items()}
    numbers = [x]
    if name.startswith("periodic"):
        angles = [2 * math.pi * c * x for c in state["frequencies"][feature]]
        numbers = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    if name == "periodic":
        return numbers
    sums = [
        sum(state["weight"][feature, i, o] * number for i, number in enumerate(numbers))
        + state["bias"][feature, o]
        for o in range(SIZE)
    ]
    return [max(s, 0.0) for s in sums] if name.endswith("relu") else sums


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_every_embedding_is_its_formula(name: str, values: torch.Tensor) -> None:
    made = embedding(name)
    expected = [
        [number for j, x in enumerate(row) for number in by_hand(made, name, x, j)]
        for row in values.tolist()
    ]
    output = made(values)
    assert output.shape == (20, made.out_features)
    # The same float64 sums in another order.
    np.testing.assert_allclose(output.detach(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_a_feature_moves_its_own_numbers_only(name: str, values: torch.Tensor) -> None:
    made = embedding(name)
    other = values.clone()
    other[:, 1] += 0.3
    moved = (made(other) != made(values)).view(20, N_FEATURES, -1).any(dim=2).any(dim=0)
    assert moved.tolist() == [False, True, False]


def test_periodic_numbers_repeat_after_one_over_the_frequency(values: torch.Tensor) -> None:
    made = embedding("periodic")
    with torch.no_grad():
        made.frequencies.fill_(0.25)
    # sin and cos of sums of a few radians, in float64.
    torch.testing.assert_close(made(values + 4.0), made(values), rtol=0, atol=1e-12)
    assert not torch.allclose(made(values + 2.0), made(values))


def test_frequencies_start_with_the_asked_for_spread() -> None:
    made = NumericalEmbedding(100, "periodic", frequencies=1000, scale=0.2)
    made.reset_parameters(torch.Generator().manual_seed(0))
    assert made.frequencies.abs().max() <= 0.6
    # A normal cut at 3 sigma has 0.9866 of its standard deviation; 1e5 numbers know it to 0.2 %.
    assert made.frequencies.std().item() == pytest.approx(0.2 * 0.9866, rel=0.011)


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("linear", 2 * N_FEATURES * SIZE),
        ("linear_relu", 2 * N_FEATURES * SIZE),
        ("periodic", N_FEATURES * K),
        ("periodic_linear", N_FEATURES * (K + 2 * K * SIZE + SIZE)),
        ("periodic_linear_relu", N_FEATURES * (K + 2 * K * SIZE + SIZE)),
    ],
)
def test_parameters_are_counted(name: str, n: int) -> None:
    assert sum(p.numel() for p in embedding(name).parameters()) == n


def test_a_description_is_a_name_or_a_mapping() -> None:
    assert make_embedding(3, None) is None
    by_name = make_embedding(3, "linear")
    assert by_name is not None
    assert by_name.out_features == 3 * 24
    described = make_embedding(3, {"name": "periodic", "frequencies": 2})
    assert described is not None
    assert described.out_features == 12


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("periodik", "did you mean 'periodic'"),
        ({"name": "linear", "sise": 3}, "did you mean 'size'"),
        ({"name": "linear", "size": 0}, "size 0"),
        ({"scale": -1.0}, "scale -1.0 must be a number > 0"),
    ],
)
def test_senseless_descriptions_are_refused(description, message) -> None:
    with pytest.raises(ConfigError, match=message):
        make_embedding(3, description)
