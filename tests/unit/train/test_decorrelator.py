"""What the loop does around a penalty: classes, targets, hidden layers, new beginnings, resume."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError, StoppedError
from hepdl.evaluate.distance_correlation import distance_correlation
from hepdl.events import Events
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.losses.distance_correlation import DistanceCorrelation
from hepdl.losses.domain_adversarial import DomainAdversarial
from hepdl.losses.gradient_reversal import GradientReversal
from hepdl.train import CheckpointFolder, FitResult, TrainOptions, predict_scores
from hepdl.train.state.decorrelator import Decorrelation, Decorrelator, _value_of
from hepdl.train.state.minibatches import Minibatch
from hepdl.train.state.strength import HeldStrength
from hepdl.train.supervised import fit

Make = Callable[..., Any]


def run(network: nn.Module, train: Events, wanted: object, **given: Any) -> FitResult:
    options = {"epochs": 3, "minibatch_size": 64, "learning_rate": 0.01, "deterministic": True}
    loop = {key: given.pop(key) for key in ("checkpoint", "resume", "hooks") if key in given}
    return fit(
        network,  # type: ignore[arg-type]
        train,
        train,
        options=TrainOptions(**(options | given)),
        loss=BinaryCrossEntropy(),
        decorrelation=wanted,  # type: ignore[arg-type]
        observe=lambda values, epoch: None,
        **loop,
    )


def minibatch(events: Events) -> Minibatch:
    return Minibatch(0, events, [(events, 1.0)], float(len(events)), 0, len(events))


def value(decorrelator: Decorrelator, logits: Tensor, events: Events) -> float:
    found = decorrelator.penalty(logits, minibatch(events), epoch=1.0, n_epochs=2)
    if found.requires_grad and any(True for _ in decorrelator.module.parameters()):
        found.backward()
        decorrelator.step()
    return float(found.detach())


def test_each_class_by_itself_is_the_sum_of_the_classes(events: Make) -> None:
    some = events(200)
    logits = torch.randn(200)
    found = {
        applies_to: value(
            Decorrelator(Decorrelation(DistanceCorrelation(applies_to=applies_to)), some),
            logits,
            some,
        )
        for applies_to in ("background", "signal", "each_class", "all")
    }
    assert found["each_class"] == pytest.approx(found["background"] + found["signal"], rel=1e-6)
    assert found["each_class"] != pytest.approx(found["all"], rel=0.05)


def test_the_adversaries_of_two_classes_learn_apart(events: Make) -> None:
    some = events(200)
    decorrelator = Decorrelator(
        Decorrelation(GradientReversal(applies_to="each_class", inner_steps=5)), some
    )
    # Signal knows the nuisance, background does not.
    logits = torch.where(some.label == 1, some.nuisance[:, 0], torch.randn(200))
    for _ in range(40):
        value(decorrelator, logits, some)
    background, signal = (
        _value_of(term, decorrelator._whole(logits, minibatch(some)), logits)
        for term in decorrelator._terms
    )
    assert float(signal.detach()) < float(background.detach()) - 0.2


def test_minibatches_without_anybody_are_zero_and_counted(tiny: Make, events: Make) -> None:
    some = events(200)
    some.label[:128] = 1
    network = tiny()
    # In the order of the events, two of four minibatches have no background.
    penalty = DistanceCorrelation(applies_to="background")
    decorrelator = Decorrelator(Decorrelation(penalty), some)
    found = []
    for first in range(0, 200, 64):
        part = some.slice(first, min(first + 64, 200))
        logits = network(part.flat)
        found.append(value(decorrelator, logits, part))
        assert float(decorrelator.observed["without_penalty"]) == (first < 128)
    assert found[:2] == [0.0, 0.0]
    assert min(found[2:]) > 0
    result = run(tiny(), events(200), penalty)
    assert result.history[0]["without_penalty"] == 0


def test_the_target_is_held_and_the_strength_is_observed(tiny: Make, events: Make) -> None:
    train = events(4000)
    target = 0.05
    found = {}
    for start in (0.3, 5.0):
        network = tiny(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        penalty = DistanceCorrelation(strength=start, applies_to="all", warm_up=0.5)
        result = run(
            network, train, Decorrelation(penalty, target=target), epochs=12, schedule="cosine"
        )
        scores = predict_scores(network, train)
        found[start] = distance_correlation(scores, train.nuisance[:, 0].numpy()).value
        last = result.history[-1]
        assert last["train_dependence"] == pytest.approx(target, rel=0.3)
        assert last["decorrelation_strength"] > 0
    plain = tiny(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    run(plain, train, None, epochs=12)
    before = distance_correlation(predict_scores(plain, train), train.nuisance[:, 0].numpy()).value
    assert before > 4 * target
    # Held whatever the strength began with; the dependence of 4000 events is known to 0.006.
    assert list(found.values()) == pytest.approx([target] * 2, abs=0.02)


def test_the_strength_grows_while_the_dependence_is_too_large_and_falls_else() -> None:
    held = HeldStrength(0.01, 1.0, device=torch.device("cpu"))
    assert float(held.value) == 1.0
    for _ in range(100):
        held.update(torch.tensor(0.5), is_on=False)
    # In the warm-up it only listens.
    assert float(held._logarithm) == 0.0
    for _ in range(100):
        held.update(torch.tensor(0.5), is_on=True)
    grown = float(held._logarithm)
    assert grown == pytest.approx(1.0)  # hundred steps of 0.01: the violation is cut at 1
    for _ in range(400):
        held.update(torch.tensor(0.0), is_on=True)
    assert float(held._logarithm) < grown - 2
    assert math.isfinite(float(held.value))


def test_a_target_needs_a_strength_to_begin_with(events: Make) -> None:
    wanted = Decorrelation(DistanceCorrelation(strength=0.0), target=0.1)
    with pytest.raises(ConfigError, match="is where the strength begins"):
        Decorrelator(wanted, events(100))


def test_a_hidden_layer_forgets_the_domain(tiny: Make, events: Make) -> None:
    train = events(2000)
    domain = (torch.arange(2000) // 2 % 2).float()
    # Feature b is shifted in the second domain, and only tells the domain and the label.
    train.flat[:, 1] += 2 * domain
    train = dataclasses.replace(train, nuisance=domain[:, None], nuisance_names=("domain",))

    def difference(wanted: Decorrelation | None) -> float:
        network = tiny(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        run(network, train, wanted, epochs=20, learning_rate=0.03, schedule="constant")
        with torch.no_grad():
            hidden = network.stack[1](network.stack[0](train.flat))
        means = [hidden[domain == value].mean(dim=0) for value in (0, 1)]
        return float(((means[0] - means[1]) / hidden.std(dim=0)).abs().max())

    penalty = DomainAdversarial(
        strength=10.0, nuisances=["domain"], learning_rate=0.01, inner_steps=3
    )
    before, after = difference(None), difference(Decorrelation(penalty, layer="stack.1"))
    assert before > 0.9
    assert after < 0.35 * before


def test_unlabelled_events_take_part_in_the_penalty_alone(tiny: Make, events: Make) -> None:
    labelled, others = events(300), events(100, seed=3)
    train = events(400)
    train.flat[:300], train.flat[300:] = labelled.flat, others.flat
    train.label[300:] = -1
    weight = torch.ones(400)
    weight[300:] = 0
    train = train.with_event_weight(weight)
    train = dataclasses.replace(
        train, nuisance=(train.label < 0).float()[:, None], nuisance_names=("domain",)
    )
    watch = Decorrelator(Decorrelation(DomainAdversarial(nuisances=["domain"])), train)
    rows = watch._whole(torch.zeros(400), minibatch(train))
    # Together they weigh as much as the labelled ones.
    assert float(rows.event_weight[300:].sum()) == pytest.approx(300)
    assert rows.event_weight[:300].eq(1).all()
    # Without strength the classification is that of the labelled events.
    result = fit(
        tiny(),
        train,
        labelled,
        options=TrainOptions(epochs=1, minibatch_size=400, learning_rate=0.01),
        loss=BinaryCrossEntropy(),
        decorrelation=DomainAdversarial(strength=0.0, nuisances=["domain"]),
        observe=lambda values, epoch: None,
    )
    alone = train.slice(0, 300)
    loss = BinaryCrossEntropy()
    expected = loss(tiny()(alone.flat), alone.label, None, alone.event_weight).item()
    assert result.history[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("layer", "penalty", "message"),
    [
        ("stack.1", DistanceCorrelation(), "reads one number of each event"),
        ("stack.9", DomainAdversarial(), "layer 'stack.9'"),
    ],
)
def test_a_layer_that_cannot_be_read_is_refused(
    tiny: Make, events: Make, layer: str, penalty: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tiny(), events(100), Decorrelation(penalty, layer=layer))


class Restarting(GradientReversal):
    """An adversary that begins anew after each epoch."""

    refit_every = 1.0

    def restart(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))


def test_an_adversary_begins_anew_after_so_many_epochs(events: Make) -> None:
    some = events(100)
    decorrelator = Decorrelator(Decorrelation(Restarting(warm_up=0.0)), some)
    states = []
    for epoch in (0.0, 0.9, 1.0, 1.5, 2.0):
        decorrelator.penalty(torch.randn(100), minibatch(some), epoch=epoch, n_epochs=3)
        states.append(decorrelator._n_restarts)
    assert states == [0, 0, 1, 1, 2]


CASES: dict[str, Callable[[], Decorrelation]] = {
    "target": lambda: Decorrelation(
        DistanceCorrelation(strength=1.0, applies_to="each_class"), target=0.02
    ),
    "adversaries": lambda: Decorrelation(Restarting(applies_to="each_class", warm_up=0.5)),
    "held adversary": lambda: Decorrelation(GradientReversal(warm_up=0.5), target=0.02),
    "layer": lambda: Decorrelation(DomainAdversarial(nuisances=["mass"]), layer="stack.1"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_stopped_and_resumed_fit_ends_in_the_same_parameters(
    tiny: Make, events: Make, tmp_path: Path, case: str
) -> None:
    def network() -> nn.Module:
        return tiny(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))

    train = events(400)
    torch.manual_seed(5)
    whole = network()
    run(whole, train, CASES[case]())
    folder = CheckpointFolder(tmp_path / "checkpoint")

    def stop_at(view: Any) -> None:
        if view.step == 10:
            raise StoppedError("now")

    torch.manual_seed(5)
    with pytest.raises(StoppedError):
        run(network(), train, CASES[case](), checkpoint=folder, hooks=[stop_at])
    # Another process would have drawn other numbers by now.
    torch.manual_seed(99)
    again = network()
    run(again, train, CASES[case](), checkpoint=folder, resume=True)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_resuming_with_another_target_is_refused(tiny: Make, events: Make, tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoint")
    train = events(200)
    run(tiny(), train, Decorrelation(DistanceCorrelation(), target=0.1), checkpoint=folder)
    with pytest.raises(ConfigError, match=r"target=0\.1.*target=0\.2"):
        run(
            tiny(),
            train,
            Decorrelation(DistanceCorrelation(), target=0.2),
            checkpoint=folder,
            resume=True,
        )


def test_a_nuisance_that_nobody_has_is_refused(events: Make) -> None:
    some = events(100)
    some.label[:] = 1
    with pytest.raises(DataError, match="no event of the training part takes part"):
        Decorrelator(Decorrelation(DistanceCorrelation()), some)
