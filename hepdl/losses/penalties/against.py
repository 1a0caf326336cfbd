"""What all penalties against nuisances share: who takes part, how strong, and from when on.

Reference: Y. Ganin and V. Lempitsky, arXiv:1409.7495 (the sigmoid schedule).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError, unknown_name

__all__ = ["APPLIES_TO", "SCHEDULES", "AgainstNuisances", "standardised", "taking_part"]

APPLIES_TO = ("all", "background", "each_class", "signal")
SCHEDULES = ("constant", "linear", "sigmoid")


class AgainstNuisances(nn.Module):
    """The options of every penalty, their checks, and the strength at a position of the training.

    Args:
        strength: Factor of the penalty; 0 only watches. With a target the loop moves it.
        nuisances: Names of the nuisances; empty means all that the events have.
        applies_to: ``"background"``, ``"signal"``, ``"all"``, or ``"each_class"``: of each class
            by itself, added up.
        warm_up: Epochs before the penalty sets in; may be a fraction.
        schedule: ``"constant"``; ``"linear"`` from 0 at the end of the warm-up to the strength at
            the end of the training; or ``"sigmoid"``: 2 / (1 + exp(-10 p)) - 1 times the strength,
            with p the progress from the end of the warm-up to the end of the training.
        problems: What the penalty itself finds wrong with its options.

    Attributes:
        learning_rate: Of an adversary's own optimiser.
        inner_steps: Updates of an adversary for each one of the classifier.
    """

    learning_rate: float = 0.0
    inner_steps: int = 1

    def __init__(
        self,
        *,
        strength: float,
        nuisances: Sequence[str],
        applies_to: str,
        warm_up: float,
        schedule: str,
        problems: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self.strength: float | Tensor = float(strength)
        self.nuisances = tuple(nuisances)
        self.applies_to = applies_to
        self.warm_up = float(warm_up)
        self.schedule = schedule
        # Share of the strength; before the first step there is none.
        self._fraction = 0.0
        found = []
        if not (math.isfinite(strength) and strength >= 0):
            found.append(f"strength must be a number >= 0, got {strength}")
        if not (math.isfinite(self.warm_up) and self.warm_up >= 0):
            found.append(f"warm_up must be a number of epochs >= 0, got {warm_up}")
        found += problems
        for key, value, known in (
            ("applies_to", applies_to, APPLIES_TO),
            ("schedule", schedule, SCHEDULES),
        ):
            if value not in known:
                found.append(unknown_name(key, value, known, where=f"decorrelation.{key}"))
        if found:
            raise ConfigError(f"{self._what}: " + "; ".join(found))

    @property
    def _what(self) -> str:
        """The penalty's name in messages: that of its module, as the configuration says it."""
        return f"decorrelation by {type(self).__module__.rpartition('.')[2]}"

    @property
    def current_strength(self) -> float | Tensor:
        """The strength at the position that ``set_progress`` was told."""
        return self.strength * self._fraction

    def set_progress(self, epoch: float, n_epochs: int) -> None:
        """Set the strength for a position of the training, in epochs."""
        self._fraction = 0.0
        if epoch >= self.warm_up:
            self._fraction = 1.0
            progress = (epoch - self.warm_up) / max(n_epochs - self.warm_up, 1e-9)
            if self.schedule == "linear":
                self._fraction = progress
            elif self.schedule == "sigmoid":
                self._fraction = 2 / (1 + math.exp(-10 * progress)) - 1

    def options(self) -> dict[str, Any]:
        """Return every option by name, so that a resume with another one is recognised."""
        return {
            "strength": self.strength,
            "nuisances": self.nuisances,
            "applies_to": self.applies_to,
            "warm_up": self.warm_up,
            "schedule": self.schedule,
        }

    def extra_repr(self) -> str:
        """Return every option."""
        return ", ".join(f"{key}={value}" for key, value in self.options().items())

    def check_nuisance(self, nuisance: Tensor, event_weight: Tensor) -> None:
        """Refuse a nuisance that nothing can be decorrelated from.

        Shapes:
            nuisance ``(n_events, n_nuisances)``, event_weight ``(n_events,)``.

        Raises:
            DataError: There is no nuisance, it is constant or not finite, or no event has a weight.
        """
        if nuisance.ndim != 2 or nuisance.shape[1] == 0:
            message = f"{self._what}: the events have no nuisance; give a branch the role "
            message += "'nuisance' in the schema, e.g. the jet mass"
            raise DataError(message)
        bad = torch.nonzero(~torch.isfinite(nuisance))
        if len(bad):
            entry, column = int(bad[0, 0]), int(bad[0, 1])
            message = (
                f"{self._what}: nuisance {self._named(column)} of entry {entry} is not finite: "
            )
            message += f"{float(nuisance[entry, column])}; remove such events by a selection"
            raise DataError(message)
        if float(event_weight.abs().sum()) == 0:
            message = f"{self._what}: no training event with a weight takes part "
            message += f"(applies_to: {self.applies_to})"
            raise DataError(message)
        seen = nuisance[event_weight != 0]
        for column, is_constant in enumerate((seen == seen[0]).all(dim=0).tolist()):
            if is_constant:
                message = f"{self._what}: nuisance {self._named(column)} is "
                message += f"{float(seen[0, column]):g} for all {len(seen)} training events that "
                message += "take part: there is nothing to be decorrelated from; choose another "
                message += "nuisance, or check the selection"
                raise DataError(message)

    def _named(self, column: int) -> str:
        return repr(self.nuisances[column]) if column < len(self.nuisances) else str(column)


def taking_part(
    logits: Tensor, nuisance: Tensor, event_weight: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, nuisances and shares of the events that take part.

    The share of an event is its |w| over the sum of all |w|: a measure of dependence with negative
    weights has no lower bound, and a training would find it. Without any weight all shares are 0.

    Shapes:
        logits, event_weight, mask ``(n_events,)``; nuisance ``(n_events, n_nuisances)`` →
        ``(n_taking_part,)``, ``(n_taking_part, n_nuisances)``, ``(n_taking_part,)``.
    """
    if mask is not None:
        logits, nuisance, event_weight = logits[mask], nuisance[mask], event_weight[mask]
    weight = event_weight.abs()
    return logits, nuisance, weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)


def standardised(logits: Tensor, weight: Tensor) -> Tensor:
    """Return the logits, or each feature of a layer, with weighted mean 0 and variance 1.

    What sees only these cannot be cheated by squeezing or stretching the scores.

    Args:
        logits: Of any scale.
        weight: Shares, as `taking_part` gives them.

    Shapes:
        logits ``(n_events,)`` or ``(n_events, n_features)``, weight ``(n_events,)``; returns the
        shape of the logits.
    """
    share = weight.reshape(-1, *[1] * (logits.ndim - 1))
    centred = logits - (share * logits).sum(dim=0)
    # The constant keeps the gradient of equal logits finite.
    return centred * torch.rsqrt((share * centred.square()).sum(dim=0) + 1e-6)
