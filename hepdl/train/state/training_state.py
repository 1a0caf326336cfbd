"""All that a supervised fit must write down to continue exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from hepdl.errors import ConfigError
from hepdl.events import Events
from hepdl.losses import Loss
from hepdl.models import Network
from hepdl.train.state.auxiliary import AuxiliaryHeads
from hepdl.train.state.decorrelator import Decorrelation, Decorrelator
from hepdl.train.state.device import device_of
from hepdl.train.state.identity import data_fingerprint, describe
from hepdl.train.state.learning_rate import LearningRate
from hepdl.train.state.minibatches import Plan
from hepdl.train.state.moving_average import MovingAverage
from hepdl.train.state.optimizers import make_optimizer
from hepdl.train.state.precision import Precision
from hepdl.train.state.progress import Progress
from hepdl.train.state.sources import EventSource, fingerprint_of

__all__ = ["TrainingState", "identity_of"]


@dataclass
class TrainingState:
    """The network, what trains it, and where the fit stands."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    rate: LearningRate
    precision: Precision
    decorrelator: Decorrelator | None
    auxiliary: AuxiliaryHeads | None
    average: MovingAverage | None
    progress: Progress = field(default_factory=Progress)
    best_parameters: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def begin(
        cls,
        model: Network,
        train: Events,
        *,
        plan: Plan,
        sample: Events,
        decorrelation: Decorrelation | None,
        auxiliary: AuxiliaryHeads | None,
    ) -> TrainingState:
        """Return the state before the first step.

        Args:
            model: The network.
            train: The training part; features are not looked at.
            plan: The minibatches, with the options and ranks of the fit.
            sample: Some of its events, with their features.
            decorrelation: The penalty, if any.
            auxiliary: Heads that are attached already, if any.
        """
        options = plan.options
        network = cast("nn.Module", model)
        device = device_of(network)
        decorrelator = None
        if decorrelation is not None:
            decorrelator = Decorrelator(
                decorrelation, train, model=model, sample=sample, device=device, ranks=plan.ranks
            )
        heads = () if auxiliary is None else auxiliary.parameters()
        return cls(
            network,
            make_optimizer([*network.parameters(), *heads], options),
            LearningRate(options),
            Precision(options.autocast, device),
            decorrelator,
            auxiliary,
            None if options.ema is None else MovingAverage(network, options.ema),
        )

    @property
    def parameters(self) -> list[Parameter]:
        """All that the optimiser moves."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def keep_best(self) -> None:
        """Remember the parameters as they are now: their average, if there is one."""
        values = self.network.state_dict()
        if self.average is not None:
            values |= self.average.values
        self.best_parameters = {name: value.detach().clone() for name, value in values.items()}

    def random(self) -> dict[str, Any]:
        """Return the state of the random number generators, on the CPU."""
        device = device_of(self.network)
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return {"cpu": torch.get_rng_state(), "cuda": cuda}

    def as_dict(self) -> dict[str, Any]:
        """Return everything else as tensors, numbers, strings, lists and dicts."""
        return self._moving() | {
            "progress": self.progress.as_dict(),
            "best_parameters": self.best_parameters,
        }

    def _moving(self) -> dict[str, Any]:
        """Return what each step changes."""
        parts = (self.decorrelator, self.auxiliary, self.average, self.precision)
        decorrelator, auxiliary, average, precision = (
            None if part is None else part.state_dict() for part in parts
        )
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rate": self.rate.state_dict(),
            "decorrelator": decorrelator,
            "auxiliary": auxiliary,
            "average": average,
            "precision": precision,
        }

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of what each step changes, random numbers included."""
        copied: dict[str, Any] = _copy(self._moving() | {"random": self.random()})
        return copied

    def restore(self, values: dict[str, Any]) -> None:
        """Take back what ``snapshot`` returned."""
        self.network.load_state_dict(values["network"])
        self.optimizer.load_state_dict(values["optimizer"])
        self.rate.load_state_dict(values["rate"])
        self.precision.load_state_dict(values["precision"])
        for name in ("decorrelator", "auxiliary", "average"):
            part = getattr(self, name)
            if part is not None:
                part.load_state_dict(values[name])
        device = device_of(self.network)
        torch.set_rng_state(values["random"]["cpu"])
        if device.type == "cuda" and values["random"]["cuda"] is not None:
            torch.cuda.set_rng_state(values["random"]["cuda"], device)

    def load_dict(self, values: dict[str, Any], random: dict[str, Any]) -> None:
        """Take back what ``as_dict`` and ``random`` returned.

        Raises:
            ConfigError: It is of another network.
        """
        try:
            self.restore(values | {"random": random})
        except RuntimeError as error:
            message = f"cannot resume: the checkpoint is of another network: {error}"
            raise ConfigError(message) from error
        self.progress = Progress.from_dict(values["progress"])
        device = device_of(self.network)
        best: dict[str, Tensor] = values["best_parameters"]
        self.best_parameters = {name: value.to(device) for name, value in best.items()}


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(inner) for inner in value]
    return value


def identity_of(
    state: TrainingState, loss: Loss, train: EventSource, validation: Events, *, plan: Plan
) -> dict[str, Any]:
    """Return what a resume must find unchanged, flat: name to value."""
    settings = {f"train.{key}": value for key, value in asdict(plan.options).items()}
    # How many threads there are matters for the last bits only: it is compared when bits are.
    del settings["train.n_threads"]
    if plan.options.deterministic:
        settings["threads"] = torch.get_num_threads()
        settings["device"] = device_of(state.network).type
    decorrelator = state.decorrelator
    model = describe(cast("Network", state.network))
    return (
        settings
        | model
        | {
            "loss": repr(loss),
            "decorrelation": "none" if decorrelator is None else decorrelator.describe(),
            "auxiliary": "none" if state.auxiliary is None else repr(state.auxiliary),
            "number of ranks": plan.ranks.size,
            "training data": fingerprint_of(train),
            "validation data": data_fingerprint(validation),
        }
    )
