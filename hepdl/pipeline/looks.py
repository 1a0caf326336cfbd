"""Looks into a network: what was measured, what it means, and where it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from hepdl.diagnose import Flow, judge, measure, summarise
from hepdl.events import Events
from hepdl.losses import Loss
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models import Network
from hepdl.schema import Schema
from hepdl.train import TrainOptions

__all__ = [
    "FILE_NAME",
    "LOSS",
    "TRAINED",
    "UNTRAINED",
    "Look",
    "in_brief",
    "judged",
    "look_into",
    "looks_of",
    "read_looks",
    "units_of",
    "verdict_of",
]

FILE_NAME = "diagnostics.json"
UNTRAINED, TRAINED = "untrained", "trained"

LOSS = cast("Loss", BinaryCrossEntropy())


@dataclass(frozen=True)
class Look:
    """One look into a network.

    Attributes:
        moment: ``untrained``, ``epoch N`` or ``trained``.
        epoch: Epochs of training done.
        flow: What was measured.
        verdict: In words.
        is_healthy: Whether nothing bad was found.
    """

    moment: str
    epoch: int
    flow: Flow
    verdict: tuple[str, ...]
    is_healthy: bool

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "moment": self.moment,
            "epoch": self.epoch,
            "is_healthy": self.is_healthy,
            "verdict": list(self.verdict),
            "flow": self.flow.as_dict(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Look:
        """Return the look that ``as_dict`` wrote down."""
        return cls(
            str(content["moment"]),
            int(content["epoch"]),
            Flow.from_dict(content["flow"]),
            tuple(content["verdict"]),
            bool(content["is_healthy"]),
        )


def look_into(
    model: Network,
    minibatch: Events,
    *,
    moment: str,
    epoch: int,
    units: Mapping[str, str],
    options: TrainOptions | None = None,
    auxiliary: Callable[[Events], Tensor] | None = None,
) -> Look:
    """Measure a network and judge it.

    A decorrelation penalty takes no part: what it adds to the gradient depends on the rest of it.

    Args:
        model: The network.
        minibatch: Events as it trains on them.
        moment: ``untrained``, or what came after.
        epoch: Epochs of training done.
        units: Unit of each feature.
        options: With them, the first training step is tried on a copy.
        auxiliary: Loss of its auxiliary heads.
    """
    flow = measure(model, minibatch, LOSS, options=options, auxiliary=auxiliary)
    return judged(flow, moment, epoch, units)


def judged(flow: Flow, moment: str, epoch: int, units: Mapping[str, str]) -> Look:
    """Return a look with the verdict on what was measured."""
    findings = judge(flow, is_trained=moment != UNTRAINED, units=units)
    is_healthy = not any(finding.is_bad for finding in findings)
    return Look(moment, epoch, flow, summarise(flow, findings), is_healthy)


def read_looks(folder: Path) -> tuple[Look, ...]:
    """Return what was seen of the model in a folder; nothing of boosted trees."""
    try:
        content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    return tuple(Look.from_dict(look) for look in content["looks"])


def looks_of(folder: Path) -> tuple[Look, ...]:
    """Return what was seen of a model; with folds, in the first one."""
    return next(
        (
            found
            for place in (folder, *sorted(folder.glob("folds/*")))
            if (found := read_looks(place))
        ),
        (),
    )


def verdict_of(looks: tuple[Look, ...]) -> dict[str, Any]:
    """Return what ``metrics.json`` says of the looks into one network."""
    return {
        "verdict": list(looks[0].verdict),
        "is_healthy": all(look.is_healthy for look in looks),
        "moments": {look.moment: list(look.verdict) for look in looks},
    }


def in_brief(looks: tuple[Look, ...]) -> dict[str, tuple[str, ...]]:
    """Return the verdicts by moment, without the epochs that only repeat the one before them."""
    before = (None, *looks)
    return {
        look.moment: look.verdict
        for look, last in zip(looks, before, strict=False)
        if last is None or look.moment == TRAINED or look.is_healthy != last.is_healthy
    }


def units_of(schema: Schema) -> dict[str, str]:
    """Return the unit of each flat field in memory; pure numbers have none."""
    units = {name: schema.unit_in_memory(name) for name in schema.flat_fields}
    return {name: unit for name, unit in units.items() if unit not in ("", "1")}
