"""Several assignments of an event become one vector, or one number."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hepdl.layers.assignment_pooling import AssignmentPooling, log_mean_exp, masked_softmax


def drawn(n_events: int = 6, n_assignments: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(n_events, n_assignments, 3, generator=generator)
    score = torch.randn(n_events, n_assignments, generator=generator)
    mask = torch.rand(n_events, n_assignments, generator=generator) < 0.6
    mask[0], mask[1] = False, True
    return embeddings, score, mask


def test_the_mean_is_its_formula_event_by_event() -> None:
    pooling = AssignmentPooling(3)
    assert pooling.logits is not None
    embeddings, score, mask = drawn()
    filled, there = pooling.filled(embeddings, mask)
    found = pooling(filled, score, there)
    direction, factor = pooling.logits.linear.weight[0].tolist(), 1.0
    for event in range(1, 6):
        rows = [k for k in range(5) if mask[event, k]]
        sizes = [
            math.exp(
                sum(a * b for a, b in zip(direction, embeddings[event, k].tolist(), strict=True))
                + factor * score[event, k].item()
            )
            for k in rows
        ]
        expected = [
            sum(s * embeddings[event, k, i].item() for s, k in zip(sizes, rows, strict=True))
            / sum(sizes)
            for i in range(3)
        ]
        # float32 of order one.
        assert found[event].tolist() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(found[0], pooling.default)


def test_weights_are_zero_where_there_is_no_assignment_and_sum_to_one() -> None:
    embeddings, score, mask = drawn()
    pooling = AssignmentPooling(3)
    weights = pooling.weights(*_ordered(pooling, embeddings, score, mask))
    assert not weights[1:][~mask[1:]].any()
    torch.testing.assert_close(weights.sum(1), torch.ones(6))
    assert weights[0].tolist() == [1, 0, 0, 0, 0]


def _ordered(
    pooling: AssignmentPooling, embeddings: Tensor, score: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    filled, there = pooling.filled(embeddings, mask)
    return filled, score, there


def test_the_logarithm_of_the_mean_ratio() -> None:
    _, logits, mask = drawn()
    mask[0, 2] = True
    values = torch.linspace(-2, 2, 30).view(6, 5)
    weights = masked_softmax(logits, mask)
    expected = (weights.double() * values.double().exp()).sum(1).log()
    # float32 logarithms of order one.
    torch.testing.assert_close(
        log_mean_exp(values, logits, mask).double(), expected, atol=1e-5, rtol=0
    )
    # A constant comes through, however large: nothing overflows.
    same = log_mean_exp(torch.full((6, 5), 300.0), logits, mask)
    torch.testing.assert_close(same, torch.full((6,), 300.0))


def test_gradients_stay_finite_where_assignments_are_masked() -> None:
    embeddings, score, mask = drawn()
    pooling = AssignmentPooling(3)
    rows = embeddings.requires_grad_()
    filled, there = pooling.filled(rows, mask)
    mean = log_mean_exp(filled.sum(2), score, there)
    (pooling(filled, score, there).sum() + mean.sum()).backward()
    assert rows.grad is not None
    assert torch.isfinite(rows.grad).all()
    assert not rows.grad[~mask].any()
    assert rows.grad[mask].any()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in pooling.parameters())


def test_without_learning_the_default_is_zero() -> None:
    pooling = AssignmentPooling(3, has_weights=False, learns_default=False)
    assert not list(pooling.parameters())
    embeddings, _, mask = drawn()
    filled, there = pooling.filled(embeddings, mask)
    assert not filled[0, 0].any()
    assert torch.equal(filled[1:], embeddings[1:])
    assert there[0].tolist() == [True, False, False, False, False]
