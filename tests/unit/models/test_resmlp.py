from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from hepdl.errors import ConfigError, DataError
from hepdl.events import Events
from hepdl.models.resmlp import ResMlp


def test_with_no_layer_scale_its_depth_is_not_there(toy_jets: Callable[..., Events]) -> None:
    events = toy_jets(7)
    model = ResMlp(events.feature_names, 16, n_blocks=9, layer_scale=0.0)
    expected = model.output(model.norm(model.first(events.flat))).squeeze(1)
    assert torch.equal(model(*model.prepare(events)), expected)


def test_it_is_its_formula_in_torchs_functions(toy_jets: Callable[..., Events]) -> None:
    events = toy_jets(7)
    model = ResMlp(events.feature_names, 16, n_blocks=2, expansion=2.5)
    x = nn.functional.layer_norm(model.first(events.flat), (16,))
    for block in model.blocks:
        a, b = block.expand(nn.functional.layer_norm(x, (16,))).split(40, dim=1)
        x = x + 0.1 * block.contract(a * torch.sigmoid(a) * b)
    expected = model.output(x)[:, 0]
    # The same float32 formula; logits of order one.
    torch.testing.assert_close(model(*model.prepare(events)), expected, rtol=1e-5, atol=1e-5)


def test_it_has_the_size_of_the_published_network_on_higgs() -> None:
    with torch.device("meta"):
        model = ResMlp([f"feature_{i}" for i in range(28)], 1536, n_blocks=10)
    d = 1536
    # A block: norm 2d, d to 2d, d to d, LayerScale d; around them 28 to d, norm, d to 1.
    n = 10 * (2 * d + (2 * d * d + 2 * d) + (d * d + d) + d) + (28 * d + d) + 2 * d + d + 1
    assert sum(p.numel() for p in model.parameters()) == n == 70_920_193


def test_twenty_blocks_start_with_gradients_of_one_size(toy_jets: Callable[..., Events]) -> None:
    events = toy_jets(200)
    model = ResMlp(events.feature_names, 64, n_blocks=20)
    model.reset_parameters(torch.Generator().manual_seed(2))
    scaled = (events.flat - events.flat.mean(0)) / events.flat.std(0)
    model(scaled).square().mean().backward()
    norms = torch.stack([block.contract.weight.grad.norm() for block in model.blocks])
    # Twenty plain layers would differ by orders of magnitude; here only the later corrections, of
    # 10 % each, tell the first block from the last.
    assert norms.max() / norms.min() < 3


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        ([], {}, "name at least one flat feature"),
        (["a"], {"n_blocks": -1}, "n_blocks is -1"),
        (["a"], {"expansion": 0.0}, "0 hidden units"),
        (["a"], {"embedding": "periodc"}, "did you mean 'periodic'"),
    ],
)
def test_senseless_options_are_refused(features, options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        ResMlp(features, **options)


def test_events_with_other_features_are_refused(toy_jets: Callable[..., Events]) -> None:
    with pytest.raises(DataError, match=r"takes the features \['a'\]"):
        ResMlp(["a"]).prepare(toy_jets(2))
