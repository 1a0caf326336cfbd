"""Looking into a network changes nothing in its training, and what was seen survives a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hepdl.diagnose import judge
from hepdl.events import Events
from hepdl.events.scaling import Scaling
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models.mlp import Mlp
from hepdl.pipeline.diagnosis import Diagnosis, first_minibatch
from hepdl.pipeline.looks import in_brief, looks_of, read_looks
from hepdl.train import TrainOptions, supervised
from hepdl.train.state.auxiliary import AuxiliaryHeads
from hepdl.train.state.heads import AuxiliaryHead

FEATURES = ("jet_pt", "width", "n_constituents")
OPTIONS = TrainOptions(
    epochs=5, minibatch_size=32, diagnose_every=2, deterministic=True, n_threads=1
)


@pytest.fixture
def network() -> Mlp:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Mlp(FEATURES, (16, 16), dropout=0.2)


@pytest.fixture(scope="module")
def jets(toy_jets: Callable[..., Events]) -> Events:
    events = toy_jets(160)
    return Scaling.fit(events, Mlp(FEATURES).inputs).apply(events)


class Recorded(list[tuple[int, dict[str, float]]]):
    def __call__(self, values: dict[str, float], epoch: int) -> None:
        self.append((epoch, values))


def diagnosis_in(
    folder: Path | None, *, heads: AuxiliaryHeads | None = None, **changes: Any
) -> Diagnosis:
    path = None if folder is None else folder / "diagnostics.json"
    return Diagnosis("mlp, seed 0", OPTIONS, {"jet_pt": "GeV"}, heads, path, Recorded(), **changes)


def train(network: Mlp, jets: Events, diagnosis: Diagnosis | None, **more: Any) -> None:
    supervised.fit(
        network,
        jets,
        jets,
        options=OPTIONS,
        loss=BinaryCrossEntropy(),
        observe=lambda values, epoch: None,
        hooks=() if diagnosis is None else diagnosis.hooks,
        **more,
    )


def test_a_watched_training_ends_in_the_same_bits(
    network: Mlp, jets: Events, tmp_path: Path
) -> None:
    twin = Mlp(FEATURES, (16, 16), dropout=0.2)
    twin.load_state_dict(network.state_dict())
    train(twin, jets, None)
    diagnosis = diagnosis_in(tmp_path)
    diagnosis.begin(network, jets, resume=False)
    train(network, jets, diagnosis)
    diagnosis.end(network, jets, epochs=5)
    for name, value in network.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name
    moments = [look.moment for look in diagnosis.looks]
    assert moments == ["untrained", "epoch 2", "epoch 4", "trained"]
    assert read_looks(tmp_path) == tuple(diagnosis.looks)


def test_the_update_of_an_epoch_is_that_of_the_real_step(network: Mlp, jets: Events) -> None:
    steps: list[dict[str, torch.Tensor]] = []

    def remember(view: Any) -> None:
        steps.append({n: p.detach().clone() for n, p in view.model.named_parameters()})

    diagnosis = diagnosis_in(None)
    supervised.fit(
        network,
        jets,
        jets,
        options=OPTIONS,
        loss=BinaryCrossEntropy(),
        observe=lambda values, epoch: None,
        hooks=(remember, *diagnosis.hooks),
    )
    # 160 events are 5 steps an epoch; the first look comes after the first step of epoch 2.
    before, after = steps[10], steps[11]
    layers = diagnosis.looks[0].flow.layers
    assert [layer.name for layer in layers][-1] == "output"
    for layer in layers:
        (name,) = layer.parameters
        ratio = (after[name] - before[name]).norm() / before[name].norm()
        assert layer.update_ratio == pytest.approx(float(ratio), rel=1e-5)


def test_nobody_looks_between_first_and_last_step_unless_asked(jets: Events) -> None:
    quiet = Diagnosis("mlp", TrainOptions(), {}, None, None, Recorded())
    assert quiet.hooks == ()


def test_a_resumed_fit_keeps_what_was_seen(network: Mlp, jets: Events, tmp_path: Path) -> None:
    first = diagnosis_in(tmp_path)
    first.begin(network, jets, resume=False)
    train(network, jets, first)
    seen = read_looks(tmp_path)
    again = diagnosis_in(tmp_path)
    again.begin(network, jets, resume=True)
    assert tuple(again.looks) == seen
    # The steps that a resume repeats are not looked at twice.
    train(Mlp(FEATURES, (16, 16)), jets, again)
    assert [look.moment for look in again.looks] == [look.moment for look in seen]
    afresh = diagnosis_in(tmp_path)
    afresh.begin(network, jets, resume=False)
    assert [look.moment for look in afresh.looks] == ["untrained"]


def test_the_first_look_sees_the_events_of_the_first_step(network: Mlp, jets: Events) -> None:
    seen: list[Events] = []
    supervised.fit(
        network,
        jets,
        jets,
        options=OPTIONS,
        loss=BinaryCrossEntropy(),
        observe=lambda values, epoch: None,
        hooks=(lambda view: seen.append(view.minibatch),),
    )
    assert torch.equal(first_minibatch(jets, OPTIONS).event_number, seen[0].event_number)


def test_auxiliary_heads_add_to_the_gradient_and_are_left_for_the_loop(
    network: Mlp, jets: Events
) -> None:
    heads = AuxiliaryHeads([AuxiliaryHead("early", "stack.blocks.0", weight=100.0)])
    plain, helped = diagnosis_in(None), diagnosis_in(None, heads=heads)
    plain.begin(network, jets, resume=False)
    helped.begin(network, jets, resume=False)
    first = [d.looks[0].flow.layers[0].gradient_norm for d in (plain, helped)]
    last = [d.looks[0].flow.layers[-1].gradient_norm for d in (plain, helped)]
    assert first[1] > 10 * first[0]
    assert last[1] == last[0]
    assert not any(module._forward_hooks for module in network.modules())
    train(network, jets, helped, auxiliary=heads)
    assert [look.moment for look in helped.looks] == ["untrained", "epoch 2", "epoch 4"]


def test_numbers_are_recorded_and_bad_news_is_a_warning_once(
    jets: Events, caplog: pytest.LogCaptureFixture
) -> None:
    network = Mlp(FEATURES, (8, 8), batch_norm=False, initialisation="zero")
    diagnosis = diagnosis_in(None)
    with caplog.at_level(logging.WARNING):
        diagnosis.begin(network, jets, resume=False)
        train(network, jets, diagnosis)
    (said,) = caplog.messages
    assert said.startswith("mlp, seed 0, untrained: layer 1 (stack.blocks.0.linear) passes nothing")
    assert [look.is_healthy for look in diagnosis.looks] == [False, False, False]
    assert list(in_brief(tuple(diagnosis.looks))) == ["untrained"]
    epochs = [epoch for epoch, _ in diagnosis.record]
    assert epochs == [0, 2, 4]
    recorded = diagnosis.record[0][1]
    assert recorded["diagnosis_std_01"] == 0.0
    assert "diagnosis_gradient_norm_03" in recorded
    assert "diagnosis_saturated_01" not in recorded


def test_a_healthy_start_is_one_line(
    network: Mlp, jets: Events, caplog: pytest.LogCaptureFixture
) -> None:
    diagnosis = diagnosis_in(None)
    with caplog.at_level(logging.INFO):
        diagnosis.begin(network, jets, resume=False)
    (said,) = caplog.messages
    assert said.startswith("mlp, seed 0, untrained: healthy: ")
    assert judge(diagnosis.looks[0].flow) == ()


def test_with_folds_the_first_one_speaks(network: Mlp, jets: Events, tmp_path: Path) -> None:
    assert looks_of(tmp_path) == ()
    diagnosis = diagnosis_in(tmp_path / "folds" / "0")
    diagnosis.begin(network, jets, resume=False)
    assert looks_of(tmp_path) == tuple(diagnosis.looks)
