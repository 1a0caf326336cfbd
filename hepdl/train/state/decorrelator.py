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

from hepdl.errors import DataError
from hepdl.events import Events
from hepdl.losses import Penalty
from hepdl.losses.distance_correlation import DistanceCorrelation
from hepdl.losses.penalties.terms import Term, nuisance_columns, terms_of
from hepdl.models import Network
from hepdl.train.state.hidden import HiddenLayer
from hepdl.train.state.minibatches import Minibatch
from hepdl.train.state.ranks import Ranks
from hepdl.train.state.strength import HeldStrength

__all__ = ["Decorrelation", "Decorrelator", "as_decorrelation"]

_SEED = 1_009


@dataclass(frozen=True)
class Decorrelation:
    """What keeps a training from learning nuisances.

    Attributes:
        penalty: See ``hepdl.losses.Penalty``.
        target: Squared distance correlation of score and nuisance that the strength is moved to
            hold; None leaves the strength as it is.
        layer: Name of the layer of the network that the penalty reads; None means the logits.
    """

    penalty: Penalty
    target: float | None = None
    layer: str | None = None


def as_decorrelation(wanted: Decorrelation | Penalty | None) -> Decorrelation | None:
    """Return a penalty alone as a decorrelation without further wishes."""
    if wanted is None or isinstance(wanted, Decorrelation):
        return wanted
    return Decorrelation(wanted)


@dataclass(frozen=True)
class _Rows:
    """What a penalty sees of the events of a minibatch, one row each."""

    seen: Tensor
    label: Tensor
    nuisance: Tensor
    event_weight: Tensor


def _value_of(term: Term, rows: _Rows, seen: Tensor) -> Tensor:
    mask = term.mask(rows.label)
    return term.penalty(seen, rows.label, rows.nuisance, rows.event_weight, mask)


