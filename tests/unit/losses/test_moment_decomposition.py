"""Moment decomposition against closed forms and a slow loop."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre
from torch import Tensor

from hepdl.errors import ConfigError, DataError
from hepdl.losses.moment_decomposition import MomentDecomposition


def fitted(nuisance: Tensor, **options: object) -> MomentDecomposition:
    penalty = MomentDecomposition(**({"estimator": "v"} | options)).double()  # type: ignore[arg-type]
    penalty.fit_nuisance(nuisance, torch.ones(len(nuisance), dtype=torch.float64))
    penalty.set_progress(1.0, 2)
    return penalty


def uniform(n_bins: int, n_each: int, shift: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return scores uniform in [0, 1] plus a shift in each bin, and the number of the bin."""
    position = (np.arange(n_each) + 0.5) / n_each
    scores = (position[None, :] + shift[:, None]).reshape(-1)
    bins = np.repeat(np.arange(n_bins, dtype=float), n_each)
    return torch.from_numpy(scores), torch.from_numpy(bins)[:, None]


def test_two_uniform_scores_apart_have_the_integral_of_the_closed_form() -> None:
    # F_1 - F_2 is s on [0, d], d on [d, 1], 1 + d - s on [1, 1 + d]; each residual is half of it, so that the
    # integral of the mean square is (2 d^3 / 3 + d^2 (1 - d)) / 4. The variance is 1/12 + d^2/4.
    d = 0.4
    logits, nuisance = uniform(2, 4000, np.array([0.0, d]))
    expected = (2 * d**3 / 3 + d**2 * (1 - d)) / 4 / np.sqrt(1 / 12 + d**2 / 4)
    weight = torch.ones(8000, dtype=torch.float64)
    found = fitted(nuisance, n_bins=4)(logits, None, nuisance, weight).item()
    # 4000 steps of the distribution functions, and 1e-6 beside the variance.
    assert found == pytest.approx(expected, rel=1e-3)


def slow(
    penalty: MomentDecomposition,
    logits: np.ndarray,
    bins: np.ndarray,
    weight: np.ndarray,
    order: int,
) -> float:
    """Return the integral by loops and numpy's Legendre fit."""
    weight = np.abs(weight)
    mean = np.average(logits, weights=weight)
    s = (logits - mean) / np.sqrt(np.average((logits - mean) ** 2, weights=weight) + 1e-6)
    numbers = np.unique(bins)
    n_bins = penalty.n_bins
    position = (2 * numbers + 1) / n_bins - 1
    share = np.array([weight[bins == b].sum() for b in numbers]) / weight.sum()
    total = 0.0
    ordered = np.sort(s)
    for low, high in pairwise(ordered):
        f = np.array(
            [weight[(bins == b) & (s <= low)].sum() / weight[bins == b].sum() for b in numbers]
        )
        fit = legendre.Legendre.fit(position, f, order, domain=[-1, 1], w=np.sqrt(share))
        total += (high - low) * (share * (f - fit(position)) ** 2).sum()
    return float(total)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_agrees_with_a_slow_loop_and_the_fit_of_numpy(order: int) -> None:
    random = np.random.default_rng(order)
    bins = random.integers(0, 6, 120).astype(float)
    logits = random.normal(size=120) + 0.2 * bins**2
    weight = random.normal(size=120)
    nuisance = torch.from_numpy(bins)[:, None]
    penalty = fitted(nuisance, order=order, n_bins=6)
    found = penalty(torch.from_numpy(logits), None, nuisance, torch.from_numpy(weight)).item()
    assert found == pytest.approx(slow(penalty, logits, bins, weight, order), rel=1e-6)


def test_a_linear_change_is_free_for_order_one_alone() -> None:
    # Mixtures of two distributions whose share is linear in the position of the bin.
    n_each, n_bins = 800, 8
    logits, nuisance = [], []
    for b in range(n_bins):
        n_first = n_each * (b + 1) // 10
        logits += [np.linspace(0, 1, n_first), np.linspace(2, 3, n_each - n_first)]
        nuisance.append(np.full(n_each, float(b)))
    scores = torch.from_numpy(np.concatenate(logits))
    bins = torch.from_numpy(np.concatenate(nuisance))[:, None]
    weight = torch.ones(len(scores), dtype=torch.float64)
    found = [
        fitted(bins, order=order, n_bins=n_bins)(scores, None, bins, weight).item()
        for order in (0, 1, 2)
    ]
    assert found[0] > 0.02
    # Steps of 1/80 and smaller.
    assert found[1] < 1e-4
    assert found[2] < 1e-4


def test_the_gradient_is_that_of_the_value() -> None:
    random = np.random.default_rng(4)
    nuisance = torch.from_numpy(random.normal(size=(40, 2)))
    weight = torch.from_numpy(random.random(40))
    for estimator in ("v", "u"):
        penalty = fitted(nuisance, n_bins=4, order=1, estimator=estimator)
        logits = torch.from_numpy(random.normal(size=40)).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda x, p=penalty: p(x, None, nuisance, weight), (logits,)
        )


def test_squeezing_or_shifting_the_scores_changes_nothing() -> None:
    nuisance, logits = torch.randn(300, 1).double(), torch.randn(300).double()
    penalty, weight = fitted(nuisance), torch.ones(300).double()
    before = penalty(logits, None, nuisance, weight).item()
    # 1e-6 guards the variance, here 0.01 after squeezing.
    after = penalty(0.1 * logits - 4, None, nuisance, weight).item()
    assert after == pytest.approx(before, rel=1e-4)


def test_the_unbiased_form_of_independent_numbers_is_zero_on_average() -> None:
    generator = torch.Generator().manual_seed(1)
    found: dict[str, list[float]] = {"u": [], "v": []}
    for _ in range(200):
        nuisance = torch.rand(160, 1, generator=generator).double()
        logits = torch.randn(160, generator=generator).double()
        weight = 0.5 + torch.rand(160, generator=generator).double()
        for estimator, values in found.items():
            penalty = fitted(nuisance, n_bins=8, estimator=estimator)
            values.append(penalty(logits, None, nuisance, weight).item())
    # Twenty events a bin: 0.5 / 20 and a little more for unequal weights.
    assert 0.02 < np.mean(found["v"]) < 0.04
    error = np.std(found["u"]) / np.sqrt(200)
    assert abs(np.mean(found["u"])) < 5 * error
    assert error < 0.001


def test_a_bin_without_events_in_the_minibatch_is_no_obstacle() -> None:
    nuisance = torch.linspace(0, 1, 400).double()[:, None]
    penalty = fitted(nuisance, n_bins=8, order=2)
    logits = torch.randn(20).double().requires_grad_()
    value = penalty(logits, None, nuisance[:20], torch.ones(20).double())
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-9)
    assert bool(torch.isfinite(logits.grad).all()) if logits.grad is not None else False


def test_options_and_nuisances_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"order must be one of 0, 1, 2, got 3.*did you mean"):
        MomentDecomposition(order=3, estimator="uu")
    with pytest.raises(ConfigError, match="n_bins must be at least 4 for order 2, got 3"):
        MomentDecomposition(order=2, n_bins=3)
    with pytest.raises(DataError, match="'switch' has 2 different values, and order 1 needs 3"):
        MomentDecomposition(order=1, nuisances=["switch"]).fit_nuisance(
            torch.tensor([[0.0], [1.0]]), torch.ones(2)
        )
