"""What a step of the loop costs beside a bare one, a DataLoader and Lightning Fabric.

OMP_NUM_THREADS=1 pytest -n 0 -o log_cli=true tests/benchmarks/test_loop_speed.py

Interleaved in one run, on one thread, in CPU time, which a loaded machine stretches less than the
wall clock. All contenders learn from the same events with the same network, loss and optimiser.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hepdl.events import Events
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models.mlp import Mlp
from hepdl.train import TrainOptions
from hepdl.train.state import ledger
from hepdl.train.supervised import fit

log = logging.getLogger(__name__)

MINIBATCH, N_STEPS, N_FEATURES = 256, 128, 28
N_PAIRS = 61
NAMES = tuple(f"x{i}" for i in range(N_FEATURES))


def synthetic(n_events: int) -> Events:
    generator = torch.Generator().manual_seed(1)
    label = torch.arange(n_events) % 2
    flat = torch.randn(n_events, N_FEATURES, generator=generator) + 0.1 * label[:, None]
    return Events(
        event_number=torch.arange(n_events),
        run_number=torch.ones(n_events, dtype=torch.int64),
        process=label,
        label=label,
        event_weight=0.5 + torch.rand(n_events, generator=generator),
        flat=flat,
        feature_names=NAMES,
        nuisance=flat[:, :0],
        observers={"jet_pt": flat[:, 0].double(), "jet_eta": flat[:, 1].double()},
    )


def network(device: str = "cpu", hidden: tuple[int, ...] = (64, 64, 64)) -> Mlp:
    torch.manual_seed(0)
    return Mlp(NAMES, hidden, batch_norm=False).to(device).train()


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)


def bare_seconds(
    minibatches: Callable[[], Iterable[tuple[Tensor, Tensor, Tensor]]],
    set_up: Callable[[nn.Module, torch.optim.Optimizer], Any] | None = None,
) -> float:
    """Return the CPU time of an epoch of forward, backward, step."""
    model, loss = network(), BinaryCrossEntropy()
    optimizer: Any = adamw(model)
    forward: Any = model
    backward: Callable[[Tensor], Any] = torch.Tensor.backward
    if set_up is not None:
        forward, optimizer, backward = set_up(model, optimizer)
    start = time.process_time()
    for flat, label, weight in minibatches():
        value = loss(forward(flat), label, None, weight)
        optimizer.zero_grad()
        backward(value)
        optimizer.step()
    return time.process_time() - start


def our_seconds(train: Events, validation: Events) -> float:
    """Return the CPU time of an epoch's steps, the gathering of its events included."""
    options = TrainOptions(epochs=1, minibatch_size=MINIBATCH, optimizer="adamw", weight_decay=0.01)
    result = fit(
        network(),
        train,
        validation,
        options=options,
        loss=BinaryCrossEntropy(),
        observe=lambda values, epoch: None,
    )
    return len(train) / result.events_per_second


def interleaved(contenders: dict[str, Callable[[], float]]) -> dict[str, np.ndarray]:
    """Return the times of each contender [s per step]."""
    for contender in contenders.values():
        contender()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(N_PAIRS):
        for name, contender in contenders.items():
            times[name].append(contender() / N_STEPS)
    found = {name: np.array(values) for name, values in times.items()}
    for name, values in found.items():
        low, middle, high = 1e6 * np.quantile(values, [0.16, 0.5, 0.84])
        log.info("%-28s%8.0f us/step (%.0f to %.0f)", name, middle, low, high)
    return found


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[Events, Events]:
    # The loop measures its own steps; here in CPU time.
    monkeypatch.setattr(ledger, "time", SimpleNamespace(perf_counter=time.process_time))
    torch.set_num_threads(1)
    return synthetic(N_STEPS * MINIBATCH), synthetic(512)


def in_memory(train: Events) -> Callable[[], Iterable[tuple[Tensor, Tensor, Tensor]]]:
    columns = (train.flat, train.label, train.event_weight)

    def minibatches() -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        for first in range(0, len(train), MINIBATCH):
            flat, label, weight = (column[first : first + MINIBATCH] for column in columns)
            yield flat, label, weight

    return minibatches


def test_a_step_costs_little_more_than_forward_backward_and_step(
    parts: tuple[Events, Events],
) -> None:
    train, validation = parts
    found = interleaved(
        {
            "bare": lambda: bare_seconds(in_memory(train)),
            "hepdl": lambda: our_seconds(train, validation),
        }
    )
    differences = 1e6 * (found["hepdl"] - found["bare"])
    low, middle, high = np.quantile(differences, [0.16, 0.5, 0.84])
    log.info("hepdl - bare: %.0f us/step (%.0f to %.0f)", middle, low, high)
    assert middle <= 60


def test_twice_the_speed_of_a_data_loader(parts: tuple[Events, Events]) -> None:
    train, validation = parts
    tensors = TensorDataset(train.flat, train.label, train.event_weight)
    loader = DataLoader(tensors, batch_size=MINIBATCH, shuffle=True)
    found = interleaved(
        {
            "DataLoader(TensorDataset)": lambda: bare_seconds(lambda: loader),
            "hepdl": lambda: our_seconds(train, validation),
        }
    )
    ratio = np.median(found["DataLoader(TensorDataset)"] / found["hepdl"])
    log.info("steps/s, hepdl over DataLoader: %.2f", ratio)
    assert ratio >= 2


def test_faster_than_lightning_fabric(parts: tuple[Events, Events]) -> None:
    fabric_room = pytest.importorskip("lightning_fabric")
    train, validation = parts
    fabric = fabric_room.Fabric(accelerator="cpu", devices=1)
    fabric.launch()

    def same(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any, Any]:
        return *fabric.setup(model, optimizer), fabric.backward

    def default(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any, Any]:
        # As its users write it: torch does not fuse an optimiser by itself.
        return same(model, torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01))

    def shuffled() -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        # Resident tensors and one permutation an epoch, as Fabric can have them at best.
        order = torch.randperm(len(train))
        columns = [c[order] for c in (train.flat, train.label, train.event_weight)]
        for first in range(0, len(train), MINIBATCH):
            flat, label, weight = (column[first : first + MINIBATCH] for column in columns)
            yield flat, label, weight

    found = interleaved(
        {
            "Fabric, AdamW": lambda: bare_seconds(shuffled, default),
            "Fabric, our fused AdamW": lambda: bare_seconds(shuffled, same),
            "hepdl": lambda: our_seconds(train, validation),
        }
    )
    for name, least in (("Fabric, AdamW", 1.2), ("Fabric, our fused AdamW", 1.0)):
        ratio = np.median(found[name] / found["hepdl"])
        log.info("steps/s, hepdl over %s: %.2f", name, ratio)
        assert ratio >= least


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["none", "bfloat16"])
@pytest.mark.parametrize("compile_", [False, True])
def test_events_per_second_on_a_gpu(precision: str, compile_: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    result = fit(
        network("cuda", (300,) * 5),
        synthetic(4_000_000),
        synthetic(1000),
        options=TrainOptions(
            epochs=4, minibatch_size=8192, optimizer="adamw", autocast=precision, compile=compile_
        ),
        loss=BinaryCrossEntropy(),
        observe=lambda values, epoch: None,
    )
    speed = result.events_per_second
    # Twice the multiplications forwards, four times backwards, of each weight.
    flops = 6 * speed * (28 * 300 + 4 * 300**2 + 300)
    log.info(
        "%s, compile %s: %.3g events/s, %.3g TFLOP/s", precision, compile_, speed, flops / 1e12
    )
    # Far above what the loops of the anchors reach (0.24 million on a GPU).
    assert speed > 1e6
