"""Fit a tiny model on synthetic events; run by test_kill_and_resume.py in processes of their own.

Usage: kill_and_resume_script.py FOLDER CASE [STOP_AT_STEP]
With a step to stop at, the process writes FOLDER/ready there and waits for the signal to come.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hepdl.errors import HepdlError
from hepdl.events import Events, Inputs
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.losses.gradient_reversal import GradientReversal
from hepdl.models.boosted_trees import BoostedTrees
from hepdl.train import CheckpointFolder, FitResult, StepView, StopRequest, TrainOptions, boosted
from hepdl.train.state.auxiliary import AuxiliaryHeads
from hepdl.train.state.heads import AuxiliaryHead
from hepdl.train.supervised import fit


class TinyNetwork(nn.Module):
    """Dropout and batch norm, the two that make an inexact resume visible."""

    inputs = Inputs(features=("a", "b", "c"))

    def __init__(self, *, dropout: float, batch_norm: bool) -> None:
        super().__init__()
        norm: nn.Module = nn.BatchNorm1d(8) if batch_norm else nn.Identity()
        self.stack = nn.Sequential(
            nn.Linear(3, 8), norm, nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 1)
        )

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        return (events.flat,)

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.stack(tensors[0])[:, 0]


CASES: dict[str, dict] = {
    "plain": {},
    "dropout": {"dropout": 0.3},
    "batch_norm": {"batch_norm": True},
    "everything": {"dropout": 0.3, "batch_norm": True, "adversary": True, "optimizer": "adamw"},
    "cosine": {"schedule": "cosine", "dropout": 0.3, "optimizer": "sgd", "clip_norm": 0.5},
    "early_stopping": {"patience": 1, "dropout": 0.3},
    "auxiliary_heads": {"heads": True, "dropout": 0.3},
    "nesterov": {"optimizer": "sgd", "nesterov": True, "warm_up": 1.5, "dropout": 0.3},
    "one_cycle": {"schedule": "one_cycle", "optimizer": "adamw", "dropout": 0.3},
    "plateau": {"schedule": "plateau", "decay": 0.5, "learning_rate": 0.3, "dropout": 0.3},
    "moving_average": {"ema": 0.97, "dropout": 0.3, "batch_norm": True},
    "accumulate": {"accumulate": 3, "dropout": 0.3, "batch_norm": True, "sync_every": 7},
    "bfloat16": {"autocast": "bfloat16", "dropout": 0.3},
    "float16": {"autocast": "float16", "dropout": 0.3, "clip_norm": 0.5},
    "compile": {"compile": True, "dropout": 0.3},
    "stream": {"stream": 600, "dropout": 0.3, "sync_every": 4},
    "heads_and_adversary": {"heads": True, "adversary": True, "ema": 0.9, "stream": 600},
    "all_that_go_together": {
        "accumulate": 2,
        "autocast": "bfloat16",
        "batch_norm": True,
        "clip_norm": 1.0,
        "dropout": 0.3,
        "ema": 0.97,
        "heads": True,
        "nesterov": True,
        "optimizer": "sgd",
        "patience": 3,
        "schedule": "cosine",
        "stream": 600,
        "sync_every": 5,
        "warm_up": 0.7,
        "weight_decay": 0.01,
    },
}
HEADS = (
    AuxiliaryHead("label", "stack.0", schedule="cosine"),
    AuxiliaryHead("mass", "stack.2", "mean_squared_error", "mass"),
)
N_EVENTS, MINIBATCH, EPOCHS = 1000, 64, 4
STEPS_PER_EPOCH = -(-N_EVENTS // MINIBATCH)
TREES: dict[str, dict] = {
    "boosted": {},
    "boosted_sampled": {"subsample": 0.7, "colsample_bytree": 0.7},
    "boosted_early_stopping": {"early_stopping_rounds": 40, "learning_rate": 0.3},
}
# The trees write a checkpoint every 25 rounds.
N_ROUNDS = 70


def synthetic_events(n: int, seed: int) -> Events:
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 2
    flat = torch.randn(n, 3, generator=generator) + label[:, None] * 0.7
    weight = 0.5 + torch.rand(n, generator=generator)
    weight[::17] *= -0.3
    mass = flat[:, 0] + 0.5 * torch.randn(n, generator=generator)
    return Events(
        event_number=torch.arange(n),
        run_number=torch.ones(n, dtype=torch.int64),
        process=label,
        label=label,
        event_weight=weight,
        flat=flat,
        feature_names=("a", "b", "c"),
        nuisance=mass[:, None],
        nuisance_names=("mass",),
        observers={"mass": mass},
    )


def sha256_of(network: nn.Module) -> str:
    parameters = network.state_dict().values()
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in parameters)).hexdigest()


def run(folder: Path, case: str, *, resume: bool, pause_at: int | None = None) -> str:
    checkpoint = CheckpointFolder(folder / "checkpoints")

    def pause(step: int) -> None:
        if step == pause_at:
            (folder / "ready").touch()
            # Until the signal has come; a SIGKILL ends it here. At most two minutes.
            for _ in range(12_000):
                if stop.is_requested:
                    return
                time.sleep(0.01)

    with StopRequest() as stop:
        train, validation = synthetic_events(N_EVENTS, 1), synthetic_events(400, 2)
        options = {"checkpoint": checkpoint, "resume": resume, "stop": stop}
        if case in TREES:
            return run_trees(case, train, validation, pause, options, folder)
        return run_network(case, train, validation, pause, options)


def run_trees(
    case: str,
    train: Events,
    validation: Events,
    pause: Callable[[int], None],
    options: dict[str, Any],
    folder: Path,
) -> str:
    trees = BoostedTrees(
        ["a", "b", "c"], **{"n_rounds": N_ROUNDS, "early_stopping_rounds": None} | TREES[case]
    )
    result = boosted.fit(
        trees,
        train,
        validation,
        options=TrainOptions(deterministic=True, seed=3),
        observe=lambda values, number: pause(number),
        **options,
    )
    trees.save(folder / "trees")
    content = b"".join(path.read_bytes() for path in sorted((folder / "trees").iterdir()))
    return summary(hashlib.sha256(content).hexdigest(), result)


def run_network(
    case: str,
    train: Events,
    validation: Events,
    pause: Callable[[int], None],
    options: dict[str, Any],
) -> str:
    settings = dict(CASES[case])
    torch.manual_seed(1)
    network = TinyNetwork(
        dropout=settings.pop("dropout", 0.0), batch_norm=settings.pop("batch_norm", False)
    )
    heads = AuxiliaryHeads(HEADS) if settings.pop("heads", False) else None
    adversary = settings.pop("adversary", False)
    penalty = GradientReversal(nuisances=["mass"], warm_up=1, n_bins=4) if adversary else None

    def hook(view: StepView) -> None:
        pause(view.step)

    result = fit(
        network,
        train,
        validation,
        options=TrainOptions(
            epochs=EPOCHS, minibatch_size=MINIBATCH, seed=3, deterministic=True, **settings
        ),
        loss=BinaryCrossEntropy(),
        decorrelation=penalty,
        auxiliary=heads,
        observe=lambda values, epoch: None,
        hooks=[hook],
        **options,
    )
    return summary(sha256_of(network), result)


def summary(sha256: str, result: FitResult) -> str:
    kept = [{k: v for k, v in entry.items() if k != "seconds"} for entry in result.history]
    return json.dumps({"sha256": sha256, "best": result.best_epoch, "history": kept})


if __name__ == "__main__":
    try:
        pause_at = int(sys.argv[3]) if len(sys.argv) > 3 else None
        sys.stdout.write(run(Path(sys.argv[1]), sys.argv[2], resume=True, pause_at=pause_at))
    except HepdlError as error:
        sys.stderr.write(str(error))
        sys.stderr.flush()
        os._exit(error.exit_status)
