from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from hepdl.errors import ConfigError, DataError
from hepdl.events import Events
from hepdl.models.mlp import Mlp


def test_without_hidden_layers_it_is_a_logistic_regression(
    toy_jets: Callable[..., Events],
) -> None:
    events = toy_jets(5)
    model = Mlp(events.feature_names, ())
    expected = events.flat @ model.output.weight[0] + model.output.bias
    # The same float32 products in another order, of numbers of a few hundred.
    torch.testing.assert_close(model(*model.prepare(events)), expected, rtol=1e-5, atol=1e-4)


def test_parameters_are_those_of_the_layers() -> None:
    # 5*64 + 2*64, twice 64*64 + 2*64, 64 + 1: a linear layer has no bias before batch norm.
    assert sum(p.numel() for p in Mlp(list("abcde")).parameters()) == 448 + 2 * 4224 + 65


def test_an_embedding_comes_before_the_first_layer(toy_jets: Callable[..., Events]) -> None:
    events = toy_jets(5)
    model = Mlp(events.feature_names, (4,), embedding={"name": "linear", "size": 2}).eval()
    assert model.embedding is not None
    expected = model.output(model.stack(model.embedding(events.flat))).squeeze(1)
    assert torch.equal(model(*model.prepare(events)), expected)
    # Embedding 3*2 + 3*2, dense 6*4, batch norm 2*4, output 4 + 1.
    assert sum(p.numel() for p in model.parameters()) == 12 + 24 + 8 + 5


def test_all_zero_is_all_zero_and_learns_nothing_but_the_last_bias(
    toy_jets: Callable[..., Events],
) -> None:
    events = toy_jets(6)
    model = Mlp(events.feature_names, (4, 4), batch_norm=False, initialisation="zero")
    logits = model(*model.prepare(events))
    assert not logits.any()
    (logits * torch.arange(6)).sum().backward()
    learns = [name for name, p in model.named_parameters() if p.grad.any()]
    assert learns == ["output.bias"]


def test_small_weights_hold_for_the_output_layer_too() -> None:
    model = Mlp(list("ab"), (5000,), initialisation="small_gaussian")
    # 5000 numbers know their standard deviation to 1 %.
    assert model.output.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_events_with_other_features_are_refused(toy_jets: Callable[..., Events]) -> None:
    with pytest.raises(DataError, match=r"takes the features \['a'\]"):
        Mlp(["a"]).prepare(toy_jets(2))


def test_no_features_are_refused() -> None:
    with pytest.raises(ConfigError, match="name at least one flat feature"):
        Mlp([])
