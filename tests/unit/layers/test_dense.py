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
    ],
)
def test_senseless_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DenseStack(3, **({"hidden": (8,)} | options))


def test_a_residual_block_of_two_sizes_is_refused() -> None:
    with pytest.raises(ConfigError, match="as many outputs as inputs, not 3 to 4"):
        DenseBlock(3, 4, residual=True)
