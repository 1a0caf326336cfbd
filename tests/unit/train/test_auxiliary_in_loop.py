"""Auxiliary heads inside the supervised loop: what they change, and what they must not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hepdl.errors import ConfigError, DataError, StoppedError
from hepdl.events import Events
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models.mlp import Mlp
from hepdl.train import CheckpointFolder, FitResult, StepView, StopRequest, TrainOptions
from hepdl.train.state.auxiliary import AuxiliaryHeads
from hepdl.train.state.heads import AuxiliaryHead
from hepdl.train.supervised import fit

Make = Callable[..., Any]


def with_mass(events: Events) -> Events:
    """Events with a field that the first feature nearly gives away."""
    return replace(events, observers={"mass": 80 + 10 * events.flat[:, 0].double()})


def run(
    events: Make, *heads: AuxiliaryHead, network: Any = None, given: Any = None, **options: Any
) -> tuple[dict[str, Tensor], FitResult]:
    """Fit a small network; its final parameters and what was observed."""
    model = Mlp(("a", "b"), (8, 8), **(network or {"batch_norm": False, "dropout": 0.1}))
    model.reset_parameters(torch.Generator().manual_seed(2))
    settings = {"epochs": 3, "minibatch_size": 32, "learning_rate": 0.01, "deterministic": True}
    result = fit(
        model,
        with_mass(events(200)),
        with_mass(events(100, seed=1)),
        options=TrainOptions(**{**settings, **options}),
        loss=BinaryCrossEntropy(),  # type: ignore[arg-type]
        auxiliary=AuxiliaryHeads(heads) if heads else None,
        **{"observe": lambda values, epoch: None, **(given or {})},
    )
    assert not any(module._forward_hooks for module in model.modules())
    return copy.deepcopy(model.state_dict()), result


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clip_norm": 0.1},
        {"accumulate": 3, "optimizer": "adamw", "weight_decay": 0.1},
        {"ema": 0.9, "optimizer": "sgd", "nesterov": True, "schedule": "one_cycle"},
        {"network": {"dropout": 0.3}},
    ],
)
@pytest.mark.parametrize(
    "head",
    [
        {"weight": 0.0},
        {"weight": 3.0, "detach": True},
        {"weight": 3.0, "detach": True, "target": "mass", "loss": "mean_squared_error"},
    ],
)
def test_a_head_that_only_watches_changes_no_bit(
    events: Make, options: dict[str, Any], head: dict[str, Any]
) -> None:
    plain, result = run(events, **options)
    watched, seen = run(events, AuxiliaryHead("a", "stack.blocks.0", **head), **options)
    assert same(plain, watched)
    for values, more in zip(result.history, seen.history, strict=True):
        assert set(more) - set(values) == {"train_auxiliary_a"}
        for name in set(values) - {"seconds"}:
            assert values[name] == more[name], name


def test_a_head_with_weight_steers_the_network(events: Make) -> None:
    plain, _ = run(events)
    steered, _ = run(events, AuxiliaryHead("a", "stack.blocks.0", weight=1.0))
    assert not same(plain, steered)


def test_a_detached_head_learns_what_a_layer_knows(events: Make) -> None:
    head = AuxiliaryHead("mass", "stack.blocks.0", "mean_squared_error", "mass", detach=True)
    steady = {"epochs": 15, "learning_rate": 0.03, "schedule": "constant"}
    _, result = run(events, head, network={"batch_norm": False}, **steady)
    losses = [values["train_auxiliary_mass"] for values in result.history]
    # A standardised target that one feature gives away: from about 1 to little; a target that the
    # layer did not know would stay at 1.
    assert losses[0] > 0.4
    assert losses[-1] < 0.1


def test_what_is_observed_is_the_mean_over_the_events(events: Make) -> None:
    heads = (
        AuxiliaryHead("a", "stack.blocks.0"),
        AuxiliaryHead("m", "stack.blocks.1", "mean_squared_error", "mass"),
    )
    slow = {"epochs": 1, "learning_rate": 1e-12, "network": {"batch_norm": False}}
    cut, one = (run(events, *heads, minibatch_size=n, **slow)[1].history[0] for n in (32, 200))
    for name in ("train_auxiliary_a", "train_auxiliary_m"):
        # Minibatches of 32 and a last one of 8 weigh as much as their events.
        assert cut[name] == pytest.approx(one[name], rel=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_stopped_fit_continues_to_the_same_bits(
    events: Make, tmp_path: Path, schedule: str
) -> None:
    heads = (
        AuxiliaryHead("a", "stack.blocks.0", weight=0.5, schedule=schedule),
        AuxiliaryHead("m", "stack.blocks.1", "mean_squared_error", "mass"),
    )
    expected, result = run(events, *heads)
    stop = StopRequest()

    def ask(view: StepView) -> None:
        if view.step == 10:
            stop.request("test")

    checkpoint = CheckpointFolder(tmp_path)
    with pytest.raises(StoppedError):
        run(events, *heads, given={"checkpoint": checkpoint, "stop": stop, "hooks": [ask]})
    resumed, again = run(events, *heads, given={"checkpoint": checkpoint, "resume": True})
    assert same(resumed, expected)
    for one, other in zip(again.history, result.history, strict=True):
        assert one["train_auxiliary_m"] == other["train_auxiliary_m"]


def test_a_resume_with_another_head_is_refused(events: Make, tmp_path: Path) -> None:
    checkpoint = CheckpointFolder(tmp_path)
    run(events, AuxiliaryHead("a", "stack.blocks.0"), given={"checkpoint": checkpoint})
    for heads in (
        (AuxiliaryHead("a", "stack.blocks.0", weight=0.31),),
        (AuxiliaryHead("a", "stack.blocks.1"),),
        (),
    ):
        with pytest.raises(ConfigError, match="auxiliary: the checkpoint has"):
            run(events, *heads, given={"checkpoint": checkpoint, "resume": True})


def test_a_target_that_is_not_finite_is_found_before_the_first_step(events: Make) -> None:
    def broken(n: int, seed: int = 0) -> Events:
        made = events(n, seed)
        made.flat[3, 0] = float("nan")
        return made

    head = AuxiliaryHead("m", "stack.blocks.1", "mean_squared_error", "mass")
    with pytest.raises(DataError, match=r"auxiliary\.m\.target: the field 'mass' has mean nan"):
        run(broken, head)
