"""Sick networks are told what they have; healthy ones are left in peace."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from hepdl.diagnose import Finding, Flow, InputColumn, LayerFlow, judge, measure, summarise
from hepdl.errors import DataError
from hepdl.events import Events
from hepdl.events.scaling import Scaling
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models import Network
from hepdl.models.mlp import Mlp
from hepdl.models.recnn import RecNN
from hepdl.pipeline.dataset import arrange
from hepdl.train import TrainOptions

LOSS = BinaryCrossEntropy()
FEATURES = ("jet_pt", "width", "n_constituents")
DEEP = (100,) * 10


def flow_of(
    model: Network, events: Events, *, scaled: bool = True, rate: float = 1e-3, seed: int = 0
) -> Flow:
    events = arrange(events, model.inputs)
    if scaled:
        events = Scaling.fit(events, model.inputs).apply(events)
    return measure(model, events, LOSS, options=TrainOptions(learning_rate=rate))


def built(seed: int, make: Callable[[], Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def drawn(draw: Callable[[torch.Tensor], Any], **options: Any) -> Mlp:
    """Return a deep network whose matrices were drawn otherwise."""
    network = Mlp(FEATURES, DEEP, batch_norm=False, **options)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            draw(module.weight)
    return network


HEALTHY: dict[str, Callable[[], Any]] = {
    "mlp": lambda: Mlp(FEATURES),
    "mlp without batch norm": lambda: Mlp(FEATURES, batch_norm=False),
    "mlp, one small layer": lambda: Mlp(FEATURES, (8,)),
    "mlp, ten layers, relu": lambda: Mlp(FEATURES, DEEP, batch_norm=False),
    "mlp, ten layers, tanh": lambda: Mlp(FEATURES, DEEP, batch_norm=False, activation="tanh"),
    "mlp, ten layers, gelu": lambda: Mlp(FEATURES, DEEP, batch_norm=False, activation="gelu"),
    "mlp, residual, dropout": lambda: Mlp(FEATURES, DEEP, residual=True, dropout=0.2),
    "mlp, leaky": lambda: Mlp(FEATURES, (4, 4), batch_norm=False, activation="leaky_relu"),
    "recnn": lambda: RecNN(),
    "recnn gated": lambda: RecNN(cell="gated"),
    "recnn with features": lambda: RecNN(features=FEATURES, root_children=True),
}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_network_gets_no_bad_verdict(
    name: str, seed: int, toy_jets: Callable[..., Events]
) -> None:
    flow = flow_of(built(seed, HEALTHY[name]), toy_jets(128, seed=seed), rate=0.004)
    found = judge(flow)
    assert not found, found
    (sentence,) = summarise(flow, found)
    assert sentence.startswith("healthy")


SICK: dict[str, tuple[Callable[[], Any], str, str]] = {
    "zero": (lambda: drawn(nn.init.zeros_), "zero", r"layer 1 \(.*all its weights are zero"),
    "constant": (
        lambda: drawn(lambda w: nn.init.constant_(w, 0.02)),
        "identical",
        r"all 100 units of layer 1 \(stack.blocks.0.linear\)",
    ),
    "vanishing tanh": (
        lambda: drawn(lambda w: nn.init.normal_(w, std=0.01), activation="tanh"),
        "vanishing",
        "activations vanish from layer .* use He .* or batch norm",
    ),
    "vanishing relu": (
        lambda: drawn(lambda w: nn.init.normal_(w, std=0.01)),
        "vanishing",
        "activations vanish from layer",
    ),
    "saturated tanh": (
        lambda: drawn(lambda w: nn.init.normal_(w, std=1.0), activation="tanh"),
        "saturated",
        r"% of the tanh activations of layer \d+ .* are saturated",
    ),
    "exploding relu": (
        lambda: drawn(lambda w: nn.init.normal_(w, std=1.0)),
        "exploding",
        "activations explode",
    ),
}


@pytest.mark.parametrize("name", SICK)
def test_a_sick_network_is_told_what_it_has(name: str, toy_jets: Callable[..., Events]) -> None:
    make, kind, words = SICK[name]
    found = judge(flow_of(built(4, make), toy_jets(128)))
    first = found[0]
    assert (first.kind, first.is_bad) == (kind, True)
    assert re.search(words, first.sentence), first.sentence


@pytest.mark.parametrize("make", [HEALTHY["mlp"], HEALTHY["mlp, ten layers, tanh"]])
def test_inputs_in_gev_are_named_with_their_values(
    make: Callable[[], Any], toy_jets: Callable[..., Events]
) -> None:
    events = toy_jets(128)
    found = judge(flow_of(built(5, make), events, scaled=False), units={"jet_pt": "GeV"})
    first = found[0]
    assert first.kind == "unscaled"
    assert first.sentence.startswith("inputs in GeV unscaled: jet_pt ")
    assert f"{float(events.flat[:, 0].mean()):.3g} ± " in first.sentence
    assert "width" not in first.sentence


def test_constituents_in_gev_are_seen_in_trees(toy_jets: Callable[..., Events]) -> None:
    events = toy_jets(64)
    flow = flow_of(RecNN(), events, scaled=False)
    assert "inputs unscaled: node momentum" in judge(flow)[0].sentence


def test_dead_rectifiers_are_found(toy_jets: Callable[..., Events]) -> None:
    network = built(6, HEALTHY["mlp without batch norm"])
    nn.init.constant_(network.stack.blocks[1].linear.bias, -50.0)
    found = judge(flow_of(network, toy_jets(128)))
    assert [f.kind for f in found][:1] == ["dead"]
    assert "100% of the relu units of layer 2" in found[0].sentence
    # A network in training may die, too.
    kinds = [f.kind for f in judge(flow_of(network, toy_jets(128)), is_trained=True)]
    assert kinds == ["constant", "dead"]


@pytest.mark.parametrize(
    ("rate", "words"),
    [(10.0, "lower the learning rate"), (1e-9, "raise the learning rate")],
)
def test_steps_far_too_long_or_short_are_found(
    rate: float, words: str, toy_jets: Callable[..., Events]
) -> None:
    (finding,) = judge(flow_of(built(7, HEALTHY["mlp"]), toy_jets(128), rate=rate))
    assert finding.kind == "update"
    assert words in finding.sentence


def test_a_last_layer_that_starts_at_zero_is_worth_a_note_only(
    toy_jets: Callable[..., Events],
) -> None:
    network = built(8, HEALTHY["mlp"])
    nn.init.zeros_(network.output.weight)
    (finding,) = judge(flow_of(network, toy_jets(128)))
    assert (finding.kind, finding.is_bad) == ("gradient", False)


def test_values_that_are_not_finite_come_first(toy_jets: Callable[..., Events]) -> None:
    network = built(9, HEALTHY["mlp without batch norm"])
    with torch.no_grad():
        network.stack.blocks[1].linear.weight[0, 0] = float("inf")
    (finding,) = judge(flow_of(network, toy_jets(64)))
    assert (finding.kind, finding.layer) == ("not_finite", 2)


def layer(**changes: Any) -> LayerFlow:
    usual = LayerFlow(
        name="stack",
        activation="tanh",
        n_units=64,
        mean=0.0,
        std=0.6,
        saturated=0.01,
        dead=0.0,
        gradient_norm=0.1,
        weight_norm=8.0,
        update_ratio=1e-3,
        effective_rank=30.0,
        parameters=("stack.weight",),
    )
    return replace(usual, **changes)


def flow(*layers: LayerFlow, n_events: int = 128) -> Flow:
    columns = (InputColumn("a", 0.0, 1.0, 1.6), InputColumn("b", 0.0, 1.0, 1.6))
    return Flow(n_events, 0.7, columns, layers)


LOGITS = layer(activation="", saturated=None, dead=None, n_units=1, effective_rank=1.0)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"std": 2e-4}, None),
        ({"std": 0.9e-4}, "vanishing"),
        ({"std": 99.0}, None),
        ({"std": 101.0}, "exploding"),
        ({"saturated": 0.6}, None),
        ({"saturated": 0.61}, "saturated"),
        ({"dead": 0.75}, None),
        ({"dead": 0.96}, "dead"),
        ({"gradient_norm": 1.1e-5}, None),
        ({"gradient_norm": 0.9e-5}, "gradient"),
        ({"update_ratio": 1.0}, None),
        ({"update_ratio": 1.1}, "update"),
    ],
)
def test_each_limit_is_where_it_is_said_to_be(changes: dict[str, float], kind: str | None) -> None:
    found = judge(flow(layer(), layer(**changes), LOGITS))
    assert [finding.kind for finding in found] == ([] if kind is None else [kind])


def test_what_training_made_is_left_in_peace() -> None:
    grown = flow(layer(std=500.0, gradient_norm=1e-9), layer(update_ratio=3.0), LOGITS)
    assert {finding.kind for finding in judge(grown)} == {"exploding", "gradient", "update"}
    assert judge(grown, is_trained=True) == ()
    (note,) = judge(flow(layer(saturated=0.9), LOGITS), is_trained=True)
    assert not note.is_bad


@pytest.mark.parametrize("std", [0.0, 1e-6])
def test_a_network_that_has_learnt_nothing_is_not_called_healthy(std: float) -> None:
    (finding,) = judge(flow(layer(std=std), LOGITS), is_trained=True)
    assert finding.is_bad


def test_one_score_for_all_events_is_bad_after_training_only() -> None:
    silent = flow(layer(), layer(activation="", std=0.0, mean=-0.02, n_units=1))
    assert judge(silent) == ()
    (finding,) = judge(silent, is_trained=True)
    assert "all 128 events get the same logit, -0.02" in finding.sentence


def test_a_layer_with_one_unit_left_is_not_called_identical() -> None:
    assert judge(flow(layer(n_units=4, effective_rank=1.0, dead=0.75), LOGITS)) == ()


def test_a_trained_network_may_put_all_events_on_one_line() -> None:
    collapsed = flow(layer(effective_rank=1.0), LOGITS)
    assert [finding.kind for finding in judge(collapsed)] == ["identical"]
    assert judge(collapsed, is_trained=True) == ()


def test_few_events_say_nothing_on_dead_units() -> None:
    assert judge(flow(layer(dead=1.0), LOGITS, n_events=16)) == ()


def test_logits_that_start_far_out_are_found() -> None:
    (finding,) = judge(flow(layer(), layer(activation="", std=15.0, mean=20.0)))
    assert "scores are 0 or 1 before anything is learnt" in finding.sentence


def test_the_summary_keeps_notes_beside_the_good_news() -> None:
    healthy = flow(layer(), LOGITS)
    note = Finding("gradient", "a note", is_bad=False)
    assert summarise(healthy, (note,))[1] == "a note"
    assert summarise(healthy, (note,))[0].startswith(
        "healthy: standard deviation of the values 0.6"
    )
    assert summarise(healthy, (Finding("dead", "bad news"),)) == ("bad news",)


def test_trees_that_are_missing_are_still_an_error(toy_jets: Callable[..., Events]) -> None:
    with pytest.raises(DataError, match="no jet trees"):
        measure(RecNN(), toy_jets(8), LOSS)
