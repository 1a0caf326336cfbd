"""Looks into the networks of a run: before, during and after their training."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from hepdl.diagnose import Flow, judge, measure, summarise, with_updates
from hepdl.events import Events
from hepdl.losses import Loss
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models import Network
from hepdl.pipeline.folders import write_json
from hepdl.schema import Schema
from hepdl.train import Hook, StepView, TrainOptions
from hepdl.train.state.auxiliary import AuxiliaryHeads
from hepdl.train.state.minibatches import permutation
from hepdl.train.state.sources import EventSource

__all__ = [
    "FILE_NAME",
    "TRAINED",
    "UNTRAINED",
    "Diagnosis",
    "Look",
    "first_minibatch",
    "in_brief",
    "look_into",
    "looks_of",
    "read_looks",
    "units_of",
    "verdict_of",
]

log = logging.getLogger(__name__)

FILE_NAME = "diagnostics.json"
FORMAT_VERSION = 1
UNTRAINED, TRAINED = "untrained", "trained"
# What goes into the record, a number for each layer.
RECORDED = ("std", "gradient_norm", "saturated", "dead", "update_ratio", "effective_rank")

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
    return _judged(flow, moment, epoch, units)


def _judged(flow: Flow, moment: str, epoch: int, units: Mapping[str, str]) -> Look:
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


def first_minibatch(train: Events | EventSource, options: TrainOptions) -> Events:
    """Return the events of the first step of a training; of a stream, as many of all of it."""
    order = permutation(len(train), seed=options.seed, epoch=0)
    chosen = order[: max(options.minibatch_size, 2)]
    if isinstance(train, Events):
        return train.take(chosen.to(train.device))
    return train.gather(torch.sort(chosen).values)


@dataclass
class Diagnosis:
    """What is seen of one network in one fit.

    Attributes:
        title: The fit, as the log names it.
        options: Of the training.
        units: Unit of each feature.
        auxiliary: The auxiliary heads of the fit, or None.
        path: Where the looks are kept until the model is saved, so that a resumed run has
            them; None keeps nothing.
        record: Takes numbers and the epoch.
        looks: In the order of the training.
    """

    title: str
    options: TrainOptions
    units: Mapping[str, str]
    auxiliary: AuxiliaryHeads | None
    path: Path | None
    record: Callable[[dict[str, float], int], None]
    looks: list[Look] = field(default_factory=list)
    _open: Look | None = None
    _parameters: dict[str, Tensor] = field(default_factory=dict)

    def begin(self, model: Network, train: Events | EventSource, *, resume: bool) -> None:
        """Look into the untrained network; a resumed fit has done so."""
        if resume and self.path is not None:
            self.looks = list(read_looks(self.path.parent))
        if self.looks:
            return
        minibatch = first_minibatch(train, self.options)
        heads = self.auxiliary if isinstance(train, Events) else None
        if heads is not None:
            assert isinstance(train, Events)
            heads.fit_targets(train)
            heads.attach(model, minibatch.to(_device_of(model)))
        try:
            look = look_into(
                model,
                minibatch,
                moment=UNTRAINED,
                epoch=0,
                units=self.units,
                options=self.options,
                auxiliary=None if heads is None else self._auxiliary_loss(0.0),
            )
        finally:
            if heads is not None:
                heads.remove()
        self._keep(look)

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """What the loop calls after each step; nothing if nobody wants to look."""
        return (self._watch,) if self.options.diagnose_every else ()

    def end(self, model: Network, train: Events | EventSource, *, epochs: int) -> None:
        """Look into the network with the parameters that were kept."""
        self._close()
        minibatch = first_minibatch(train, self.options)
        look = look_into(model, minibatch, moment=TRAINED, epoch=epochs, units=self.units)
        # The gradient at the end is that of the network alone: its heads have been taken away.
        self._keep(look)

    def as_dict(self) -> dict[str, Any]:
        """Return every look, as it is kept beside the model."""
        return {"format_version": FORMAT_VERSION, "looks": [look.as_dict() for look in self.looks]}

    def _watch(self, view: StepView) -> None:
        """Look at the first minibatch of every so many epochs; the step after it is the update."""
        if self._open is not None:
            after = {name: p.detach() for name, p in view.model.named_parameters()}
            flow = with_updates(self._open.flow, self._parameters, after)
            self._open = _judged(flow, self._open.moment, self._open.epoch, self.units)
            self._close()
        is_due = view.epoch > 0 and view.epoch % self.options.diagnose_every == 0
        if not is_due or len(view.minibatch) < 2 or self._has_seen(view.epoch):
            return
        auxiliary = None if self.auxiliary is None else self._auxiliary_loss(float(view.epoch))
        model = cast("Network", view.model)
        self._open = look_into(
            model,
            view.minibatch,
            moment=f"epoch {view.epoch}",
            epoch=view.epoch,
            units=self.units,
            auxiliary=auxiliary,
        )
        self._parameters = {n: p.detach().clone() for n, p in view.model.named_parameters()}

    def _has_seen(self, epoch: int) -> bool:
        return any(look.epoch == epoch for look in (*self.looks, self._open) if look is not None)

    def _auxiliary_loss(self, position: float) -> Callable[[Events], Tensor]:
        heads, epochs = self.auxiliary, self.options.epochs
        assert heads is not None
        return lambda minibatch: heads.loss(minibatch, position=position, n_epochs=epochs)

    def _close(self) -> None:
        if self._open is not None:
            look, self._open, self._parameters = self._open, None, {}
            self._keep(look)

    def _keep(self, look: Look) -> None:
        # What was said at the last look is not said again at every epoch.
        was_healthy = all(last.is_healthy for last in self.looks[-1:])
        is_news = look.moment in (UNTRAINED, TRAINED) or was_healthy
        self.looks.append(look)
        if self.path is not None:
            write_json(self.path, self.as_dict())
        self.record(dict(_numbers(look.flow)), look.epoch)
        for sentence in look.verdict:
            # One line a fit, unless there is something to tell.
            quiet = logging.INFO if look.moment == UNTRAINED else logging.DEBUG
            level = logging.WARNING if is_news and not look.is_healthy else quiet
            log.log(level, "%s, %s: %s", self.title, look.moment, sentence)


def _numbers(flow: Flow) -> Iterator[tuple[str, float]]:
    for number, layer in enumerate(flow.layers, 1):
        for name in RECORDED:
            value = getattr(layer, name)
            if value is not None:
                yield f"diagnosis_{name}_{number:02d}", float(value)


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


def _device_of(model: Network) -> torch.device:
    first = next(cast("nn.Module", model).parameters(), None)
    return torch.device("cpu") if first is None else first.device
