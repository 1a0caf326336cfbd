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


def test_events_with_other_features_are_refused(toy_jets: Callable[..., Events]) -> None:
    with pytest.raises(DataError, match=r"takes the features \['a'\]"):
        Mlp(["a"]).prepare(toy_jets(2))


def test_no_features_are_refused() -> None:
    with pytest.raises(ConfigError, match="name at least one flat feature"):
        Mlp([])