class Decorrelator:
    """Feeds a penalty with the nuisances of the events that take part, and trains its adversary.

    Args:
        wanted: The penalty, and what else is wanted of it.
        train: The training part; features are not looked at.
        model: The network, for a penalty on one of its layers.
        sample: Some events as it trains on them, for the same.
        device: Where the network is; default where ``train`` is.
        ranks: Who shares the minibatches; ``penalty`` is collective.

    Attributes:
        observed: What ``penalty`` found last, by the name under which it is observed.

    Raises:
        ConfigError: A nuisance is not among those of the events; the layer cannot be read.
        DataError: The events that take part cannot fix what the penalty needs.
    """

    def __init__(
        self,
        wanted: Decorrelation,
        train: Events,
        *,
        model: Network | None = None,
        sample: Events | None = None,
        device: torch.device | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        penalty = wanted.penalty
        self._ranks = Ranks.alone() if ranks is None else ranks
        self._columns = nuisance_columns(penalty.nuisances, train.nuisance_names)
        device = train.device if device is None else device
        self._hidden = None
        if wanted.layer is not None:
            self._hidden = HiddenLayer(wanted.layer, model, sample, penalty=penalty)
        self._terms = terms_of(penalty)
        self._unlabelled_weight = _unlabelled_weight(train)
        self.observed: dict[str, Tensor] = {}
        weight = self._weight(train.label, train.event_weight)
        for term in self._terms:
            term.module.to(device).train()
            mask = term.mask(train.label)
            if not bool(mask.any()):
                message = "decorrelation: no event of the training part takes part "
                message += f"(applies_to: {term.applies_to})"
                raise DataError(message)
            term.penalty.fit_nuisance(self._nuisance(train)[mask], weight[mask])
            self._ranks.share_parameters(term.module)
        self._held = None
        if wanted.target is not None:
            start = float(penalty.strength)
            self._held = HeldStrength(wanted.target, start, device=device)
            self._measure = DistanceCorrelation(
                strength=1.0, applies_to="all", warm_up=0.0, estimator="u"
            ).to(device)
            self._measure.set_progress(1.0, 1)
        self._n_restarts = 0
        self._optimizer = self._new_optimizer()

    @property
    def module(self) -> nn.Module:
        """The penalty, or those of each class."""
        if len(self._terms) == 1:
            return self._terms[0].module
        return nn.ModuleList([term.module for term in self._terms])

    def describe(self) -> str:
        """Return every setting, so that a resume with another one is recognised."""
        target = None if self._held is None else self._held.target
        layer = None if self._hidden is None else self._hidden.layer
        return f"{self.module!r}\ntarget={target}, layer={layer}"

    def _new_optimizer(self) -> torch.optim.Optimizer | None:
        parameters = [p for term in self._terms for p in term.penalty.parameters()]
        if not parameters:
            return None
        return torch.optim.Adam(parameters, lr=self._terms[0].penalty.learning_rate)

    def _nuisance(self, events: Events) -> Tensor:
        return events.nuisance if self._columns is None else events.nuisance[:, self._columns]

    def _weight(self, label: Tensor, event_weight: Tensor) -> Tensor:
        """Return the weights that the penalty counts with: the loss gives unlabelled events none."""
        if self._unlabelled_weight == 0:
            return event_weight
        return torch.where(label < 0, self._unlabelled_weight, event_weight)

    def _whole(self, seen: Tensor, minibatch: Minibatch) -> _Rows:
        """Return the rows of all ranks; a gradient flows through our own logits only."""
        events = minibatch.events
        weight = self._weight(events.label, events.event_weight)
        own = _Rows(seen, events.label, self._nuisance(events), weight)
        if self._ranks.is_alone:
            return own
        first, n_own = minibatch.first, len(seen)
        # A rank may have no events of this minibatch.
        rows = seen.float()[:, None] if seen.ndim == 1 else seen.float()
        n_seen = rows.shape[1]
        # One message. Labels are -1, 0 and 1, which float32 holds exactly.
        columns = torch.stack([own.label.float(), own.event_weight], dim=1)
        table = torch.cat([rows, columns, own.nuisance], dim=1)
        table = self._ranks.whole(table, first=first, n_rows=minibatch.n_events)
        before, after = table[:first, :n_seen], table[first + n_own :, :n_seen]
        everything = torch.cat([before, rows, after])
        return _Rows(
            seen=everything[:, 0] if seen.ndim == 1 else everything,
            label=table[:, n_seen].to(own.label.dtype),
            nuisance=table[:, n_seen + 2 :],
            event_weight=table[:, n_seen + 1],
        )

    def _value(self, rows: _Rows, seen: Tensor) -> Tensor:
        first, *others = (_value_of(term, rows, seen) for term in self._terms)
        return sum(others, start=first)

    def penalty(
        self, logits: Tensor, minibatch: Minibatch, *, epoch: float, n_epochs: int
    ) -> Tensor:
        """Let the adversary catch up with the logits, then return the term to be added.

        It is that of the whole minibatch of all ranks, the same on each; a rank that has no events
        of this minibatch hands in its empty logits.
        """
        self._restart(epoch)
        seen = logits if self._hidden is None else self._hidden.take(len(logits))
        rows = self._whole(seen, minibatch)
        self._set_strength(rows, epoch, n_epochs)
        if self._optimizer is not None:
            fixed = rows.seen.detach()
            for _ in range(self._terms[0].penalty.inner_steps - 1):
                self._optimizer.zero_grad()
                self._value(rows, fixed).backward()
                self._optimizer.step()
            # The last update takes its gradient from the backward pass of the whole loss.
            self._optimizer.zero_grad()
        value = self._value(rows, rows.seen)
        self.observed = {"train_penalty": value.detach(), **self._watched(rows)}
        return value

    def _set_strength(self, rows: _Rows, epoch: float, n_epochs: int) -> None:
        """Tell each penalty how strong it is at this step."""
        for term in self._terms:
            if self._held is not None:
                term.penalty.strength = self._held.value
            term.penalty.set_progress(epoch, n_epochs)
        if self._held is None:
            return
        with torch.no_grad():
            found = [
                self._measure(
                    rows.seen.detach(),
                    rows.label,
                    rows.nuisance,
                    rows.event_weight,
                    term.mask(rows.label),
                )
                / rows.nuisance.shape[1]
                for term in self._terms
            ]
        # The largest of the classes, the mean over the nuisances.
        is_on = epoch >= self._terms[0].penalty.warm_up
        self._held.update(torch.stack(found).max(), is_on=is_on)

    def _watched(self, rows: _Rows) -> dict[str, Tensor]:
        """Return how many minibatches had nobody to take part, and what is held."""
        is_empty = [
            ~(term.mask(rows.label) & (rows.event_weight != 0)).any() for term in self._terms
        ]
        watched = {"without_penalty": torch.stack(is_empty).any().to(rows.event_weight.dtype)}
        if self._held is not None:
            watched["decorrelation_strength"] = self._held.value
            watched["train_dependence"] = self._held.dependence.float()
        return watched

    def _restart(self, epoch: float) -> None:
        """Let the adversary begin anew, if its time has come: one that is dead may live again."""
        penalty = self._terms[0].penalty
        every = float(getattr(penalty, "refit_every", 0.0))
        due = int(max(epoch - penalty.warm_up, 0.0) // every) if every > 0 else 0
        if due == self._n_restarts:
            return
        self._n_restarts = due
        generator = torch.Generator().manual_seed(_SEED + due)
        for term in self._terms:
            cast("Any", term.penalty).restart(generator)
        self._optimizer = self._new_optimizer()

    def step(self) -> None:
        """Update the adversary with the gradient of the whole loss."""
        if self._optimizer is not None:
            self._optimizer.step()

    def remove(self) -> None:
        """Stop listening to a layer."""
        if self._hidden is not None:
            self._hidden.remove()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a checkpoint must hold."""
        return {
            "penalty": self.module.state_dict(),
            "optimizer": None if self._optimizer is None else self._optimizer.state_dict(),
            "held": None if self._held is None else self._held.state_dict(),
            "n_restarts": self._n_restarts,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        self.module.load_state_dict(state["penalty"])
        if self._optimizer is not None:
            self._optimizer.load_state_dict(state["optimizer"])
        if self._held is not None:
            self._held.load_state_dict(state["held"])
        self._n_restarts = int(state["n_restarts"])


def _unlabelled_weight(train: Events) -> float:
    """Return the weight that gives all unlabelled events as much as the labelled ones have."""
    unlabelled = train.label < 0
    count = int(unlabelled.sum())
    if count == 0:
        return 0.0
    return float(train.event_weight[~unlabelled].double().abs().sum()) / count
