from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from torch import nn

from hepdl.errors import ConfigError, DataError, DivergedError, StoppedError
from hepdl.events import Events
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.losses.gradient_reversal import GradientReversal
from hepdl.train import CheckpointFolder, FitResult, StepView, StopRequest, TrainOptions
from hepdl.train.supervised import fit

Make = Callable[..., Any]


def run(network: nn.Module, train: Events, validation: Events, **changes: Any) -> FitResult:
    keys = ("loss", "decorrelation", "observe", "hooks", "checkpoint", "resume", "stop")
    given = {key: changes.pop(key) for key in keys if key in changes}
    settings = {"epochs": 3, "minibatch_size": 32, "learning_rate": 0.01} | changes
    defaults = {"loss": BinaryCrossEntropy(), "observe": lambda values, epoch: None}
    options = TrainOptions(**settings)
    return fit(network, train, validation, options=options, **(defaults | given))  # type: ignore[arg-type]


def parameters_of(network: nn.Module) -> list[float]:
    return torch.cat([p.detach().flatten() for p in network.parameters()]).tolist()


def test_a_linear_network_becomes_the_logistic_regression_of_scikit_learn(
    tiny: Make, events: Make
) -> None:
    train = events(2000)
    train = train.with_event_weight(0.2 + torch.rand(2000, generator=torch.Generator()))
    network = tiny()
    # A penalty of strength 0 only watches; with it the last epoch is kept, not the best AUC,
    # which does not see the scale of the logits.
    watch = GradientReversal(strength=0)
    run(network, train, train, epochs=200, minibatch_size=2000, learning_rate=0.1,
        decay=0.97, decorrelation=watch)  # fmt: skip
    oracle = LogisticRegression(C=np.inf, tol=1e-8)
    oracle.fit(train.flat.numpy(), train.label.numpy(), train.event_weight.numpy())
    expected = [*oracle.coef_[0], *oracle.intercept_]
    # Adam at a falling rate stands within a per mille of the minimum after 200 steps.
    assert parameters_of(network) == pytest.approx(expected, abs=3e-3)


def test_reaches_the_best_possible_auc_of_two_gaussians(tiny: Make, events: Make) -> None:
    result = run(tiny(), events(4000), events(4000, seed=1))
    # Two unit Gaussians sqrt(2) apart: AUC = Phi(sqrt(2) / sqrt(2)); 5 sigma of 4000 events.
    assert result.best_validation_auc == pytest.approx(norm.cdf(1.0), abs=5 * 0.006)
    assert result.n_parameters == 3
    assert result.fit_seconds > 0
    assert result.events_per_second > 0


def test_observes_each_epoch_once_with_every_number(tiny: Make, events: Make) -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    result = run(
        tiny(),
        events(300),
        events(200, seed=1),
        observe=lambda values, epoch: seen.append((epoch, dict(values))),
    )
    assert [epoch for epoch, _ in seen] == [0, 1, 2]
    assert set(seen[0][1]) == {
        "train_loss",
        "validation_loss",
        "validation_auc",
        "learning_rate",
        "gradient_norm",
        "seconds",
    }
    assert [values for _, values in seen] == result.history
    assert [values["learning_rate"] for _, values in seen] == pytest.approx([0.01, 0.009, 0.0081])


