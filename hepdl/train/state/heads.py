"""What an auxiliary head is, and the layer that it reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from hepdl.errors import ConfigError, unknown_name

__all__ = ["AUXILIARY_LOSSES", "AUXILIARY_SCHEDULES", "LABEL", "AuxiliaryHead", "find_layers"]

AUXILIARY_LOSSES = ("binary_cross_entropy", "mean_squared_error", "assignment")
AUXILIARY_SCHEDULES = ("constant", "linear", "cosine")
LABEL = "label"


@dataclass(frozen=True)
class AuxiliaryHead:
    """One head; all values are checked at once.

    Attributes:
        name: Its key under ``auxiliary:``; its loss is observed as ``train_auxiliary_<name>``.
        layer: The layer that it reads, as in ``network.named_modules()``, e.g. ``stack.blocks.1``.
        loss: ``"binary_cross_entropy"``, ``"mean_squared_error"``, or ``"assignment"``: the layer
            gives a logit for each assignment of an event, and learns which is right.
        target: ``"label"``, or a flat field of the schema: as it is (0 to 1) for the cross-entropy,
            centred and scaled on the training part for the squared error. ``"assignment"`` has
            the truth of the assignments as target, and takes no field.
        weight: Of its loss against the network's own; 0 only measures it.
        schedule: ``"constant"``, or from ``weight`` at the start of the training down to 0 at its
            end: ``"linear"``, or ``"cosine"``, weight (1 + cos(pi p)) / 2 with p the progress.
        detach: The head learns, but no gradient of it reaches the network.
    """

    name: str
    layer: str
    loss: str = "binary_cross_entropy"
    target: str = LABEL
    weight: float = 0.3
    schedule: str = "constant"
    detach: bool = False

    def __post_init__(self) -> None:
        """Check all values.

        Raises:
            ConfigError: Names every value that cannot be used, with its key.
        """
        where = f"auxiliary.{self.name}"
        problems = [
            unknown_name(key, value, known, where=f"{where}.{key}")
            for key, value, known in (
                ("loss", self.loss, AUXILIARY_LOSSES),
                ("schedule", self.schedule, AUXILIARY_SCHEDULES),
            )
            if value not in known
        ]
        if not (math.isfinite(self.weight) and self.weight >= 0):
            problems.append(f"{where}.weight must be a number >= 0, got {self.weight!r}")
        if self.is_assignment and self.target != LABEL:
            problems.append(
                f"{where}.target is {self.target!r}; loss: assignment learns from the truth of the "
                "assignments: leave target out"
            )
        if problems:
            raise ConfigError("\n".join(problems))

    @classmethod
    def from_mapping(cls, options: Mapping[str, Mapping[str, Any]]) -> tuple[AuxiliaryHead, ...]:
        """Return the heads that a configuration describes: name to options."""
        return tuple(cls(name=name, **values) for name, values in options.items())

    def weight_at(self, position: float, n_epochs: int) -> float:
        """Return the weight at a position of the training, e.g. 2.5 = half of the third epoch.

        >>> head = AuxiliaryHead("early", "stack.blocks.0", weight=0.4, schedule="linear")
        >>> head.weight_at(0, 10), head.weight_at(5, 10), head.weight_at(10, 10)
        (0.4, 0.2, 0.0)
        """
        progress = min(max(position / n_epochs, 0.0), 1.0)
        if self.schedule == "linear":
            return self.weight * (1 - progress)
        if self.schedule == "cosine":
            return self.weight * (1 + math.cos(math.pi * progress)) / 2
        return self.weight

    @property
    def is_assignment(self) -> bool:
        """Whether it learns which assignment of an event is right."""
        return self.loss == "assignment"

    @property
    def standardises(self) -> bool:
        """Whether the target is centred and scaled."""
        return self.target != LABEL and self.loss == "mean_squared_error"


def find_layers(
    network: nn.Module, heads: Sequence[AuxiliaryHead], *, where: str = "auxiliary.{}.layer"
) -> list[nn.Module]:
    """Return the layer that each head reads.

    Args:
        network: Where they are.
        heads: What reads them.
        where: The configuration key of a layer, with braces in the place of the head's name.

    Raises:
        ConfigError: Names every layer that the network does not have, with the nearest name.
    """
    layers = {name: layer for name, layer in network.named_modules() if name}
    problems = [
        unknown_name("layer", head.layer, layers, where=where.format(head.name))
        for head in heads
        if head.layer not in layers
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    return [layers[head.layer] for head in heads]
