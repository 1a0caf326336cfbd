"""The flatness of boosting to uniformity against closed forms and a slow loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hepdl.errors import ConfigError
from hepdl.losses.flatness import Flatness


def fitted(nuisance: Tensor, **options: object) -> Flatness:
    penalty = Flatness(**options).double()  # type: ignore[arg-type]
    penalty.fit_nuisance(nuisance, torch.ones(len(nuisance), dtype=torch.float64))
    penalty.set_progress(1.0, 2)
    return penalty


def switch(n: int) -> Tensor:
    return (torch.arange(n) % 2).double()[:, None]


def test_two_scores_without_overlap_have_one_over_twelve() -> None:
    # F_0 is min(2 F, 1) and F_1 is max(2 F - 1, 0): both are min(F, 1 - F) away, whose square has the mean 1/12.
    nuisance = switch(4000)
    logits = nuisance[:, 0] + torch.linspace(0, 0.5, 4000).double()
    found = fitted(nuisance)(logits, None, nuisance, torch.ones(4000).double()).item()
    # Steps of 1/2000.
    assert found == pytest.approx(1 / 12, rel=2e-3)


@pytest.mark.parametrize("power", [1.5, 2.0, 3.0])
def test_agrees_with_a_slow_loop(power: float) -> None:
    random = np.random.default_rng(0)
    bins = random.integers(0, 3, 90)
    s = np.round(random.normal(size=90) + 0.5 * bins, 1)
    weight = random.normal(size=90)
    w = np.abs(weight) / np.abs(weight).sum()

    def reached(value: float, chosen: np.ndarray) -> float:
        below, equal = w[chosen & (s < value)].sum(), w[chosen & (s == value)].sum()
        return float((below + 0.5 * equal) / w[chosen].sum())

    everything = np.ones(90, dtype=bool)
    expected, slopes = 0.0, []
    for i in range(90):
        overall = reached(s[i], everything)
        apart = np.array([reached(s[i], bins == b) - overall for b in range(3)])
        share = np.array([w[bins == b].sum() for b in range(3)])
        expected += w[i] * (share * np.abs(apart) ** power).sum()
        own = apart[bins[i]]
        slopes.append(-power * np.sign(own) * abs(own) ** (power - 1) * w[i])
    nuisance = torch.from_numpy(bins.astype(float))[:, None]
    logits = torch.from_numpy(s).requires_grad_()
    value = fitted(nuisance, power=power, n_bins=3)(
        logits, None, nuisance, torch.from_numpy(weight)
    )
    assert value.item() == pytest.approx(expected, rel=1e-10)
    # The gradient is per unit of the scaled score: its own mean and spread are projected out.
    value.backward()
    spread = np.sqrt(np.average((s - np.average(s, weights=w)) ** 2, weights=w) + 1e-6)
    scaled = (s - np.average(s, weights=w)) / spread
    slope = np.array(slopes)
    projected = (slope - w * slope.sum() - w * scaled * (slope @ scaled)) / spread
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx(projected.tolist(), abs=1e-8)


def test_knows_only_the_order_of_the_scores() -> None:
    nuisance, logits = torch.randn(200, 1).double(), torch.randn(200).double()
    penalty, weight = fitted(nuisance), torch.ones(200).double()
    found = [
        penalty(x, None, nuisance, weight).item() for x in (logits, logits.exp(), 3 * logits**3)
    ]
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)


def test_a_step_against_the_gradient_makes_the_score_flatter() -> None:
    torch.manual_seed(0)
    nuisance = torch.rand(2000, 1).double()
    logits = (nuisance[:, 0] + 0.3 * torch.randn(2000)).double()
    penalty, weight = fitted(nuisance), torch.ones(2000).double()
    values = []
    for _ in range(60):
        scores = logits.clone().requires_grad_()
        value = penalty(scores, None, nuisance, weight)
        value.backward()
        assert scores.grad is not None
        values.append(value.item())
        logits = logits - 100 * scores.grad
    assert values[-1] < 0.1 * values[0]


def test_equal_scores_are_flat() -> None:
    logits = torch.zeros(50).double().requires_grad_()
    nuisance = torch.randn(50, 1).double()
    value = fitted(nuisance)(logits, None, nuisance, torch.ones(50).double())
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-15)
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) < 1e-12


def test_the_second_binning_is_shifted_by_half_a_bin() -> None:
    nuisance = torch.arange(80).double()[:, None]
    penalty = fitted(nuisance, n_bins=4)
    assert penalty.edges[0].tolist() == [19, 39, 59]
    assert penalty.shifted[0].tolist() == [9, 29, 49, 69]


def test_bad_options_are_named_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"n_bins must be at least 2.*power must be a number above 1"
    ):
        Flatness(n_bins=1, power=1.0)
