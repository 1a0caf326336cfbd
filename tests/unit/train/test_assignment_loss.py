"""The auxiliary loss that says which assignment is right."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hepdl.errors import ConfigError, DataError
from hepdl.events import AssignedEvents, Events, select_features
from hepdl.events.assigned import Truth
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models.decay_tree import DecayTree
from hepdl.models.mlp import Mlp
from hepdl.pipeline.config import AuxiliaryConfig
from hepdl.train import TrainOptions
from hepdl.train.state.assignment_loss import assignment_loss, right_assignments
from hepdl.train.state.auxiliary import AuxiliaryHeads
from hepdl.train.state.heads import AUXILIARY_LOSSES, AuxiliaryHead
from hepdl.train.supervised import fit
from tests.unit.models.decay_toys import (
    HIGGS,
    WZ,
    assigned_events,
    assignments_of,
    with_assignments,
)

HEAD = AuxiliaryHead("right", "pooling.logits", "assignment", weight=0.3)


def events_of_wz(n: int = 40) -> Events:
    return select_features(assigned_events(n, decay=WZ), ())


def network(decay: dict[str, Any] = WZ) -> DecayTree:
    torch.manual_seed(0)
    return DecayTree(decay, n_assignments=4, hidden=6, dropout=0.0)


def plain_loss(logits: Tensor, assigned: AssignedEvents, weight: Tensor) -> float:
    """One event and one assignment after the other."""
    assert assigned.truth is not None
    total = 0.0
    for event in range(len(assigned)):
        known = [p for p in range(3) if assigned.truth.is_known[event, p]]
        there = [k for k in range(assigned.n_best) if assigned.mask[event, k]]
        right = [
            k for k in there if known and all(assigned.truth.is_right[event, k, p] for p in known)
        ]
        if right:
            sizes = {k: math.exp(logits[event, k].item()) for k in there}
            share = sum(sizes[k] for k in right) / sum(sizes.values())
            total -= weight[event].item() * math.log(share)
    return total / weight.abs().sum().item()


def drawn(events: Events) -> Tensor:
    return torch.randn(len(events), 4, generator=torch.Generator().manual_seed(2))


def test_it_is_its_formula_event_by_event() -> None:
    events = events_of_wz()
    assigned, logits = assignments_of(events), drawn(events)
    found = assignment_loss(logits, assigned, events.event_weight)
    expected = plain_loss(logits, assigned, events.event_weight)
    # float32 of order one.
    assert found.item() == pytest.approx(expected, rel=1e-5)
    teaches = right_assignments(assigned).any(1)
    assert 5 < int(teaches.sum()) < 35


def test_what_is_not_known_does_not_count() -> None:
    def one(known: list[int], right: list[list[int]]) -> float:
        assigned = replace(
            assignments_of(events_of_wz(1)),
            mask=torch.ones(1, 4, dtype=torch.bool),
            truth=Truth(torch.tensor([right]).bool(), torch.tensor([known]).bool()),
        )
        return assignment_loss(torch.zeros(1, 4), assigned, torch.ones(1)).item()

    right = [[1, 1, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]]
    # All four alike: one of them is right, two where one boson is known, none of which to learn.
    assert one([1, 1, 1], right) == pytest.approx(math.log(4))
    assert one([0, 1, 0], right) == pytest.approx(math.log(2))
    assert one([0, 0, 0], right) == 0
    assert one([1, 1, 1], right[1:] + right[1:2]) == 0


def test_masked_assignments_do_not_count_whatever_their_logits() -> None:
    events = events_of_wz()
    assigned, logits = assignments_of(events), drawn(events)
    for wild in (1e4, -1e4):
        other = torch.where(assigned.mask, logits, wild)
        assert torch.equal(
            assignment_loss(other, assigned, events.event_weight),
            assignment_loss(logits, assigned, events.event_weight),
        )


def test_gradients_are_finite_and_only_where_something_is_learnt() -> None:
    events = events_of_wz()
    assigned = assignments_of(events)
    logits = drawn(events).requires_grad_()
    assignment_loss(logits, assigned, events.event_weight).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    teaches = right_assignments(assigned).any(1)
    assert not logits.grad[~teaches].any()
    assert not logits.grad[~assigned.mask].any()
    # The gradient of a softmax sums to zero: in float32, of numbers below one.
    assert logits.grad.sum(1).abs().max() < 1e-6
    assert logits.grad[teaches].any()


def test_it_does_not_depend_on_where_a_minibatch_is_cut_nor_on_the_scale_of_weights() -> None:
    events = events_of_wz()
    logits, weight = drawn(events), events.event_weight
    whole = assignment_loss(logits, assignments_of(events), weight)
    total = weight.abs().sum()
    parts = [
        assignment_loss(logits[a:b], assignments_of(events.slice(a, b)), weight[a:b])
        * (weight[a:b].abs().sum() / total)
        for a, b in ((0, 7), (7, 8), (8, 40))
    ]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-5, atol=1e-7)
    scaled = assignment_loss(logits, assignments_of(events), 1000 * weight)
    torch.testing.assert_close(scaled, whole, rtol=1e-5, atol=1e-7)


def test_a_head_has_no_parameters_and_steers_the_layer_that_it_reads() -> None:
    model, events = network(), events_of_wz()
    model.standardise(events)
    heads = AuxiliaryHeads((HEAD,))
    heads.fit_targets(events)
    heads.attach(model, events)
    assert not list(heads.parameters())
    tensors = model.prepare(events)
    model.train()(*tensors)
    total = heads.loss(events, position=0.0, n_epochs=1)
    roots, _ = model._roots(tensors[0], tensors[2])
    assert model.pooling.logits is not None
    logits = model.pooling.logits(roots, tensors[1])
    expected = plain_loss(logits.detach(), assignments_of(events), events.event_weight)
    assert heads.latest.item() == pytest.approx(expected, rel=1e-4)
    assert total.item() == pytest.approx(0.3 * expected, rel=1e-4)
    total.backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"embed.weight", "pooling.logits.score_factor", "cells.cells.w.weight"} <= reached
    assert not any(name.startswith(("stack", "output")) for name in reached)


def test_it_learns_which_assignment_is_right() -> None:
    # The right one has harder jets; everything else is random.
    events = select_features(assigned_events(400, decay=HIGGS), ())
    found = assignments_of(events)
    place = torch.randint(0, 4, (400,), generator=torch.Generator().manual_seed(0))
    is_it = torch.arange(4) == place[:, None]
    leaves = torch.where(is_it[..., None, None], 3 * found.leaves, found.leaves)
    truth = Truth(is_it[..., None], torch.ones(400, 1, dtype=torch.bool))
    events = with_assignments(events, leaves=leaves, truth=truth)
    model = network(HIGGS)
    model.standardise(events)
    heads = AuxiliaryHeads((HEAD,))
    heads.fit_targets(events)
    heads.attach(model, events)
    tensors = model.prepare(events)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        model.train()(*tensors)
        heads.loss(events, position=0.0, n_epochs=1).backward()
        optimizer.step()
        losses.append(heads.latest.item())
    heads.remove()
    usable = right_assignments(assignments_of(events)).any(1) & (found.mask.sum(1) == 4)
    chosen = model.attention(*tensors).argmax(1)[usable]
    right = (chosen == place[usable]).float().mean().item()
    n = int(usable.sum())
    # By chance a quarter, five standard deviations above.
    assert right > 0.25 + 5 * math.sqrt(0.25 * 0.75 / n)
    assert losses[-1] < 0.7 * losses[0]


def fitted(head: AuxiliaryHead | None, accumulate: int = 1) -> tuple[dict[str, Tensor], list[Any]]:
    """Train a small network in the loop; its parameters, and what each epoch observed."""
    model, events = network(), events_of_wz(80)
    model.standardise(events)
    result = fit(
        model,
        events,
        events_of_wz(40),
        options=TrainOptions(
            epochs=2,
            minibatch_size=40,
            optimizer="sgd",
            learning_rate=0.05,
            accumulate=accumulate,
            deterministic=True,
        ),
        loss=BinaryCrossEntropy(),  # type: ignore[arg-type]
        auxiliary=None if head is None else AuxiliaryHeads((head,)),
        observe=lambda values, epoch: None,
    )
    return model.state_dict(), result.history


def test_the_loop_trains_with_it_however_minibatches_are_cut() -> None:
    plain, _ = fitted(None)
    taught, history = fitted(HEAD)
    assert all(math.isfinite(values["train_auxiliary_right"]) for values in history)
    assert not torch.equal(taught["embed.weight"], plain["embed.weight"])
    cut, again = fitted(HEAD, accumulate=4)
    for values, others in zip(history, again, strict=True):
        assert others["train_auxiliary_right"] == pytest.approx(
            values["train_auxiliary_right"], rel=1e-4
        )
    for name, value in taught.items():
        # Four steps of sums in another order, in float32.
        torch.testing.assert_close(cut[name], value, rtol=1e-4, atol=1e-5, msg=name)
    watched, seen = fitted(replace(HEAD, detach=True))
    assert all(torch.equal(watched[name], value) for name, value in plain.items())
    assert seen[0]["train_auxiliary_right"] > 0


def test_the_yaml_takes_every_loss_that_there_is() -> None:
    for loss in AUXILIARY_LOSSES:
        assert AuxiliaryConfig(layer="pooling.logits", loss=loss).loss == loss


def test_where_there_is_nothing_to_learn_from_it_is_said() -> None:
    events = events_of_wz()
    with pytest.raises(DataError, match="no truth of their assignments; give the head"):
        AuxiliaryHeads((HEAD,)).attach(network(), with_assignments(events, truth=None))
    flat = replace(assigned_events(), assignments=None)
    with pytest.raises(DataError, match=r"auxiliary\.right: .* have no assignments"):
        AuxiliaryHeads((replace(HEAD, layer="stack"),)).attach(Mlp(flat.feature_names), flat)
    with pytest.raises(
        ConfigError, match=r"stack gives \[40, 30\]; loss: assignment needs a logit"
    ):
        AuxiliaryHeads((replace(HEAD, layer="stack"),)).attach(network(), events)
    with pytest.raises(ConfigError, match=r"auxiliary\.a\.target is 'mass'; loss: assignment"):
        AuxiliaryHead("a", "pooling.logits", "assignment", "mass")
