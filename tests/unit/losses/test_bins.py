from __future__ import annotations

import pytest
import torch

from hepdl.losses.penalties.bins import bin_numbers, quantile_edges


def test_bins_hold_equal_weight_whatever_the_signs() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(20_000, generator=generator) ** 2
    weight = torch.randn(20_000, generator=generator)
    edges = quantile_edges(values, weight, n_bins=8)
    held = torch.zeros(8).index_add_(0, bin_numbers(values[:, None], edges[None])[0], weight.abs())
    # An edge is an event: off by the weight of one or two.
    assert (held / weight.abs().sum()).tolist() == pytest.approx([1 / 8] * 8, abs=3e-4)


def test_few_values_have_a_bin_each() -> None:
    values = torch.tensor([-1.0, 0.0, 1.0, 0.0, 1.0])
    edges = quantile_edges(values, torch.ones(5), n_bins=6)
    assert bin_numbers(values[:, None], edges[None])[0].tolist() == [0, 1, 2, 1, 2]
    assert edges[2:].isinf().all()
