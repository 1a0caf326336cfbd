"""Looks into the networks of a run: before, during and after their training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from hepdl.diagnose import Flow, with_updates
from hepdl.events import Events
from hepdl.models import Network
from hepdl.pipeline.folders import write_json
from hepdl.pipeline.looks import TRAINED, UNTRAINED, Look, judged, look_into, read_looks
from hepdl.train import Hook, StepView, TrainOptions
from hepdl.train.state.auxiliary import AuxiliaryHeads
from hepdl.train.state.minibatches import permutation
from hepdl.train.state.sources import EventSource

__all__ = ["Diagnosis", "first_minibatch"]

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
# What goes into the record, a number for each layer.
RECORDED = ("std", "gradient_norm", "saturated", "dead", "update_ratio", "effective_rank")


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
            self._open = judged(flow, self._open.moment, self._open.epoch, self.units)
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


def _device_of(model: Network) -> torch.device:
    first = next(cast("nn.Module", model).parameters(), None)
    return torch.device("cpu") if first is None else first.device
