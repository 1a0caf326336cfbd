from __future__ import annotations

import math

import pytest
import torch

from hepdl.errors import ConfigError, DataError
from hepdl.layers.reversal import reverse_gradient
from hepdl.losses.gradient_reversal import GradientReversal


def fitted(n_events: int = 500, **options: object) -> tuple[GradientReversal, torch.Tensor]:
    torch.manual_seed(0)
    penalty = GradientReversal(**options)  # type: ignore[arg-type]
    nuisance = torch.randn(n_events, 1)
    penalty.fit_nuisance(nuisance, torch.ones(n_events))
    return penalty, nuisance


def test_reversal_is_the_identity_forwards_and_minus_the_strength_backwards() -> None:
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    y = reverse_gradient(x, strength=2.5)
    assert torch.equal(y, x)
    (y**2).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, -2.5 * 2 * x.detach())


def test_bins_hold_equal_weight() -> None:
    torch.manual_seed(1)
    nuisance, weight = torch.rand(10_000, 1) ** 3, 0.1 + torch.rand(10_000)
    penalty = GradientReversal(n_bins=5)
    penalty.fit_nuisance(nuisance, weight)
    bins = torch.searchsorted(penalty.edges[0], nuisance[:, 0])
    held = torch.zeros(5).index_add_(0, bins, weight) / weight.sum()
    # An edge is an event, so a bin is off by at most the weight of one event or two.
    assert held.tolist() == pytest.approx([0.2] * 5, abs=4e-4)


def test_a_nuisance_with_two_values_is_no_obstacle() -> None:
    penalty = GradientReversal(n_bins=16)
    nuisance = (torch.arange(100) % 2)[:, None].float()
    penalty.fit_nuisance(nuisance, torch.ones(100))
    penalty.set_progress(5, 10)
    assert torch.isfinite(penalty(torch.randn(100), None, nuisance, torch.ones(100)))


def test_an_adversary_that_knows_nothing_pays_the_entropy_of_the_bins() -> None:
    penalty, nuisance = fitted(n_bins=8)
    for parameter in penalty.adversary.parameters():
        torch.nn.init.zeros_(parameter)
    value = penalty(torch.randn(500), None, nuisance, torch.ones(500))
    assert value.item() == pytest.approx(math.log(8), rel=1e-6)


def test_squeezing_or_shifting_the_scores_changes_nothing() -> None:
    penalty, nuisance = fitted()
    logits = torch.randn(500)
    before = penalty(logits, None, nuisance, torch.ones(500)).item()
    after = penalty(0.1 * logits + 3, None, nuisance, torch.ones(500)).item()
    # 1e-6 guards the variance, here 0.01 after squeezing.
    assert after == pytest.approx(before, rel=1e-4)


def test_the_classifier_is_pushed_against_the_adversary() -> None:
    penalty, nuisance = fitted(strength=3.0, warm_up=0)
    weight = torch.ones(500)
    logits = (nuisance[:, 0] + torch.randn(500)).requires_grad_()
    optimizer = torch.optim.Adam(penalty.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        penalty(logits.detach(), None, nuisance, weight).backward()
        optimizer.step()
    penalty.set_progress(0.0, 10)
    start = penalty(logits, None, nuisance, weight)
    start.backward()
    assert logits.grad is not None
    with torch.no_grad():
        downhill = penalty(logits - 1.0 * logits.grad, None, nuisance, weight)
    assert downhill > start


def test_during_the_warm_up_only_the_adversary_learns() -> None:
    penalty, nuisance = fitted(strength=3.0, warm_up=2)
    penalty.set_progress(1.99, 10)
    logits = torch.randn(500, requires_grad=True)
    penalty(logits, None, nuisance, torch.ones(500)).backward()
    assert logits.grad is not None
    assert bool((logits.grad == 0).all())
    assert all(bool((p.grad != 0).any()) for p in penalty.parameters() if p.grad is not None)


def test_strength_follows_the_schedule() -> None:
    constant, sigmoid = GradientReversal(strength=4), GradientReversal(strength=4)
    sigmoid.schedule = "sigmoid"
    seen = []
    for epoch in (0.0, 1.9, 2.0, 6.0, 10.0):
        constant.set_progress(epoch, 10)
        sigmoid.set_progress(epoch, 10)
        seen.append((constant.current_strength, sigmoid.current_strength))
    expected = [4 * (2 / (1 + math.exp(-10 * p)) - 1) for p in (0.0, 0.5, 1.0)]
    assert [pair[0] for pair in seen] == [0, 0, 4, 4, 4]
    assert [pair[1] for pair in seen] == pytest.approx([0, 0, *expected])


def test_several_nuisances_add_up() -> None:
    torch.manual_seed(2)
    nuisance = torch.randn(300, 2)
    both = GradientReversal(n_bins=4)
    both.fit_nuisance(nuisance, torch.ones(300))
    for parameter in both.adversary.parameters():
        torch.nn.init.zeros_(parameter)
    value = both(torch.randn(300), None, nuisance, torch.ones(300))
    assert value.item() == pytest.approx(2 * math.log(4), rel=1e-6)


def test_every_bad_option_is_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"strength must be .* n_bins .*did you mean 'sigmoid'"):
        GradientReversal(strength=-1, n_bins=1, schedule="sigmoids")


def test_events_without_the_nuisance_are_refused() -> None:
    with pytest.raises(DataError, match="give a branch the role 'nuisance'"):
        GradientReversal().fit_nuisance(torch.zeros(5, 0), torch.ones(5))


def test_a_nuisance_that_is_not_finite_is_refused_with_its_entry() -> None:
    nuisance = torch.zeros(5, 1)
    nuisance[3] = math.nan
    with pytest.raises(DataError, match="entry 3 is not finite"):
        GradientReversal().fit_nuisance(nuisance, torch.ones(5))
