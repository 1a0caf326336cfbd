from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError
from hepdl.events import Events
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models.mlp import Mlp
from hepdl.train.state.auxiliary import AuxiliaryHeads
from hepdl.train.state.heads import AuxiliaryHead

N = 40


@pytest.fixture
def batch(events: Any) -> Events:
    """Events with weights of both signs, and two fields that heads may learn."""
    made = events(N)
    generator = torch.Generator().manual_seed(5)
    weight = torch.rand(N, generator=generator) + 0.5
    weight[::7] *= -1
    mass = 80 + 10 * torch.randn(N, generator=generator, dtype=torch.float64)
    fields = {"mass": mass, "purity": torch.rand(N, generator=generator)}
    return replace(made.with_event_weight(weight), observers=fields)


def network(**options: Any) -> Mlp:
    model = Mlp(("a", "b"), (6, 5), activation="tanh", **({"batch_norm": False} | options))
    model.reset_parameters(torch.Generator().manual_seed(2))
    return model


def attached(model: Mlp, batch: Events, *heads: AuxiliaryHead) -> AuxiliaryHeads:
    made = AuxiliaryHeads(heads)
    made.fit_targets(batch)
    made.attach(model, batch)
    return made


def step(model: Mlp, batch: Events, heads: AuxiliaryHeads | None = None) -> dict[str, Tensor]:
    """One forward and backward pass, as the loop does it; the gradients by name."""
    model.zero_grad()
    logits = model.train()(*model.prepare(batch))
    value = BinaryCrossEntropy()(logits, batch.label, None, batch.event_weight)
    if heads is not None:
        value = value + heads.loss(batch, position=0.0, n_epochs=1)
    value.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_loss_of_a_head_is_its_formula(batch: Events) -> None:
    model = network()
    heads = attached(
        model,
        batch,
        AuxiliaryHead("early", "stack.blocks.0", weight=0.3),
        AuxiliaryHead("mass", "stack.blocks.1", "mean_squared_error", "mass", weight=2.0),
    )
    model.train()(*model.prepare(batch))
    total = heads.loss(batch, position=0.0, n_epochs=1)

    first = model.stack.blocks[0](batch.flat)
    second = model.stack.blocks[1](first)
    p = torch.sigmoid(heads.heads[0](first).squeeze(1))
    y, w, mass = batch.label, batch.event_weight, batch.observers["mass"]
    entropy = -(w * (y * p.log() + (1 - y) * (1 - p).log())).sum() / w.abs().sum()
    mean = (mass * w.abs()).sum() / w.abs().sum()
    std = ((mass - mean) ** 2 * w.abs()).sum().div(w.abs().sum()).sqrt()
    wanted = (mass - mean) / std
    squares = (w * (heads.heads[1](second).squeeze(1) - wanted) ** 2).sum() / w.abs().sum()
    # Losses of order one in float32.
    assert heads.latest.tolist() == pytest.approx([entropy.item(), squares.item()], rel=1e-5)
    assert total.item() == pytest.approx(0.3 * entropy.item() + 2 * squares.item(), rel=1e-5)


def test_the_trunk_gets_the_sum_of_both_gradients(batch: Events) -> None:
    model = network()
    alone = step(model, batch)
    heads = attached(model, batch, AuxiliaryHead("early", "stack.blocks.0", weight=0.3))
    both = step(model, batch, heads)
    model.zero_grad()
    hidden = model.stack.blocks[0](batch.flat)
    logits = heads.heads[0](hidden).squeeze(1)
    (0.3 * BinaryCrossEntropy()(logits, batch.label, None, batch.event_weight)).backward()
    own = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert set(own) == {"stack.blocks.0.linear.weight", "stack.blocks.0.linear.bias"}
    for name, gradient in both.items():
        expected = alone[name] + own[name] if name in own else alone[name]
        # Sums of float32 in another order.
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(
        both["stack.blocks.0.linear.weight"], alone["stack.blocks.0.linear.weight"]
    )


