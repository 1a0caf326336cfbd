from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hepdl.errors import ConfigError
from hepdl.layers import GatedBlock, SwiGLU


def test_swiglu_is_its_formula() -> None:
    a, b = 0.7, -1.3
    expected = a / (1 + math.exp(-a)) * b
    assert SwiGLU()(torch.tensor([[a, b]])).item() == pytest.approx(expected, rel=1e-6)


def test_a_block_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    block = GatedBlock(4, 6).double()
    for parameter in block.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.randn(9, 4, generator=generator).double()
    z = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    z = z * block.norm.weight + block.norm.bias
    z = z @ block.expand.weight.T + block.expand.bias
    inner = z[:, :6] * torch.sigmoid(z[:, :6]) * z[:, 6:]
    expected = x + block.scale * (inner @ block.contract.weight.T + block.contract.bias)
    # The same float64 formula.
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


def test_a_block_whose_layer_scale_is_zero_is_the_identity_and_still_learns() -> None:
    block = GatedBlock(5, 8, layer_scale=0.0)
    x = torch.randn(3, 5)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.scale.grad is not None
    assert block.scale.grad.any()


def test_parameters_are_counted() -> None:
    # Norm 2d, expand d 2h + 2h, contract h d + d, scale d.
    d, h = 10, 7
    n = sum(p.numel() for p in GatedBlock(d, h).parameters())
    assert n == 2 * d + (d * 2 * h + 2 * h) + (h * d + d) + d


def test_the_first_step_sees_corrections_of_the_size_of_the_layer_scale() -> None:
    block = GatedBlock(400, 400, layer_scale=0.1)
    block.reset_parameters(torch.Generator().manual_seed(1))
    x = torch.randn(500, 400, generator=torch.Generator().manual_seed(2))
    moment = ((block(x) - x) / 0.1).square().mean().item()
    # Two random matrices of 400 rows, each product fluctuates by about sqrt(5/400) = 11 %.
    assert moment == pytest.approx(1.0, abs=5 * 0.16)


def test_dropout_works_in_training_only() -> None:
    block = GatedBlock(4, 50, dropout=0.5)
    x = torch.randn(2, 4)
    assert isinstance(block.dropout, nn.Dropout)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [((4, 0), {}, "0 hidden units"), ((4, 4), {"dropout": 1.5}, "dropout is 1.5")],
)
def test_senseless_options_are_refused(sizes, options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        GatedBlock(*sizes, **options)
