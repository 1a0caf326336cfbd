from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy


def test_agrees_with_scikit_learn_for_positive_weights() -> None:
    rng = np.random.default_rng(3)
    logits, label, weight = rng.normal(size=200), rng.integers(0, 2, 200), rng.uniform(size=200)
    ours = BinaryCrossEntropy()(
        torch.tensor(logits), torch.tensor(label), None, torch.tensor(weight)
    )
    theirs = log_loss(label, 1 / (1 + np.exp(-logits)), sample_weight=weight)
    # Both in double precision.
    assert ours.item() == pytest.approx(theirs, rel=1e-12)


def test_logit_zero_costs_log_two() -> None:
    value = BinaryCrossEntropy()(torch.zeros(4), torch.tensor([0, 1, 1, 0]), None, torch.ones(4))
    assert value.item() == pytest.approx(math.log(2), rel=1e-6)


def test_an_event_and_its_negative_copy_cancel() -> None:
    logits, label = torch.tensor([0.3, 2.0, 2.0]), torch.tensor([1, 0, 0])
    value = BinaryCrossEntropy()(logits, label, None, torch.tensor([1.0, 1.0, -1.0]))
    # The sum of |w| is 3, and only the first event is left in the numerator.
    assert value.item() == pytest.approx(math.log1p(math.exp(-0.3)) / 3, rel=1e-6)


def test_large_logits_do_not_overflow() -> None:
    value = BinaryCrossEntropy()(
        torch.tensor([1e4, -1e4]), torch.tensor([1, 1]), None, torch.ones(2)
    )
    assert value.item() == pytest.approx(5e3)


def test_logits_of_another_shape_are_refused_instead_of_broadcast() -> None:
    with pytest.raises(ValueError, match="size"):
        BinaryCrossEntropy()(torch.zeros(4, 1), torch.zeros(4), None, torch.ones(4))