@pytest.mark.parametrize("options", [{}, {"batch_norm": True, "dropout": 0.4}])
@pytest.mark.parametrize(
    "head", [{"weight": 0.0}, {"weight": 0.0, "target": "mass", "loss": "mean_squared_error"}]
)
def test_a_head_without_weight_changes_nothing_bit_for_bit(
    batch: Events, options: dict[str, Any], head: dict[str, Any]
) -> None:
    results = []
    for has_head in (False, True):
        torch.manual_seed(11)
        model = network(**options)
        heads = None
        if has_head:
            heads = attached(model, batch, AuxiliaryHead("a", "stack.blocks.0", **head))
        optimizer = torch.optim.Adam([*model.parameters(), *(heads.parameters() if heads else ())])
        for _ in range(4):
            step(model, batch, heads)
            optimizer.step()
        results.append((copy.deepcopy(model.state_dict()), torch.rand(1)))
        if heads is not None:
            assert heads.latest.item() > 0
            assert all(p.grad is None for p in heads.parameters())
    (plain, number), (watched, other_number) = results
    assert number == other_number
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_a_detached_head_learns_and_leaves_the_trunk_alone(batch: Events) -> None:
    model = network()
    alone = step(model, batch)
    heads = attached(model, batch, AuxiliaryHead("a", "stack.blocks.1", weight=5.0, detach=True))
    watched = step(model, batch, heads)
    assert all(torch.equal(alone[name], watched[name]) for name in alone)
    assert all(p.grad is not None and p.grad.any() for p in heads.parameters())


def test_nothing_is_kept_at_prediction(batch: Events) -> None:
    model = network()
    expected = model.eval()(*model.prepare(batch))
    heads = attached(model, batch, AuxiliaryHead("a", "stack.blocks.0"))
    model.eval()
    assert torch.equal(model(*model.prepare(batch)), expected)
    assert heads._taps[0].output is None
    heads.remove()
    assert not any(module._forward_hooks for module in model.modules())
    assert set(model.state_dict()) == set(network().state_dict())


def test_a_copy_of_the_network_has_no_heads(batch: Events) -> None:
    model = network()
    heads = attached(model, batch, AuxiliaryHead("a", "stack.blocks.0"))
    model.train()(*model.prepare(batch))
    kept = heads._taps[0].output
    copied = copy.deepcopy(model)
    copied.train()(*copied.prepare(batch.take(torch.arange(3))))
    assert heads._taps[0].output is kept
    assert heads.loss(batch, position=0, n_epochs=1).isfinite()


def test_attaching_changes_neither_the_network_nor_random_numbers(batch: Events) -> None:
    model = network(batch_norm=True, dropout=0.3).train()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    attached(model, batch, AuxiliaryHead("a", "stack.blocks.0"))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ("constant", [0.4, 0.4, 0.4, 0.4]),
        ("linear", [0.4, 0.3, 0.2, 0.0]),
        ("cosine", [0.4, 0.2 * (1 + math.cos(math.pi / 4)), 0.2, 0.0]),
    ],
)
def test_schedules_have_their_values(schedule: str, values: list[float]) -> None:
    head = AuxiliaryHead("a", "x", weight=0.4, schedule=schedule)
    assert [head.weight_at(position, 8) for position in (0, 2, 4, 8)] == pytest.approx(values)


def test_a_schedule_scales_the_loss(batch: Events) -> None:
    model = network()
    heads = attached(model, batch, AuxiliaryHead("a", "stack.blocks.0", schedule="linear"))
    found = []
    for position in (0.0, 5.0):
        model.train()(*model.prepare(batch))
        found.append(heads.loss(batch, position=position, n_epochs=10).item())
    assert found[1] == pytest.approx(found[0] / 2, rel=1e-6)


