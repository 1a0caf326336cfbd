"""All that a supervised fit must write down to continue exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError
from hepdl.events import Events
from hepdl.losses import Loss, Penalty
from hepdl.models import Network
from hepdl.train.state.decorrelator import Decorrelator
from hepdl.train.state.device import device_of
from hepdl.train.state.identity import data_fingerprint, describe
from hepdl.train.state.optimizers import make_optimizer, make_schedule
from hepdl.train.state.options import TrainOptions
from hepdl.train.state.progress import Progress

__all__ = ["TrainingState", "identity_of"]


@dataclass
class TrainingState:
    """The network, what trains it, and where the fit stands."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    decorrelator: Decorrelator | None
    progress: Progress = field(default_factory=Progress)
    best_parameters: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def begin(
        cls, model: Network, train: Events, *, options: TrainOptions, decorrelation: Penalty | None
    ) -> TrainingState:
        """Return the state before the first step."""
        network = cast("nn.Module", model)
        optimizer = make_optimizer(network.parameters(), options)
        decorrelator = None if decorrelation is None else Decorrelator(decorrelation, train)
        return cls(network, optimizer, make_schedule(optimizer, options), decorrelator)

    def keep_best(self) -> None:
        """Remember the parameters as they are now."""
        self.best_parameters = {
            name: value.detach().clone() for name, value in self.network.state_dict().items()
        }

    def as_dict(self) -> dict[str, Any]:
        """Return everything as tensors, numbers, strings, lists and dicts."""
        device = device_of(self.network)
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "decorrelator": None if self.decorrelator is None else self.decorrelator.state_dict(),
            "progress": self.progress.as_dict(),
            "best_parameters": self.best_parameters,
            "random_cpu": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def load_dict(self, values: dict[str, Any]) -> None:
        """Take back what ``as_dict`` returned, random number generators included."""
        device = device_of(self.network)
        try:
            self.network.load_state_dict(values["network"])
        except RuntimeError as error:
            message = f"cannot resume: the checkpoint is of another network: {error}"
            raise ConfigError(message) from error
        self.optimizer.load_state_dict(values["optimizer"])
        self.schedule.load_state_dict(values["schedule"])
        if self.decorrelator is not None:
            self.decorrelator.load_state_dict(values["decorrelator"])
        self.progress = Progress.from_dict(values["progress"])
        best: dict[str, Tensor] = values["best_parameters"]
        self.best_parameters = {name: value.to(device) for name, value in best.items()}
        torch.set_rng_state(values["random_cpu"])
        if device.type == "cuda" and values["random_cuda"] is not None:
            torch.cuda.set_rng_state(values["random_cuda"], device)


def identity_of(
    state: TrainingState, loss: Loss, options: TrainOptions, train: Events, validation: Events
) -> dict[str, Any]:
    """Return what a resume must find unchanged, flat: name to value."""
    settings = {f"train.{key}": value for key, value in asdict(options).items()}
    # How many threads there are matters for the last bits only: it is compared when bits are.
    del settings["train.n_threads"]
    if options.deterministic:
        settings["threads"] = torch.get_num_threads()
        settings["device"] = device_of(state.network).type
    decorrelator = state.decorrelator
    model = describe(cast("Network", state.network))
    return (
        settings
        | model
        | {
            "loss": repr(loss),
            "decorrelation": "none" if decorrelator is None else repr(decorrelator.module),
            "training data": data_fingerprint(train),
            "validation data": data_fingerprint(validation),
        }
    )
