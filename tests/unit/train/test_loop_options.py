"""What each option of the loop changes, and what it must leave as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError
from hepdl.events import Events
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.losses.gradient_reversal import GradientReversal
from hepdl.pipeline.config import TrainConfig
from hepdl.train import CheckpointFolder, FitResult, StepView, StopRequest, TrainOptions
from hepdl.train.state import compilation
from hepdl.train.state.moving_average import MovingAverage
from hepdl.train.state.optimizers import make_optimizer
from hepdl.train.state.options import OPTIMIZERS, PRECISIONS, SCHEDULES
from hepdl.train.supervised import fit

Make = Callable[..., Any]


def run(network: nn.Module, train: Events, validation: Events, **changes: Any) -> FitResult:
    keys = ("decorrelation", "hooks", "observe", "stop", "checkpoint", "resume", "loss")
    given = {key: changes.pop(key) for key in keys if key in changes}
    settings = {"epochs": 2, "minibatch_size": 32, "learning_rate": 0.01} | changes
    defaults = {"loss": BinaryCrossEntropy(), "observe": lambda values, epoch: None}
    options = TrainOptions(**settings)
    return fit(network, train, validation, options=options, **(defaults | given))  # type: ignore[arg-type]


def wide(tiny: Make) -> nn.Module:
    network: nn.Module = tiny(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    return network


def values_of(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def signed(events: Make, n: int) -> Events:
    weight = torch.rand(n, generator=torch.Generator().manual_seed(5)) - 0.15
    result: Events = events(n).with_event_weight(weight)
    return result


def test_the_yaml_has_every_option_with_the_same_default_and_the_same_names() -> None:
    ours = {field.name: field.default for field in fields(TrainOptions)}
    yaml = {name: field.default for name, field in TrainConfig.model_fields.items()}
    assert {*ours} - {*yaml} == {"seed", "evaluation_minibatch_size"}
    assert {*yaml} - {*ours} == {"loop", "seeds"}
    assert {name: yaml[name] for name in ours if name in yaml} == {
        name: value for name, value in ours.items() if name in yaml
    }
    for name, known in (
        ("schedule", SCHEDULES),
        ("optimizer", OPTIMIZERS),
        ("autocast", PRECISIONS),
    ):
        assert sorted(get_args(TrainConfig.model_fields[name].annotation)) == sorted(known)


@pytest.mark.parametrize("n_chunks", [2, 3, 7])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_chunks_of_a_minibatch_give_the_step_of_the_whole(
    tiny: Make, events: Make, n_chunks: int, optimizer: str
) -> None:
    train, found = signed(events, 300), []
    for accumulate in (1, n_chunks):
        network = wide(tiny)
        result = run(network, train, train, accumulate=accumulate, optimizer=optimizer)
        found.append((values_of(network), result.history[-1]["train_loss"]))
    # 20 steps of float32; the chunks only change the order of the sums.
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-5)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)


def test_one_step_per_minibatch_however_it_is_cut(tiny: Make, events: Make) -> None:
    steps: list[int] = []
    run(
        tiny(),
        events(64),
        events(50),
        accumulate=4,
        hooks=[lambda view: steps.append(len(view.minibatch))],
    )
    assert steps == [32, 32, 32, 32]


@pytest.mark.parametrize("every", [1, 2, 1000])
def test_how_often_the_host_waits_changes_no_number(tiny: Make, events: Make, every: int) -> None:
    train, found = signed(events, 300), []
    for sync_every in (50, every):
        network = tiny(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        result = run(network, train, train, sync_every=sync_every, clip_norm=0.1)
        kept = [{k: v for k, v in entry.items() if k != "seconds"} for entry in result.history]
        found.append((values_of(network).tolist(), kept))
    assert found[0] == found[1]


def test_nesterov_is_that_of_torch(tiny: Make, events: Make) -> None:
    train, network, expected = events(64), tiny(), tiny()
    options = {"optimizer": "sgd", "momentum": 0.8, "learning_rate": 0.3, "schedule": "constant"}
    run(network, train, train, epochs=4, minibatch_size=64, nesterov=True, **options)
    # One minibatch an epoch: the order does not matter. The last epoch has the best AUC or not:
    # a penalty without strength keeps the last one.
    last = tiny()
    watch = GradientReversal(strength=0, nuisances=["mass"])
    run(last, train, train, epochs=4, minibatch_size=64, nesterov=True, decorrelation=watch,
        **options)  # fmt: skip
    oracle = torch.optim.SGD(expected.parameters(), lr=0.3, momentum=0.8, nesterov=True)
    for _ in range(4):
        oracle.zero_grad()
        loss = BinaryCrossEntropy()
        loss(expected(train.flat), train.label, None, train.event_weight).backward()
        oracle.step()
    torch.testing.assert_close(values_of(last), values_of(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_every_optimizer_is_fused_and_is_torch_s_own_to_rounding(name: str) -> None:
    generator = torch.Generator().manual_seed(2)
    start, gradients = (torch.randn(40, generator=generator) for _ in range(2))
    plain = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    options = TrainOptions(optimizer=name, learning_rate=0.1, weight_decay=0.2)
    extra = {"momentum": 0.9} if name == "sgd" else {}
    optimizers = (
        make_optimizer([ours], options),
        plain([theirs], lr=0.1, weight_decay=0.2, foreach=False, fused=False, **extra),
    )
    for _ in range(5):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradients + parameter.detach()
            optimizer.step()
    assert optimizers[0].param_groups[0]["fused"]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_moving_average_is_the_recursion_written_out(tiny: Make) -> None:
    network = tiny(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    average = MovingAverage(network, 0.3)
    expected = {k: v.double() for k, v in network.state_dict().items() if v.is_floating_point()}
    for step in range(6):
        with torch.no_grad():
            for value in network.state_dict().values():
                value.add_(step + 1)
        average.update()
        decay = min(0.3, (1 + step) / (10 + step))
        now = network.state_dict()
        expected = {k: decay * v + (1 - decay) * now[k].double() for k, v in expected.items()}
    for name, value in expected.items():
        torch.testing.assert_close(average.values[name].double(), value, rtol=1e-6, atol=1e-6)
    assert "stack.1.running_var" in expected
    before = values_of(network)
    with average.in_place():
        assert not torch.equal(values_of(network), before)
        assert torch.equal(next(network.parameters()), average.values["stack.0.weight"])
    assert torch.equal(values_of(network), before)


def test_what_is_validated_and_kept_is_the_average(tiny: Make, events: Make) -> None:
    train, validation = events(320), events(200, seed=1)
    network, shadow = tiny(), tiny()
    average = MovingAverage(shadow, 0.9)

    def follow(view: StepView) -> None:
        shadow.load_state_dict(view.model.state_dict())
        average.update()

    result = run(network, train, validation, epochs=1, ema=0.9, hooks=[follow], learning_rate=0.3)
    assert not torch.equal(values_of(network), values_of(shadow))
    with average.in_place():
        assert torch.equal(values_of(network), values_of(shadow))
    loss = BinaryCrossEntropy()
    with torch.no_grad():
        expected = loss(network(validation.flat), validation.label, None, validation.event_weight)
    assert result.history[0]["validation_loss"] == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_used_forwards_and_learns_the_same_to_its_rounding(
    tiny: Make, events: Make, precision: str
) -> None:
    train, seen = events(2000), set()
    full, half = wide(tiny), wide(tiny)
    half.stack[0].register_forward_hook(lambda layer, inputs, output: seen.add(output.dtype))
    one = run(full, train, train, epochs=3)
    other = run(half, train, train, epochs=3, autocast=precision)
    assert getattr(torch, precision) in seen
    # Validation is in full precision.
    assert torch.float32 in seen
    assert all(p.dtype == torch.float32 for p in half.parameters())
    # 8 bits of mantissa: relative errors of 2^-9 in each of two products.
    assert other.history[-1]["train_loss"] == pytest.approx(one.history[-1]["train_loss"], rel=0.02)
    assert other.best_validation_auc == pytest.approx(one.best_validation_auc, abs=0.01)


def test_a_gradient_that_overflows_in_half_precision_only_lowers_its_scale(
    tiny: Make, events: Make
) -> None:
    train = events(300)
    # The first scale is 65536: gradients of a loss times 100 overflow float16 at first.
    train.flat[:] = 100 * train.flat
    result = run(wide(tiny), train, train, autocast="float16", epochs=3, learning_rate=1e-3)
    assert all(np.isfinite(list(entry.values())).all() for entry in result.history)
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 2}, "accumulate is 2: a decorrelation penalty needs the whole"),
        ({"autocast": "float16"}, "autocast is float16: its scaled gradients"),
    ],
)
def test_what_a_penalty_cannot_go_with_is_refused(
    tiny: Make, events: Make, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tiny(), events(100), events(100), decorrelation=GradientReversal(), **changes)


def test_a_minibatch_larger_than_the_data_is_said(
    tiny: Make, events: Make, caplog: pytest.LogCaptureFixture
) -> None:
    run(tiny(), events(20), events(20), minibatch_size=100)
    assert "minibatch_size 100 is more than the 20 training events: one step" in caplog.text


def test_where_nothing_can_be_compiled_one_warning_says_why(
    tiny: Make, events: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(network: nn.Module) -> Any:
        def forward(*tensors: Tensor) -> Tensor:
            raise RuntimeError("No working C++ compiler found\nmany more lines")

        return forward

    train = events(100)
    network, expected = (tiny(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1)) for _ in "ab")
    run(expected, train, train)
    monkeypatch.setattr(compilation.torch, "compile", broken)
    with caplog.at_level(logging.WARNING):
        run(network, train, train, compile=True)
    assert [record.getMessage() for record in caplog.records] == [
        "train.compile: this network runs uncompiled here: No working C++ compiler found"
    ]
    assert torch.equal(values_of(network), values_of(expected))


def test_a_forward_pass_that_cannot_be_differentiated_compiled_is_not_compiled(
    tiny: Make, events: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Tensor) -> Tensor:
            return values.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            raise RuntimeError("torch.compile does not currently support double backward")

    network = tiny(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    monkeypatch.setattr(
        compilation.torch, "compile", lambda n: lambda *tensors: Once.apply(n(*tensors))
    )
    seen: list[bool] = []
    train = events(64)

    def look(view: StepView) -> None:
        seen.append(True)

    run(network, train, train, compile=True, epochs=1, minibatch_size=64, hooks=[look])
    assert seen == [True]
    assert "double backward" in caplog.text
    # The trial left no trace: batch norm has seen one minibatch.
    assert int(network.state_dict()["stack.1.num_batches_tracked"]) == 1
    assert int(before["stack.1.num_batches_tracked"]) == 0


def test_a_penalty_that_differentiates_twice_is_never_compiled(
    tiny: Make, events: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    penalty = GradientReversal(nuisances=["mass"])
    penalty.needs_double_backward = True
    monkeypatch.setattr(compilation.torch, "compile", lambda network: pytest.fail("compiled"))
    run(tiny(), events(100), events(100), compile=True, decorrelation=penalty)
    assert "not for a penalty that differentiates the network twice" in caplog.text


@pytest.mark.slow
def test_a_compiled_network_learns_what_the_network_learns(
    tiny: Make, events: Make, caplog: pytest.LogCaptureFixture
) -> None:
    train = events(300)
    plain, fast = wide(tiny), wide(tiny)
    run(plain, train, train)
    run(fast, train, train, compile=True)
    assert "uncompiled" not in caplog.text
    # Fused kernels round in another order.
    torch.testing.assert_close(values_of(fast), values_of(plain), rtol=1e-4, atol=1e-5)


def test_a_stop_between_two_looks_of_the_host_loses_no_step(
    tiny: Make, events: Make, tmp_path: Any
) -> None:
    train, whole = signed(events, 320), wide(tiny)
    settings: dict[str, Any] = {"ema": 0.9, "schedule": "one_cycle", "sync_every": 7, "epochs": 3}
    expected = run(whole, train, train, **settings)
    stop, folder = StopRequest(), CheckpointFolder(tmp_path)

    def request(view: StepView) -> None:
        if view.step == 13:
            stop.request("SIGUSR1")

    with pytest.raises(Exception, match="stopped by SIGUSR1 in epoch 1, step 13"):
        run(wide(tiny), train, train, hooks=[request], stop=stop, checkpoint=folder, **settings)
    again = wide(tiny)
    result = run(again, train, train, checkpoint=folder, resume=True, **settings)
    assert torch.equal(values_of(again), values_of(whole))
    for ours, theirs in zip(result.history, expected.history, strict=True):
        assert {**ours, "seconds": 0.0} == {**theirs, "seconds": 0.0}


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["none", "bfloat16"])
def test_on_a_gpu_the_fit_is_that_of_the_cpu_to_rounding(
    tiny: Make, events: Make, precision: str
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    train, found = signed(events, 3000), []
    for device in ("cpu", "cuda"):
        network = wide(tiny).to(device)
        result = run(network, train, train, autocast=precision, ema=0.99, accumulate=2)
        assert next(network.parameters()).device.type == device
        found.append(result.history[-1]["validation_auc"])
    # Products in TF32 or bfloat16: three decimal digits.
    assert found[0] == pytest.approx(found[1], abs=5e-3)