def test_a_chunk_is_normalised_by_its_own_weights(batch: Events) -> None:
    # What the loop does with a minibatch in two chunks: shares of the global sum of |w|.
    model = network()
    heads = attached(model, batch, AuxiliaryHead("a", "stack.blocks.0"))

    def loss(events: Events) -> Tensor:
        model.train()(*model.prepare(events))
        return heads.loss(events, position=0.0, n_epochs=1)

    chunks = [batch.take(torch.arange(0, 15)), batch.take(torch.arange(15, N))]
    total = batch.event_weight.abs().sum()
    parts = sum(loss(chunk) * chunk.event_weight.abs().sum() / total for chunk in chunks)
    torch.testing.assert_close(parts, loss(batch), rtol=1e-5, atol=1e-7)


def test_a_checkpoint_brings_parameters_and_the_scaling_of_targets_back(batch: Events) -> None:
    model = network()
    head = AuxiliaryHead("m", "stack.blocks.0", "mean_squared_error", "mass")
    heads = attached(model, batch, head)
    nn.init.ones_(heads.heads[0].weight)
    expected = step(model, batch, heads), heads.latest
    state = copy.deepcopy(heads.state_dict())
    heads.remove()
    # Another scaling and other parameters, until the state is loaded.
    again = AuxiliaryHeads((head,), seed=3)
    again.fit_targets(batch.take(torch.arange(5)))
    again.attach(model, batch)
    again.load_state_dict(state)
    found = step(model, batch, again), again.latest
    assert torch.equal(found[1], expected[1])
    assert all(torch.equal(found[0][name], expected[0][name]) for name in expected[0])


def test_what_is_compared_on_resume_names_every_option(batch: Events) -> None:
    base = AuxiliaryHead("m", "stack.blocks.0", "mean_squared_error", "mass")
    texts = {repr(attached(network(), batch, base))}
    changes: list[dict[str, Any]] = [
        {"layer": "stack.blocks.1"},
        {"loss": "binary_cross_entropy", "target": "label"},
        {"target": "purity"},
        {"weight": 0.31},
        {"schedule": "cosine"},
        {"detach": True},
    ]
    for change in changes:
        texts.add(repr(attached(network(), batch, replace(base, **change))))
    heavier = replace(batch, observers={"mass": batch.observers["mass"] + 1})
    texts.add(repr(attached(network(), heavier, base)))
    assert len(texts) == len(changes) + 2
    assert repr(attached(network(), batch, base)) in texts


def test_a_wrong_layer_names_the_nearest(batch: Events) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'stack\.blocks\.1'"):
        attached(network(), batch, AuxiliaryHead("a", "stack.block.1"))


