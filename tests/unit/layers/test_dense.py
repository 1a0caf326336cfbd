from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hepdl.errors import ConfigError
from hepdl.layers.dense import DenseBlock, DenseStack


def test_a_block_is_linear_norm_activation() -> None:
    block = DenseBlock(3, 4).double()
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = x @ block.linear.weight.t()
    expected = ((y - y.mean(0)) / (y.var(0, correction=0) + 1e-5).sqrt()).clamp(min=0)
    # The same float64 formula.
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


def test_a_residual_block_without_its_weights_is_the_identity() -> None:
    block = DenseBlock(4, 4, residual=True, batch_norm=False)
    nn.init.zeros_(block.linear.weight)
    x = torch.randn(5, 4)
    assert torch.equal(block(x), x)


def test_a_stack_is_residual_where_sizes_allow() -> None:
    stack = DenseStack(3, (8, 8, 4), residual=True)
    assert [block.residual for block in stack.blocks] == [False, True, False]
    assert stack.out_features == 4


@pytest.mark.parametrize("norm_after", [False, True])
@pytest.mark.parametrize("norm", ["batch_norm", "layer_norm"])
def test_a_block_is_torchs_layers_in_the_order_that_is_asked_for(
    norm: str, norm_after: bool
) -> None:
    block = DenseBlock(
        3,
        4,
        batch_norm=norm == "batch_norm",
        layer_norm=norm == "layer_norm",
        norm_after=norm_after,
        activation="tanh",
    )
    oracle = (nn.BatchNorm1d if norm == "batch_norm" else nn.LayerNorm)(4)
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))

    def expected() -> torch.Tensor:
        sums = block.linear(x)
        return oracle(sums.tanh()) if norm_after else oracle(sums).tanh()

    for _ in range(2):
        assert torch.equal(block(x), expected())
    block.eval()
    oracle.eval()
    # Running means, of batch norm, have moved in the same way.
    assert torch.equal(block(x), expected())


def test_a_gated_block_has_two_units_for_each_output() -> None:
    block = DenseBlock(3, 4, batch_norm=False, activation="swiglu")
    x = torch.randn(6, 3)
    gate, value = block.linear(x).chunk(2, dim=1)
    assert torch.equal(block(x), nn.functional.silu(gate) * value)
    assert block(x).shape == (6, 4)


@pytest.mark.parametrize("activation", ["elu", "gelu", "relu", "silu", "swiglu", "tanh"])
@pytest.mark.parametrize(
    "norm", [{"batch_norm": False}, {}, {"batch_norm": False, "layer_norm": True}]
)
def test_residual_blocks_that_start_at_zero_are_the_identity(
    activation: str, norm: dict[str, bool]
) -> None:
    stack = DenseStack(
        4, (4, 4, 4), residual=True, activation=activation, initialisation="zero", **norm
    )
    x = torch.randn(5, 4)
    assert torch.equal(stack(x), x)


def test_only_what_batch_norm_takes_away_has_no_bias() -> None:
    assert DenseBlock(3, 4).linear.bias is None
    for options in ({"norm_after": True}, {"batch_norm": False}):
        assert DenseBlock(3, 4, **options).linear.bias is not None
    with_layer_norm = DenseBlock(3, 4, batch_norm=False, layer_norm=True)
    # 3*4 + 4 + 2*4: layer norm takes a mean over units away, not a bias of each.
    assert sum(p.numel() for p in with_layer_norm.parameters()) == 24
    gated = DenseBlock(3, 4, activation="swiglu")
    # 3*8 weights, batch norm of 8 units.
    assert sum(p.numel() for p in gated.parameters()) == 24 + 16


def test_parameters_are_counted() -> None:
    # 3*8 + 2*8 (batch norm), 8*4 + 2*4.
    assert sum(p.numel() for p in DenseStack(3, (8, 4)).parameters()) == 24 + 16 + 32 + 8
    assert sum(p.numel() for p in DenseStack(3, (8,), batch_norm=False).parameters()) == 32