def test_train_loss_is_the_mean_over_the_events_not_over_the_minibatches(
    tiny: Make, events: Make
) -> None:
    train = events(70)
    network = tiny()
    loss = BinaryCrossEntropy()
    expected = loss(network(train.flat), train.label, None, train.event_weight).item()
    # Minibatches of 32, 32 and 6; a learning rate too small to matter.
    result = run(network, train, train, epochs=1, learning_rate=1e-12)
    assert result.history[0]["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert result.history[0]["validation_loss"] == pytest.approx(expected, rel=1e-5)


def test_scaling_all_weights_changes_nothing(tiny: Make, events: Make) -> None:
    train, networks = events(300), (tiny(), tiny())
    # A power of two: every product is exact.
    for network, scale in zip(networks, (1.0, 1024.0), strict=True):
        run(network, train.with_event_weight(scale * train.event_weight), train, epochs=1)
    # The sum of |w| is exact too, so only the order of two roundings differs.
    assert parameters_of(networks[0]) == pytest.approx(parameters_of(networks[1]), rel=1e-5)


def test_an_event_of_weight_zero_is_not_there(tiny: Make, events: Make) -> None:
    train = events(64)
    train.flat[:8] = 50.0
    weight = torch.ones(64)
    weight[:8] = 0
    all_of_them, without = tiny(), tiny()
    run(all_of_them, train.with_event_weight(weight), train, minibatch_size=64, epochs=2)
    rest = train.take(torch.arange(8, 64))
    run(without, rest, train, minibatch_size=64, epochs=2)
    assert parameters_of(all_of_them) == pytest.approx(parameters_of(without), rel=1e-4)


def test_the_best_epoch_is_restored_and_patience_stops_early(tiny: Make, events: Make) -> None:
    train, validation = events(400), events(400, seed=1)
    states: list[list[float]] = []
    network = tiny()

    def forget(values: dict[str, float], epoch: int) -> None:
        states.append(parameters_of(network))
        if epoch == 1:
            # From now on the classifier is upside down: no later epoch can be the best.
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.copy_(torch.full_like(parameter, -5.0))

    result = run(network, train, validation, epochs=20, patience=2, observe=forget)
    assert result.stopped_early
    assert len(result.history) == result.best_epoch + 3
    aucs = [entry["validation_auc"] for entry in result.history]
    assert result.best_validation_auc == max(aucs)
    assert result.best_epoch == int(np.argmax(aucs))


def test_the_caller_keeps_threads_determinism_and_random_numbers(tiny: Make, events: Make) -> None:
    network = tiny(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    torch.manual_seed(77)
    expected = torch.rand(3)
    torch.manual_seed(77)
    threads = torch.get_num_threads()
    run(network, events(100), events(100), deterministic=True)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_seed_decides_everything(tiny: Make, events: Make) -> None:
    def trained(seed: int) -> list[float]:
        network = tiny(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        run(network, events(200), events(100), deterministic=True, seed=seed)
        return parameters_of(network)

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


def test_a_last_minibatch_of_one_event_does_not_break_batch_norm(tiny: Make, events: Make) -> None:
    sizes: list[int] = []
    network = tiny(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    run(network, events(65), events(50), epochs=1, hooks=[lambda v: sizes.append(len(v.minibatch))])
    assert sizes == [32, 33]


def test_a_minibatch_larger_than_the_data_means_one_minibatch(tiny: Make, events: Make) -> None:
    steps: list[int] = []
    run(
        tiny(),
        events(20),
        events(20),
        minibatch_size=10_000,
        hooks=[lambda v: steps.append(v.step)],
    )
    assert steps == [1, 2, 3]


def test_hooks_see_every_step_with_its_gradients(tiny: Make, events: Make) -> None:
    views: list[tuple[int, int, bool]] = []

    def look(view: StepView) -> None:
        has_gradients = all(p.grad is not None for p in view.model.parameters())
        views.append((view.step, view.epoch, has_gradients))

    run(tiny(), events(64), events(50), epochs=2, hooks=[look])
    assert views == [(1, 0, True), (2, 0, True), (3, 1, True), (4, 1, True)]


def test_clipping_limits_the_step_of_plain_gradient_descent(tiny: Make, events: Make) -> None:
    network = tiny()
    before = parameters_of(network)
    run(network, events(50), events(50), epochs=1, minibatch_size=50, optimizer="sgd",
        learning_rate=1.0, clip_norm=0.01)  # fmt: skip
    moved = np.linalg.norm(np.subtract(parameters_of(network), before))
    # torch divides by norm + 1e-6.
    assert moved == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "exponential", "cosine"])
def test_every_optimizer_and_schedule_lowers_the_loss(
    tiny: Make, events: Make, optimizer: str, schedule: str
) -> None:
    result = run(tiny(), events(500), events(200), optimizer=optimizer, schedule=schedule, epochs=4)
    losses = [entry["train_loss"] for entry in result.history]
    assert losses[-1] < losses[0]


def test_a_loss_that_is_not_finite_ends_the_fit_and_keeps_the_last_checkpoint(
    tiny: Make, events: Make, tmp_path: Path
) -> None:
    folder = CheckpointFolder(tmp_path)
    train = events(64)

    def poison(view: StepView) -> None:
        if view.step == 3:
            with torch.no_grad():
                next(view.model.parameters()).fill_(math.nan)

    with pytest.raises(DivergedError, match=r"epoch 1, step 3: loss nan.*last good checkpoint"):
        run(tiny(), train, train, hooks=[poison], checkpoint=folder)
    stored = folder.load()
    assert stored is not None
    assert stored["state"]["progress"]["epoch"] == 1
    assert all(bool(torch.isfinite(v).all()) for v in stored["state"]["network"].values())
    assert DivergedError.exit_status == 4


def test_a_stop_request_is_heard_before_the_next_minibatch_and_resume_continues_exactly(
    tiny: Make, events: Make, tmp_path: Path
) -> None:
    train, validation = events(200), events(100, seed=1)
    whole, stopped = tiny(), tiny()
    settings: dict[str, Any] = {"deterministic": True, "epochs": 2}
    expected = run(whole, train, validation, **settings)
    stop, folder = StopRequest(), CheckpointFolder(tmp_path / "deep" / "folder")

    def request(view: StepView) -> None:
        if view.step == 9:
            stop.request("SIGTERM")

    with pytest.raises(StoppedError, match="SIGTERM in epoch 1, step 9; checkpoint written to"):
        run(stopped, train, validation, hooks=[request], stop=stop, checkpoint=folder, **settings)
    assert StoppedError.exit_status == 85
    result = run(tiny(), train, validation, checkpoint=folder, resume=True, **settings)
    again = tiny()
    run(again, train, validation, checkpoint=folder, resume=True, **settings)
    assert parameters_of(again) == parameters_of(whole)
    for ours, theirs in zip(result.history, expected.history, strict=True):
        assert {**ours, "seconds": 0.0} == {**theirs, "seconds": 0.0}


def test_a_finished_fit_resumes_to_its_result_without_a_step(
    tiny: Make, events: Make, tmp_path: Path
) -> None:
    folder, train, steps = CheckpointFolder(tmp_path), events(100), []
    first, second = tiny(), tiny()
    expected = run(first, train, train, checkpoint=folder)
    result = run(second, train, train, checkpoint=folder, resume=True, hooks=[steps.append])
    assert steps == []
    assert parameters_of(second) == parameters_of(first)
    assert result == expected


def test_resume_without_a_checkpoint_starts_afresh(
    tiny: Make, events: Make, tmp_path: Path
) -> None:
    result = run(
        tiny(), events(100), events(50), checkpoint=CheckpointFolder(tmp_path), resume=True
    )
    assert len(result.history) == 3


def test_a_fresh_start_forgets_an_older_checkpoint(
    tiny: Make, events: Make, tmp_path: Path
) -> None:
    folder, train, stop = CheckpointFolder(tmp_path), events(100), StopRequest()
    run(tiny(), train, train, checkpoint=folder)
    assert folder.file.exists()

    def look(view: StepView) -> None:
        assert not folder.file.exists()
        stop.request("enough")

    with pytest.raises(StoppedError, match="stopped by enough"):
        run(tiny(), train, train, checkpoint=folder, hooks=[look], stop=stop)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"learning_rate": 0.02},
            r"train\.learning_rate: the checkpoint has 0\.01, now it is 0\.02",
        ),
        ({"epochs": 9}, r"train\.epochs: the checkpoint has 3, now it is 9"),
        ({"decorrelation": GradientReversal()}, "decorrelation: the checkpoint has"),
    ],
)
def test_a_resume_with_other_options_is_refused_by_name(
    tiny: Make, events: Make, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    train = events(100)
    run(tiny(), train, train, checkpoint=CheckpointFolder(tmp_path))
    with pytest.raises(ConfigError, match=message):
        run(tiny(), train, train, checkpoint=CheckpointFolder(tmp_path), resume=True, **changes)


def test_a_resume_with_other_data_or_another_network_is_refused_by_name(
    tiny: Make, events: Make, tmp_path: Path
) -> None:
    train, folder = events(100), CheckpointFolder(tmp_path)
    run(tiny(), train, train, checkpoint=folder)
    other = replace(train, event_weight=train.event_weight.clone())
    other.event_weight[7] = 1.5
    with pytest.raises(ConfigError, match="training data: the checkpoint has") as caught:
        run(tiny(), other, train, checkpoint=folder, resume=True)
    assert "validation data" not in str(caught.value)
    wider = tiny(nn.Linear(2, 2), nn.Linear(2, 1))
    with pytest.raises(ConfigError, match=r"model: the checkpoint has .*out_features=1"):
        run(wider, train, train, checkpoint=folder, resume=True)


def test_another_number_of_threads_matters_only_when_bits_do(
    tiny: Make, events: Make, tmp_path: Path
) -> None:
    train, folder = events(100), CheckpointFolder(tmp_path)
    run(tiny(), train, train, checkpoint=folder, n_threads=1)
    run(tiny(), train, train, checkpoint=folder, n_threads=2, resume=True)
    run(tiny(), train, train, checkpoint=folder, deterministic=True)
    with pytest.raises(ConfigError, match="threads: the checkpoint has 1, now it is 2"):
        run(tiny(), train, train, checkpoint=folder, deterministic=True, n_threads=2, resume=True)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_class_without_events_or_without_positive_weight_is_refused(
    tiny: Make, events: Make, part: str
) -> None:
    good = events(100)
    empty = good.take(torch.arange(0, 100, 2))
    negative = good.with_event_weight(torch.where(good.label == 1, -1.0, 1.0))
    infinite = good.with_event_weight(torch.where(good.event_number == 4, math.inf, 1.0))
    for bad, message in (
        (empty, f"{part} part: no signal events among 50"),
        (negative, f"{part} part: the event weights of the 50 signal events sum to -50"),
        (infinite, f"{part} part: event_weight of entry 4 is inf"),
    ):
        parts = (bad, good) if part == "training" else (good, bad)
        with pytest.raises(DataError, match=message):
            run(tiny(), *parts)


def test_with_a_penalty_the_last_epoch_is_kept_and_patience_is_not_used(
    tiny: Make, events: Make
) -> None:
    penalty = GradientReversal(nuisances=["mass"], warm_up=1, strength=5)
    result = run(tiny(), events(300), events(300), epochs=5, patience=1, decorrelation=penalty)
    assert result.best_epoch == 4
    assert not result.stopped_early
    assert all(entry["train_penalty"] > 0 for entry in result.history)


def test_an_unknown_nuisance_names_the_nearest(tiny: Make, events: Make) -> None:
    penalty = GradientReversal(nuisances=["mas"])
    with pytest.raises(ConfigError, match="did you mean 'mass'"):
        run(tiny(), events(100), events(100), decorrelation=penalty)
