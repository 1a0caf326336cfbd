"""Which events and nuisances a penalty is given: one place for networks and boosted trees."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, unknown_name
from hepdl.losses import Penalty

__all__ = ["Term", "nuisance_columns", "terms_of"]

# Label of each class; an unlabelled event is of none, and takes part in "all" alone.
_CLASSES = {"background": 0, "signal": 1}


@dataclass(frozen=True)
class Term:
    """A penalty on the events of one class, or on all.

    Attributes:
        penalty: The penalty.
        applies_to: ``"background"``, ``"signal"`` or ``"all"``.
    """

    penalty: Penalty
    applies_to: str

    @property
    def module(self) -> nn.Module:
        """The penalty as a module."""
        return cast("nn.Module", self.penalty)

    def mask(self, label: Tensor) -> Tensor:
        """Return which events take part, ``(n_events,)``."""
        if self.applies_to == "all":
            return torch.ones_like(label, dtype=torch.bool)
        return label == _CLASSES[self.applies_to]


def terms_of(penalty: Penalty) -> list[Term]:
    """Return the penalty itself, or with ``each_class`` a copy of it for each class."""
    if penalty.applies_to != "each_class":
        return [Term(penalty, penalty.applies_to)]
    return [Term(penalty, "background"), Term(copy.deepcopy(penalty), "signal")]


def nuisance_columns(wanted: tuple[str, ...], known: tuple[str, ...]) -> list[int] | None:
    """Return the columns of the wanted nuisances; None means all.

    Raises:
        ConfigError: The events have no such nuisance.
    """
    for name in wanted:
        if name not in known:
            message = unknown_name("nuisance", name, known, where="decorrelation.nuisances")
            message += "\ngive the branch the role 'nuisance' in the schema"
            raise ConfigError(message)
    return [known.index(name) for name in wanted] or None