class Odd(nn.Module):
    """A layer that runs twice, and one that gives a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(2, 2)
        self.sequence = nn.Unflatten(1, (2, 1))
        self.pair = nn.LSTM(1, 1, batch_first=True)

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        return (events.flat,)

    def forward(self, *tensors: Tensor) -> Tensor:
        values = self.twice(self.twice(tensors[0]))
        return self.pair(self.sequence(values))[0][:, 0, 0]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("twice", "runs 2 times"),
        ("sequence", r"gives \[40, 2, 1\] for 40 events"),
        ("pair", "gives tuple"),
    ],
)
def test_layers_that_give_no_vector_are_refused(batch: Events, layer: str, message: str) -> None:
    model: Any = Odd()
    with pytest.raises(ConfigError, match=message):
        attached(model, batch, AuxiliaryHead("a", layer))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_that_loses_events_is_named(batch: Events) -> None:
    model = network()
    heads = attached(model, batch, AuxiliaryHead("a", "stack.blocks.0"))
    model.train()(*model.prepare(batch))
    with pytest.raises(DataError, match=r"stack\.blocks\.0 gives 40 rows for 7 events"):
        heads.loss(batch.take(torch.arange(7)), position=0.0, n_epochs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "mean_square_error"}, "did you mean 'mean_squared_error'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"weight": -0.1}, r"auxiliary\.a\.weight must be a number >= 0, got -0\.1"),
        ({"weight": float("nan")}, "got nan"),
    ],
)
def test_senseless_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AuxiliaryHead("a", "stack", **options)


def test_two_heads_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="different names, got a, a"):
        AuxiliaryHeads((AuxiliaryHead("a", "x"), AuxiliaryHead("a", "y")))


@pytest.mark.parametrize(
    ("options", "observers", "error", "message"),
    [
        ({"target": "mas"}, {}, ConfigError, "did you mean 'mass'"),
        ({"target": "mass"}, {}, DataError, "needs values from 0 to 1"),
        (
            {"target": "mass", "loss": "mean_squared_error"},
            {"mass": torch.full((N,), 80.0)},
            DataError,
            "standard deviation 0 ",
        ),
        (
            {"target": "mass", "loss": "mean_squared_error"},
            {"mass": torch.full((N,), float("nan"))},
            DataError,
            "mean nan",
        ),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(
    batch: Events, options: Any, observers: Any, error: Any, message: str
) -> None:
    events = replace(batch, observers={**batch.observers, **observers})
    with pytest.raises(error, match=message):
        attached(network(), events, AuxiliaryHead("a", "stack.blocks.0", **options))


def test_a_field_between_zero_and_one_is_a_probability(batch: Events) -> None:
    model = network()
    heads = attached(model, batch, AuxiliaryHead("a", "stack.blocks.0", target="purity"))
    model.train()(*model.prepare(batch))
    heads.loss(batch, position=0.0, n_epochs=1)
    logits = heads.heads[0](model.stack.blocks[0](batch.flat)).squeeze(1)
    w, y, p = batch.event_weight, batch.observers["purity"], torch.sigmoid(logits)
    expected = -(w * (y * p.log() + (1 - y) * (1 - p).log())).sum() / w.abs().sum()
    assert heads.latest.item() == pytest.approx(expected.item(), rel=1e-5)


def test_field_targets_without_fit_targets_are_refused(batch: Events) -> None:
    heads = AuxiliaryHeads((AuxiliaryHead("a", "stack.blocks.0", target="purity"),))
    with pytest.raises(DataError, match=r"\['purity'\] are not scaled yet"):
        heads.attach(network(), batch)


def test_heads_compute_in_full_precision_under_autocast(batch: Events) -> None:
    model = network()
    heads = attached(model, batch, AuxiliaryHead("a", "stack.blocks.0"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.train()(*model.prepare(batch))
        hidden = heads._taps[0].output
        assert hidden.dtype == torch.bfloat16
        loss = heads.loss(batch, position=0.0, n_epochs=1)
    assert loss.dtype == torch.float32
    logits = heads.heads[0](hidden.float()).squeeze(1)
    expected = 0.3 * BinaryCrossEntropy()(logits, batch.label, None, batch.event_weight)
    assert torch.equal(loss, expected)


def test_a_captured_network_still_feeds_its_heads(batch: Events) -> None:
    model = network()
    heads = attached(model, batch, AuxiliaryHead("a", "stack.blocks.0"))
    alone = step(model, batch, heads)
    # The tracer of torch.compile, without a C++ compiler.
    traced = torch.compile(model, backend="eager")
    for _ in range(3):
        model.zero_grad()
        logits = traced(*model.prepare(batch))
        value = BinaryCrossEntropy()(logits, batch.label, None, batch.event_weight)
        (value + heads.loss(batch, position=0.0, n_epochs=1)).backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.grad, alone[name], rtol=1e-5, atol=1e-7)


@pytest.mark.gpu
def test_heads_live_where_the_network_lives(batch: Events) -> None:
    head = AuxiliaryHead("m", "stack.blocks.0", "mean_squared_error", "mass")
    losses = []
    for device in ("cpu", "cuda"):
        model = network().to(device)
        events = batch.to(device)
        heads = attached(model, events, head)
        assert {p.device.type for p in heads.parameters()} == {device}
        step(model, events, heads)
        losses.append(heads.latest.item())
    # float32 sums of 40 events in another order.
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
