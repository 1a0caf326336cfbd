"""Fit tiny networks as one of several ranks; run by test_ranks_agree.py in processes of their own.

Usage: ranks_fit_script.py fit CASE[:SEED]…                       prints what each case ends in
       ranks_fit_script.py stop CASE FOLDER [STOP_AT_STEP]  writes FOLDER/ready-RANK there and waits
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hepdl.errors import HepdlError
from hepdl.events import Events, Inputs
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.losses.gradient_reversal import GradientReversal
from hepdl.train import CheckpointFolder, StepView, StopRequest, TrainOptions
from hepdl.train.state.auxiliary import AuxiliaryHeads
from hepdl.train.state.heads import AuxiliaryHead
from hepdl.train.state.ranks import Ranks
from hepdl.train.supervised import fit

MINIBATCH, EPOCHS = 64, 3
# A last minibatch of 43 events: 22 and 21 of them, or 15, 14 and 14.
N_EVENTS = 15 * MINIBATCH + 43
STEPS_PER_EPOCH = 16

# What the network, the options or the data of a case have beyond the plain ones.
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "sgd": {"optimizer": "sgd", "nesterov": True, "clip_norm": 0.05, "schedule": "one_cycle"},
    "accumulate": {"accumulate": 3, "warm_up": 0.5, "schedule": "cosine"},
    "average": {"ema": 0.9, "schedule": "plateau"},
    "heads": {"heads": True},
    "stream": {"stream": 4 * MINIBATCH},
    # Three events in the last minibatch: some ranks have none of them.
    "rest": {"n_events": 15 * MINIBATCH + 3},
    "penalty": {"penalty": True, "n_events": 15 * MINIBATCH + 3},
    "batch_norm": {"batch_norm": True},
    # One event in the share of one rank.
    "diverging": {"nan": True},
    "everything": {
        "dropout": 0.3,
        "batch_norm": True,
        "penalty": True,
        "heads": True,
        "ema": 0.9,
        "clip_norm": 0.5,
        "optimizer": "adamw",
        "schedule": "one_cycle",
        "n_events": 15 * MINIBATCH + 3,
    },
}
# Their adversary has single precision.
SINGLE = {"penalty", "everything"}


class TinyNetwork(nn.Module):
    inputs = Inputs(features=("a", "b", "c"))

    def __init__(self, *, dropout: float, batch_norm: bool) -> None:
        super().__init__()
        norm: nn.Module = nn.BatchNorm1d(8) if batch_norm else nn.Identity()
        self.body = nn.Sequential(nn.Linear(3, 8), norm, nn.Tanh(), nn.Dropout(dropout))
        self.head = nn.Linear(8, 1)

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        return (events.flat,)

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.head(self.body(tensors[0]))[:, 0]


def synthetic_events(n: int, seed: int) -> Events:
    """Return two shifted Gaussians; some weights are negative, and large in absolute value."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 2
    flat = torch.randn(n, 3, generator=generator) + label[:, None] * 0.7
    weight = 0.5 + torch.rand(n, generator=generator)
    weight[::7] *= -1.5
    mass = flat[:, :1] + 0.5 * torch.randn(n, 1, generator=generator)
    return Events(
        event_number=torch.arange(n),
        run_number=torch.ones(n, dtype=torch.int64),
        process=label,
        label=label,
        event_weight=weight,
        flat=flat,
        feature_names=("a", "b", "c"),
        nuisance=mass,
        nuisance_names=("mass",),
        observers={"mass": mass[:, 0]},
    )


def in_double_precision(events: Events) -> Events:
    return replace(events, flat=events.flat.double(), event_weight=events.event_weight.double())


def run(
    case: str, ranks: Ranks, *, seed: int = 3, device: str = "cpu", **control: Any
) -> dict[str, Any]:
    settings = dict(CASES[case])
    torch.manual_seed(seed)
    network = TinyNetwork(
        dropout=settings.pop("dropout", 0.0), batch_norm=settings.pop("batch_norm", False)
    )
    penalty = (
        GradientReversal(nuisances=["mass"], warm_up=1) if settings.pop("penalty", 0) else None
    )
    heads = AuxiliaryHeads(HEADS) if settings.pop("heads", False) else None
    train = synthetic_events(settings.pop("n_events", N_EVENTS), 1)
    if settings.pop("nan", False):
        train.flat[5, 1] = torch.nan
    validation = synthetic_events(401, 2)
    if case not in SINGLE:
        # In double precision, agreement to rounding is agreement to twelve digits.
        network.double()
        train, validation = in_double_precision(train), in_double_precision(validation)
    result = fit(
        network.to(ranks.device(torch.device(device))),
        train,
        validation,
        options=TrainOptions(
            epochs=EPOCHS, minibatch_size=MINIBATCH, seed=seed, deterministic=True, **settings
        ),
        loss=BinaryCrossEntropy(),
        decorrelation=penalty,
        auxiliary=heads,
        ranks=ranks,
        observe=lambda values, epoch: None,
        **control,
    )
    state = network.cpu().state_dict().values()
    digest = hashlib.sha256(b"".join(v.numpy().tobytes() for v in state)).hexdigest()
    history = [{k: v for k, v in e.items() if k != "seconds"} for e in result.history]
    return {
        "parameters": torch.cat([p.detach().double().flatten() for p in network.parameters()]),
        "history": history,
        "best_epoch": result.best_epoch,
        "sha256": digest,
    }


HEADS = [
    AuxiliaryHead(name="label", layer="body.0", weight=0.3),
    AuxiliaryHead(name="mass", layer="body", weight=0.2, loss="mean_squared_error", target="mass"),
]


def summary(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "parameters": found["parameters"].tolist()}


def stop(case: str, folder: Path, pause_at: int | None, ranks: Ranks) -> dict[str, Any]:
    def pause(view: StepView) -> None:
        if view.step == pause_at:
            (folder / f"ready-{ranks.rank}").touch()
            # Until the signal has come to one of the ranks; a SIGKILL ends them here.
            for _ in range(12_000):
                if request.is_requested or (folder / "go-on").exists():
                    return
                time.sleep(0.01)

    with StopRequest() as request:
        checkpoint = CheckpointFolder(folder / "checkpoints")
        control = {"checkpoint": checkpoint, "resume": True, "stop": request, "hooks": [pause]}
        return run(case, ranks, **control)


def main(arguments: list[str]) -> None:
    ranks = Ranks.from_environment()
    if arguments[0] in ("fit", "fit-cuda"):
        device = "cuda" if arguments[0] == "fit-cuda" else "cpu"
        found = {}
        for argument in arguments[1:]:
            case, _, seed = argument.partition(":")
            found[argument] = run(case, ranks, seed=int(seed or 3), device=device)
        same = ranks.gather([found[case]["sha256"] for case in found])
        assert all(other == same[0] for other in same), "the ranks disagree"
        printed: Any = {case: summary(found[case]) for case in found}
    else:
        pause_at = int(arguments[3]) if len(arguments) > 3 else None
        printed = summary(stop(arguments[1], Path(arguments[2]), pause_at, ranks))
    if ranks.is_first:
        sys.stdout.write(json.dumps(printed))
    ranks.leave()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except HepdlError as error:
        sys.stderr.write(str(error))
        sys.stderr.flush()
        os._exit(error.exit_status)
