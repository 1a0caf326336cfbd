"""A penalty at work inside the loop: its events, its adversary's optimiser, its state."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.events import Events
from hepdl.losses import Penalty

__all__ = ["Decorrelator"]


class Decorrelator:
    """Feeds a penalty with the nuisances of the events that take part, and trains its adversary.

    Args:
        penalty: See ``hepdl.losses.Penalty``.
        train: The training part, on the device of the network.

    Raises:
        ConfigError: A nuisance is not among those of the events.
        DataError: The events that take part cannot fix what the penalty needs.
    """

    def __init__(self, penalty: Penalty, train: Events) -> None:
        self.module = cast("nn.Module", penalty)
        self._penalty = penalty
        self._columns = _columns(penalty.nuisances, train.nuisance_names)
        self.module.to(train.device).train()
        mask = self._mask(train)
        if not bool(mask.any()):
            message = "decorrelation: no event of the training part takes part "
            message += f"(applies_to: {penalty.applies_to})"
            raise DataError(message)
        penalty.fit_nuisance(self._nuisance(train)[mask], train.event_weight[mask])
        parameters = list(penalty.parameters())
        self._optimizer = (
            torch.optim.Adam(parameters, lr=penalty.learning_rate) if parameters else None
        )

    def _nuisance(self, events: Events) -> Tensor:
        return events.nuisance if self._columns is None else events.nuisance[:, self._columns]

    def _mask(self, events: Events) -> Tensor:
        if self._penalty.applies_to == "all":
            return torch.ones_like(events.label, dtype=torch.bool)
        return events.label == (1 if self._penalty.applies_to == "signal" else 0)

    def _value(self, logits: Tensor, minibatch: Events) -> Tensor:
        return self._penalty(
            logits,
            minibatch.label,
            self._nuisance(minibatch),
            minibatch.event_weight,
            self._mask(minibatch),
        )

    def penalty(self, logits: Tensor, minibatch: Events, *, epoch: float, n_epochs: int) -> Tensor:
        """Let the adversary catch up with the logits, then return the term to be added."""
        self._penalty.set_progress(epoch, n_epochs)
        if self._optimizer is not None:
            for _ in range(self._penalty.inner_steps - 1):
                self._optimizer.zero_grad()
                self._value(logits.detach(), minibatch).backward()
                self._optimizer.step()
            # The last update takes its gradient from the backward pass of the whole loss.
            self._optimizer.zero_grad()
        return self._value(logits, minibatch)

    def step(self) -> None:
        """Update the adversary with the gradient of the whole loss."""
        if self._optimizer is not None:
            self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a checkpoint must hold."""
        optimizer = None if self._optimizer is None else self._optimizer.state_dict()
        return {"penalty": self.module.state_dict(), "optimizer": optimizer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        self.module.load_state_dict(state["penalty"])
        if self._optimizer is not None:
            self._optimizer.load_state_dict(state["optimizer"])


def _columns(wanted: tuple[str, ...], known: tuple[str, ...]) -> list[int] | None:
    for name in wanted:
        if name not in known:
            message = unknown_name("nuisance", name, known, where="decorrelation.nuisances")
            message += "\ngive the branch the role 'nuisance' in the schema"
            raise ConfigError(message)
    return [known.index(name) for name in wanted] or None
