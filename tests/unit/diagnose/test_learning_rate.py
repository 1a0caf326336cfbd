"""Short trainings find the rates at which gradient descent is known to converge and diverge."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hepdl.diagnose import find_learning_rate
from hepdl.errors import ConfigError
from hepdl.events import Events, Inputs
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.train import TrainOptions

CURVATURE = 50.0


class Point(nn.Module):
    """A single number, whatever the events."""

    inputs = Inputs(features=("x0",))

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([1.0]))

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        return (events.flat,)

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.place.expand(len(tensors[0]))


def parabola(
    logits: Tensor,
    label: Tensor,
    nuisance: Tensor | None,
    event_weight: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    # A little above zero, so that a ratio of losses means something at the bottom.
    return 0.01 + 0.5 * CURVATURE * logits.square().mean()


def test_gradient_descent_on_a_parabola_has_the_closed_form(
    gaussian_events: Callable[..., Events],
) -> None:
    options = TrainOptions(optimizer="sgd", momentum=0.0, minibatch_size=8)
    scan = find_learning_rate(
        Point(), gaussian_events(64), loss=parabola, options=options, lowest=1e-4, n_steps=12
    )
    # Each step multiplies the distance by 1 - rate * curvature.
    for rate, found in zip(scan.rates, scan.losses, strict=True):
        wanted = 0.01 + 0.5 * CURVATURE * (1 - rate * CURVATURE) ** (2 * 12)
        # float32 keeps seven digits of a place from which a step may take five.
        assert found == pytest.approx(wanted, rel=1e-3)
    assert scan.start == pytest.approx(0.01 + 0.5 * CURVATURE)
    # So the best rate is the one nearest to 1 / curvature, and from 2 / curvature it diverges:
    # here two rates follow, and then no further one is tried.
    nearest = min(scan.rates, key=lambda rate: abs(1 - rate * CURVATURE))
    assert scan.best == nearest
    assert scan.diverges_at == min(rate for rate in scan.rates if rate > 2 / CURVATURE)
    assert scan.rates[-2] == scan.diverges_at
    assert scan.suggested is not None
    assert scan.suggested <= scan.best


def test_the_suggested_rate_trains_better_than_much_smaller_or_larger_ones(
    plain, gaussian_events: Callable[..., Events]
) -> None:
    torch.manual_seed(3)
    network = plain(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
    events, loss = gaussian_events(2000, shift=1.0), BinaryCrossEntropy()
    scan = find_learning_rate(
        network, events, loss=loss, options=TrainOptions(optimizer="sgd", momentum=0.9)
    )
    assert scan.suggested is not None

    def loss_after(rate: float) -> float:
        twin = copy.deepcopy(network)
        optimizer = torch.optim.SGD(twin.parameters(), lr=rate, momentum=0.9)
        for step in range(60):
            part = events.take(torch.arange(step * 32, step * 32 + 32))
            optimizer.zero_grad()
            loss(twin(part.flat), part.label, None, part.event_weight).backward()
            optimizer.step()
        with torch.no_grad():
            return float(loss(twin(events.flat), events.label, None, events.event_weight))

    suggested = loss_after(scan.suggested)
    assert suggested < loss_after(scan.suggested / 300)
    assert suggested < loss_after(scan.suggested * 1000)


def test_the_network_and_the_random_numbers_stay_as_they_were(
    plain, gaussian_events: Callable[..., Events]
) -> None:
    network = plain(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    arguments = {"loss": BinaryCrossEntropy(), "options": TrainOptions(seed=4)}
    first = find_learning_rate(network, gaussian_events(300), **arguments)
    assert torch.equal(random, torch.get_rng_state())
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert all(p.grad is None for p in network.parameters())
    assert find_learning_rate(network, gaussian_events(300), **arguments) == first


def test_a_network_that_cannot_learn_gets_no_rate(gaussian_events: Callable[..., Events]) -> None:
    def flat(
        logits: Tensor,
        label: Tensor,
        nuisance: Tensor | None,
        event_weight: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        return 1.0 + 0.0 * logits.sum()

    scan = find_learning_rate(Point(), gaussian_events(64), loss=flat, options=TrainOptions())
    assert (scan.suggested, scan.diverges_at) == (None, None)
    assert "no learning rate from 3e-05 to 1e+01 lowers the loss" in scan.in_words()


def test_a_range_without_steps_is_refused(gaussian_events: Callable[..., Events]) -> None:
    with pytest.raises(ConfigError, match=r"learning rates from 1 to 0\.1 in 30 steps"):
        find_learning_rate(
            Point(),
            gaussian_events(8),
            loss=parabola,
            options=TrainOptions(),
            lowest=1.0,
            highest=0.1,
        )