def test_he_initialisation_keeps_the_second_moment_through_ten_layers() -> None:
    stack = DenseStack(512, [512] * 10, batch_norm=False)
    stack.reset_parameters(torch.Generator().manual_seed(3))
    x = torch.randn(256, 512, generator=torch.Generator().manual_seed(4))
    # Each layer multiplies it by 1 with a spread of about sqrt(5/512) = 0.1; ten of them 0.31,
    # and 5 sigma in the logarithm is 1.6.
    assert abs(math.log(stack(x).square().mean().item())) < 1.6


def test_small_gaussian_weights_let_tanh_layers_vanish_by_their_closed_form() -> None:
    stack = DenseStack(
        500, [500] * 10, batch_norm=False, activation="tanh", initialisation="small_gaussian"
    )
    stack.reset_parameters(torch.Generator().manual_seed(3))
    values = torch.randn(1000, 500, generator=torch.Generator().manual_seed(4))
    stds = []
    for block in stack.blocks:
        values = block(values)
        stds.append(values.std().item())
    # tanh is linear from the second layer on: each multiplies by 0.01 sqrt(500) = 0.2236. Its
    # square fluctuates by about sqrt(5/500) = 10 % a layer, so eight of them by 14 % together.
    assert math.log(stds[9] / stds[1]) == pytest.approx(8 * math.log(0.2236), abs=5 * 0.14)


def test_deep_swiglu_needs_layer_norm() -> None:
    x = torch.randn(256, 300, generator=torch.Generator().manual_seed(4))

    def last_std(**norm: bool) -> float:
        stack = DenseStack(300, [300] * 12, activation="swiglu", **norm)
        stack.reset_parameters(torch.Generator().manual_seed(3))
        return float(stack(x).detach().std())

    # The product of two normal numbers squares every deviation from 1, layer after layer.
    assert not math.isfinite(last_std(batch_norm=False))
    # silu(z) z' of two standard normal numbers has the standard deviation 0.596, at any depth.
    assert last_std(batch_norm=False, layer_norm=True) == pytest.approx(0.596, abs=0.02)


def test_dropout_scales_what_it_keeps_so_that_inference_is_its_expectation() -> None:
    block = DenseBlock(1, 100_000, dropout=0.3, batch_norm=False)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        nn.init.ones_(block.linear.weight)
        trained = block(torch.ones(1, 1))
    kept = trained != 0
    # One over the probability to be kept, in float32.
    torch.testing.assert_close(trained[kept], torch.full_like(trained[kept], 1 / 0.7))
    # Five standard deviations of a binomial mean: sqrt(0.7 * 0.3 / 1e5) = 0.0014.
    assert kept.float().mean().item() == pytest.approx(0.7, abs=5 * 0.0015)
    assert trained.mean().item() == pytest.approx(1.0, abs=5 * 0.0015 / 0.7)
    assert torch.equal(block.eval()(torch.ones(1, 1)), torch.ones(1, 100_000))


def test_dropout_works_in_training_only() -> None:
    stack = DenseStack(4, (100,), dropout=0.5, batch_norm=False, activation="tanh")
    x = torch.ones(1, 4)
    assert (stack(x) == 0).any()
    stack.eval()
    assert not (stack(x) == 0).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "rellu"}, "did you mean 'relu'"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"hidden": (8, 0)}, "every size must be at least 1"),
        ({"initialisation": "zeros"}, "did you mean 'zero'"),
        ({"layer_norm": True}, "set batch_norm: false"),
        ({"batch_norm": False, "norm_after": True}, "nothing to normalise with"),
    ],
)
def test_senseless_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DenseStack(3, **({"hidden": (8,)} | options))


def test_a_residual_block_of_two_sizes_is_refused() -> None:
    with pytest.raises(ConfigError, match="as many outputs as inputs, not 3 to 4"):
        DenseBlock(3, 4, residual=True)
