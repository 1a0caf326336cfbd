"""Learning rates as a function of the position, beside torch's own schedulers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from hepdl.errors import ConfigError
from hepdl.train import TrainOptions
from hepdl.train.state.learning_rate import LearningRate

N_MINIBATCHES, EPOCHS = 7, 5


def by_step(**options: Any) -> list[float]:
    rate = LearningRate(TrainOptions(learning_rate=0.1, epochs=EPOCHS, **options))
    return [
        rate.at(epoch, minibatch, N_MINIBATCHES)
        for epoch in range(EPOCHS)
        for minibatch in range(N_MINIBATCHES)
    ]


def by_torch(make: Any, *, n_steps: int, **options: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = make(optimizer, **options)
    rates = []
    for _ in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(
    ("options", "make", "oracle"),
    [
        ({"schedule": "constant"}, lr_scheduler.ConstantLR, {"factor": 1.0}),
        ({"schedule": "exponential", "decay": 0.7}, lr_scheduler.ExponentialLR, {"gamma": 0.7}),
        ({"schedule": "cosine"}, lr_scheduler.CosineAnnealingLR, {"T_max": EPOCHS}),
    ],
)
def test_schedules_of_the_epoch_are_those_of_torch(
    options: dict[str, Any], make: Any, oracle: dict[str, Any]
) -> None:
    expected = by_torch(make, n_steps=EPOCHS, **oracle)
    # Rounding of torch's recursions.
    assert by_step(**options) == pytest.approx([r for r in expected for _ in range(7)], rel=1e-12)


@pytest.mark.parametrize(("warm_up", "fraction"), [(0.0, 0.3), (2.0, 2.0 / EPOCHS)])
def test_one_cycle_is_that_of_torch_step_by_step(warm_up: float, fraction: float) -> None:
    n_steps = EPOCHS * N_MINIBATCHES
    options = {"max_lr": 0.1, "total_steps": n_steps, "pct_start": fraction}
    expected = by_torch(lr_scheduler.OneCycleLR, n_steps=n_steps, cycle_momentum=False, **options)
    found = by_step(schedule="one_cycle", warm_up=warm_up)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[0] == pytest.approx(0.1 / 25)
    # The lowest rate is reached with the very last step.
    assert min(found) == found[-1] == pytest.approx(0.1 / 25e4)


def test_a_plateau_is_that_of_torch() -> None:
    losses = [5.0, 4.0, 4.0, 4.1, 3.9, 3.9, 4.0, 4.2, 4.3, 3.0, 3.1]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    oracle = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, threshold=0)
    rate = LearningRate(TrainOptions(learning_rate=0.1, schedule="plateau", decay=0.5))
    found, expected = [], []
    for epoch, loss in enumerate(losses):
        found.append(rate.at(epoch, 3, N_MINIBATCHES))
        expected.append(optimizer.param_groups[0]["lr"])
        rate.end_epoch(loss)
        oracle.step(loss)
        # What a checkpoint holds is all there is.
        again = LearningRate(TrainOptions(learning_rate=0.1, schedule="plateau", decay=0.5))
        again.load_state_dict(rate.state_dict())
        rate = again
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[-1] == pytest.approx(0.1 / 8)


def test_warm_up_rises_linearly_and_then_leaves_the_schedule_alone() -> None:
    warm, cold = by_step(schedule="cosine", warm_up=1.5), by_step(schedule="cosine")
    ratio = [a / b for a, b in zip(warm, cold, strict=True)]
    expected = [min(1.0, (step + 1) / (1.5 * N_MINIBATCHES)) for step in range(len(warm))]
    assert ratio == pytest.approx(expected, rel=1e-12)
    assert ratio[0] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warm_up": 5.0, "epochs": 5}, r"warm_up must be shorter than the 5 epochs, got 5\.0"),
        ({"nesterov": True}, "nesterov needs optimizer sgd with a momentum > 0, got adam"),
        ({"nesterov": True, "optimizer": "sgd", "momentum": 0.0}, r"sgd with momentum 0\.0"),
        ({"ema": 1.0}, r"train\.ema must be a number in \(0, 1\), got 1\.0"),
        ({"accumulate": 0}, r"train\.accumulate must be a whole number >= 1, got 0"),
        ({"sync_every": 0}, r"train\.sync_every must be a whole number >= 1, got 0"),
        ({"autocast": "bfloat"}, "unknown autocast 'bfloat'.*did you mean 'bfloat16'"),
        ({"schedule": "one_cycel"}, "did you mean 'one_cycle'"),
        ({"stream": 500}, r"train\.stream is 500: it must hold four minibatches of 128"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainOptions(**options)
