"""A number that is not finite ends the fit, and its message says where it began."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hepdl.errors import DivergedError
from hepdl.events import Events
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.losses.gradient_reversal import GradientReversal
from hepdl.train import CheckpointFolder, TrainOptions
from hepdl.train.state.minibatches import permutation
from hepdl.train.supervised import fit

Make = Callable[..., Any]


def message_of(network: nn.Module, train: Events, validation: Events, **changes: Any) -> str:
    keys = ("decorrelation", "hooks", "checkpoint")
    given = {key: changes.pop(key) for key in keys if key in changes}
    settings = {"epochs": 2, "minibatch_size": 50, "learning_rate": 0.01} | changes
    with pytest.raises(DivergedError) as caught:
        fit(
            network,
            train,
            validation,
            options=TrainOptions(**settings),
            loss=BinaryCrossEntropy(),
            observe=lambda values, epoch: None,
            **given,
        )
    return str(caught.value)


def place_of(entry: int, n_events: int, *, epoch: int) -> int:
    """Return the minibatch of 50 that has the entry."""
    return permutation(n_events, seed=0, epoch=epoch).tolist().index(entry) // 50


class SlowPoison(nn.Module):
    """Its output is infinite for one event, from a step on."""

    def __init__(self, size: int, *, after: int, backwards: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(size, size)
        self.register_buffer("n_calls", torch.zeros((), dtype=torch.int64))
        self.after, self.backwards = after, backwards

    def forward(self, values: Tensor) -> Tensor:
        if self.training:
            self.n_calls += 1
        output: Tensor = self.linear(values)
        if self.n_calls <= self.after:
            return output
        # The root of zero has an infinite gradient: times zero, it is not a number.
        return output + torch.sqrt(output * 0) if self.backwards else output / (output * 0)


@pytest.mark.parametrize("sync_every", [1, 4, 50])
def test_names_step_layer_feature_and_event(
    tiny: Make, events: Make, tmp_path: Path, sync_every: int
) -> None:
    train, folder = events(1000), CheckpointFolder(tmp_path)
    train.flat[321, 1] = math.inf
    network = tiny(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    message = message_of(network, train, events(100), checkpoint=folder, sync_every=sync_every)
    step = place_of(321, 1000, epoch=0)
    assert f"training diverged in epoch 0, step {step}: loss " in message
    assert "it begins with the output of layer stack.0 (Linear)" in message
    assert "features of the minibatch: not finite: b = inf (event number 321)" in message
    # No epoch was finished, so there is no good checkpoint.
    assert "checkpoint" not in message


def test_names_the_layer_in_the_middle_and_keeps_the_last_good_checkpoint(
    tiny: Make, events: Make, tmp_path: Path
) -> None:
    train, folder = events(1000), CheckpointFolder(tmp_path)
    train.flat[7, 0] = -1234.5
    network = tiny(
        nn.Linear(2, 4), nn.Dropout(0.3), nn.Sequential(SlowPoison(4, after=25)), nn.Linear(4, 1)
    )
    message = message_of(network, train, events(100), checkpoint=folder, ema=0.9)
    assert "training diverged in epoch 1, step 25: loss nan" in message
    assert "it begins with the output of layer stack.2.0 (SlowPoison)" in message
    assert "all finite, the largest: " in message
    assert f"the last good checkpoint is {folder.file}" in message
    stored = folder.load()
    assert stored is not None
    assert stored["state"]["progress"]["epoch"] == 1
    assert all(bool(torch.isfinite(v).all()) for v in stored["state"]["network"].values())


def test_the_largest_features_are_named_when_all_are_finite(tiny: Make, events: Make) -> None:
    train = events(1000)
    train.flat[:] *= 1e-3
    train.flat[17, 0] = -1234.5
    entry = place_of(17, 1000, epoch=0)
    network = tiny(SlowPoison(2, after=entry), nn.Linear(2, 1))
    message = message_of(network, train, train)
    assert f"step {entry}: loss nan" in message
    assert "the largest: a = -1234.5 (event number 17), " in message


def test_a_gradient_that_is_not_finite_is_found_although_the_loss_is(
    tiny: Make, events: Make
) -> None:
    network = tiny(nn.Linear(2, 4), SlowPoison(4, after=11, backwards=True), nn.Linear(4, 1))
    message = message_of(network, events(1000), events(100))
    # The loss of the step itself is finite; without the replay it would be the next step.
    assert "step 11: loss 0." in message
    assert "it begins with the gradient by the output of layer stack.1.linear (Linear)" in message


def test_the_very_last_gradient_of_an_epoch_is_looked_at(tiny: Make, events: Make) -> None:
    network = tiny(SlowPoison(2, after=19, backwards=True), nn.Linear(2, 1))
    message = message_of(network, events(1000), events(100), epochs=1)
    assert "epoch 0, step 19: loss 0." in message
    assert "gradient norm nan" in message


def test_an_infinite_penalty_is_named_and_dropout_repeats_itself(tiny: Make, events: Make) -> None:
    class Broken(GradientReversal):
        def forward(self, *arguments: Any, **options: Any) -> Tensor:
            value: Tensor = super().forward(*arguments, **options)
            return value * math.inf if self.current_strength > 0 else value

    network = tiny(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    penalty = Broken(nuisances=["mass"], warm_up=0.5)
    message = message_of(network, events(1000), events(100), decorrelation=penalty)
    assert "epoch 0, step 10: loss 0." in message
    # The adversary has taken a step with it already.
    assert "penalty nan" in message


def test_what_a_hook_did_is_not_found_again_and_that_is_said(tiny: Make, events: Make) -> None:
    def poison(view: Any) -> None:
        if view.step == 3:
            with torch.no_grad():
                next(view.model.parameters()).fill_(math.nan)

    message = message_of(tiny(), events(1000), events(100), hooks=[poison])
    assert "epoch 0, step 3: loss nan; when the steps were done again, without hooks" in message


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 10.0), ("adam", 10.0), ("adam", 1e3)])
@pytest.mark.parametrize("sync_every", [7, 50, 1000])
def test_a_learning_rate_that_diverges_in_the_first_steps_is_refused(
    tiny: Make, events: Make, optimizer: str, rate: float, sync_every: int
) -> None:
    network = tiny(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
    train = events(6000)
    options = {"optimizer": optimizer, "learning_rate": rate, "sync_every": sync_every}
    message = message_of(network, train, train, **options)
    assert "the loss rose from 0." in message
    assert "and in the latest 20 it is " in message
    assert f"(learning rate {rate:g}); use a smaller learning_rate" in message


def test_overflows_of_half_precision_are_not_taken_for_the_fault(tiny: Make, events: Make) -> None:
    train = events(1000)
    # Gradients times the first scale, 65536, overflow float16 in the first steps.
    train.flat[:] = 100 * train.flat
    network = tiny(nn.Linear(2, 4), SlowPoison(4, after=17), nn.Linear(4, 1))
    message = message_of(network, train, train, autocast="float16", epochs=1)
    assert "epoch 0, step 17: loss nan; it begins with the output of layer stack.1" in message


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_high_learning_rate_that_learns_is_none(tiny: Make, events: Make, optimizer: str) -> None:
    train = events(6000)
    network = tiny(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
    options = TrainOptions(epochs=1, minibatch_size=50, learning_rate=1.0, optimizer=optimizer)
    result = fit(
        network,
        train,
        train,
        options=options,
        loss=BinaryCrossEntropy(),
        observe=lambda values, epoch: None,
    )
    # The best possible AUC is 0.841.
    assert result.best_validation_auc > 0.8


def test_a_loss_that_begins_high_and_falls_is_no_divergence(tiny: Make, events: Make) -> None:
    train = events(6000)
    # The wrong way round, far from zero.
    train.flat[:] = -300 * train.flat
    network = tiny(nn.Linear(2, 1))
    result = fit(
        network,
        train,
        train,
        options=TrainOptions(epochs=1, minibatch_size=50, learning_rate=0.01),
        loss=BinaryCrossEntropy(),
        observe=lambda values, epoch: None,
    )
    assert result.history[0]["train_loss"] > 1
