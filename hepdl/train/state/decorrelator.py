"""A penalty at work inside the loop: its events, its adversary's optimiser, its state.

A penalty looks at all events of a minibatch at once: it is no sum over events, so it cannot be cut
over ranks as the loss can. Each rank computes the whole of it, with the other ranks' logits as
constants; the gradients of the ranks then add up to the exact one, and every rank's adversary takes
the same steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.events import Events
from hepdl.losses import Penalty
from hepdl.train.state.minibatches import Minibatch
from hepdl.train.state.ranks import Ranks

__all__ = ["Decorrelator"]


@dataclass(frozen=True)
class _Rows:
    """What a penalty sees of the events of a minibatch, one row each."""

    logits: Tensor
    label: Tensor
    nuisance: Tensor
    event_weight: Tensor


class Decorrelator:
    """Feeds a penalty with the nuisances of the events that take part, and trains its adversary.

    Args:
        penalty: See ``hepdl.losses.Penalty``.
        train: The training part; features are not looked at.
        device: Where the network is; default where ``train`` is.
        ranks: Who shares the minibatches; ``penalty`` is collective.

    Raises:
        ConfigError: A nuisance is not among those of the events.
        DataError: The events that take part cannot fix what the penalty needs.
    """

    def __init__(
        self,
        penalty: Penalty,
        train: Events,
        *,
        device: torch.device | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.module = cast("nn.Module", penalty)
        self._penalty = penalty
        self._ranks = Ranks.alone() if ranks is None else ranks
        self._columns = _columns(penalty.nuisances, train.nuisance_names)
        self.module.to(train.device if device is None else device).train()
        mask = self._mask(train.label)
        if not bool(mask.any()):
            message = "decorrelation: no event of the training part takes part "
            message += f"(applies_to: {penalty.applies_to})"
            raise DataError(message)
        penalty.fit_nuisance(self._nuisance(train)[mask], train.event_weight[mask])
        self._ranks.share_parameters(self.module)
        parameters = list(penalty.parameters())
        self._optimizer = (
            torch.optim.Adam(parameters, lr=penalty.learning_rate) if parameters else None
        )

    def _nuisance(self, events: Events) -> Tensor:
        return events.nuisance if self._columns is None else events.nuisance[:, self._columns]

    def _mask(self, label: Tensor) -> Tensor:
        if self._penalty.applies_to == "all":
            return torch.ones_like(label, dtype=torch.bool)
        return label == (1 if self._penalty.applies_to == "signal" else 0)

    def _whole(self, logits: Tensor, minibatch: Minibatch) -> _Rows:
        """Return the rows of all ranks; a gradient flows through our own logits only."""
        events = minibatch.events
        own = _Rows(logits, events.label, self._nuisance(events), events.event_weight)
        if self._ranks.is_alone:
            return own
        first = minibatch.first
        # One message. Labels are 0 and 1, which float32 holds exactly.
        columns = [own.logits.float(), own.label.float(), own.event_weight]
        table = torch.cat([torch.stack(columns, dim=1), own.nuisance], dim=1)
        table = self._ranks.whole(table, first=first, n_rows=minibatch.n_events)
        before, after = table[:first, 0], table[first + len(logits) :, 0]
        return _Rows(
            logits=torch.cat([before, logits.float(), after]),
            label=table[:, 1].to(own.label.dtype),
            nuisance=table[:, 3:],
            event_weight=table[:, 2],
        )

    def _value(self, rows: _Rows, logits: Tensor) -> Tensor:
        return self._penalty(
            logits, rows.label, rows.nuisance, rows.event_weight, self._mask(rows.label)
        )

    def penalty(
        self, logits: Tensor, minibatch: Minibatch, *, epoch: float, n_epochs: int
    ) -> Tensor:
        """Let the adversary catch up with the logits, then return the term to be added.

        It is that of the whole minibatch of all ranks, the same on each; a rank that has no events
        of this minibatch hands in its empty logits.
        """
        self._penalty.set_progress(epoch, n_epochs)
        rows = self._whole(logits, minibatch)
        if self._optimizer is not None:
            for _ in range(self._penalty.inner_steps - 1):
                self._optimizer.zero_grad()
                self._value(rows, rows.logits.detach()).backward()
                self._optimizer.step()
            # The last update takes its gradient from the backward pass of the whole loss.
            self._optimizer.zero_grad()
        return self._value(rows, rows.logits)

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
