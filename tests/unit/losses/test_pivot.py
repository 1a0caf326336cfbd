"""The densities that an adversary learns, against scipy and known best values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from hepdl.errors import ConfigError, DataError
from hepdl.losses.penalties.densities import LEAST_WIDTH, Mixture
from hepdl.losses.pivot import Pivot

ENTROPY = 0.5 * math.log(2 * math.pi * math.e)


def trained(penalty: Pivot, logits: Tensor, nuisance: Tensor, *, steps: int = 300) -> float:
    """Return the loss of the adversary after so many updates on all events."""
    weight = torch.ones(len(logits))
    penalty.fit_nuisance(nuisance, weight)
    optimizer = torch.optim.Adam(penalty.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = penalty(logits, None, nuisance, weight)
        loss.backward()
        optimizer.step()
    return float(loss.detach())


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """Return scores and a Gaussian nuisance of width 3 with a correlation of 0.8."""
    generator = torch.Generator().manual_seed(0)
    logits, noise = torch.randn(2, 4000, generator=generator)
    return logits, (3 * (0.8 * logits + 0.6 * noise) + 50)[:, None]


def test_a_mixture_has_the_likelihood_of_scipy() -> None:
    torch.manual_seed(1)
    density = Mixture(hidden=(4,), n_components=3).double()
    values = torch.tensor([40.0, 52.0, 61.0, 70.0], dtype=torch.float64)
    weight = torch.tensor([1.0, 2.0, -1.0, 1.0], dtype=torch.float64)
    density.fit_nuisance(values, weight)
    centre = np.average(values, weights=weight.abs())
    scale = math.sqrt(np.average((values - centre) ** 2, weights=weight.abs()))
    seen = torch.randn(4, 1, dtype=torch.float64)
    mean, width, share = (x.detach().numpy() for x in density.network(seen).chunk(3, dim=1))
    width = LEAST_WIDTH + np.log1p(np.exp(width))
    share = np.exp(share) / np.exp(share).sum(axis=1, keepdims=True)
    expected = np.log(
        (share * norm.pdf(values.numpy()[:, None], centre + scale * mean, scale * width)).sum(
            axis=1
        )
    )
    found = density.log_density(values, seen)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-10)


@pytest.mark.parametrize("head", ["mixture", "flow", "bins"])
def test_the_best_adversary_finds_the_information_of_two_gaussians(
    head: str, pair: tuple[Tensor, Tensor]
) -> None:
    torch.manual_seed(2)
    information = -0.5 * math.log(1 - 0.8**2)
    # Entropy of the nuisance, of its rank (relative to the spectrum), and of 16 bins.
    most = {"mixture": ENTROPY + math.log(3), "flow": 0.0, "bins": math.log(16)}[head]
    found = trained(Pivot(head=head), *pair)
    # Bins lose some of the information; 4000 events know it to about 0.015.
    assert found == pytest.approx(most - information, abs=0.06)


@pytest.mark.parametrize("head", ["mixture", "flow", "bins"])
def test_a_score_that_knows_nothing_leaves_the_entropy(head: str) -> None:
    torch.manual_seed(3)
    logits, nuisance = torch.randn(4000), torch.randn(4000, 1)
    most = {"mixture": ENTROPY, "flow": 0.0, "bins": math.log(16)}[head]
    # The adversary learns some noise; the entropy of 4000 numbers is known to 0.011.
    assert trained(Pivot(head=head), logits, nuisance, steps=200) == pytest.approx(most, abs=0.05)


def test_the_classifier_is_pushed_against_the_adversary(pair: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(4)
    logits, nuisance = pair
    penalty = Pivot(strength=2.0, warm_up=0.0)
    trained(penalty, logits, nuisance)
    weight = torch.ones(len(logits))
    scores = logits.clone().requires_grad_()
    gradients = []
    for strength in (1.0, 2.0):
        penalty.strength = strength
        penalty.set_progress(1.0, 2)
        (gradient,) = torch.autograd.grad(penalty(scores, None, nuisance, weight), scores)
        gradients.append(gradient)
    torch.testing.assert_close(gradients[1], 2 * gradients[0])
    before = penalty(logits, None, nuisance, weight)
    # Downhill for the classifier is uphill for the adversary.
    after = penalty(logits - 300 * gradients[0], None, nuisance, weight)
    assert float(after.detach()) > float(before.detach()) + 0.01


def test_weights_count_with_their_absolute_value(pair: tuple[Tensor, Tensor]) -> None:
    logits, nuisance = pair
    penalty = Pivot()
    penalty.fit_nuisance(nuisance, torch.ones(4000))
    weight = torch.rand(4000) + 0.1
    sign = torch.where(torch.arange(4000) % 3 == 0, -1.0, 1.0)
    found = [
        penalty(logits, None, nuisance, w).item() for w in (weight, weight * sign, torch.ones(4000))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0] != pytest.approx(found[2], rel=1e-5)


def test_a_new_beginning_depends_on_the_generator_alone(pair: tuple[Tensor, Tensor]) -> None:
    penalty = Pivot(head="flow")
    trained(penalty, *pair, steps=5)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed + 40)
        before = torch.get_rng_state()
        penalty.restart(torch.Generator().manual_seed(seed))
        assert torch.equal(before, torch.get_rng_state())
        drawn.append(torch.cat([p.detach().flatten().clone() for p in penalty.parameters()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_switch_needs_bins() -> None:
    nuisance = (torch.arange(100) % 2).float()[:, None]
    with pytest.raises(DataError, match=r"'pile_up' has 2 different values.*use head: bins"):
        Pivot(nuisances=["pile_up"]).fit_nuisance(nuisance, torch.ones(100))
    Pivot(nuisances=["pile_up"], head="bins").fit_nuisance(nuisance, torch.ones(100))


def test_bad_options_are_named_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"did you mean 'mixture'[\s\S]*inner_steps must be at least 1"
    ):
        Pivot(head="mixtures", inner_steps=0)
