"""Auxiliary heads: further losses on intermediate layers, while training only.

A head reads the output of one layer, maps it linearly to one number, and adds its own weighted mean
loss to that of the network: the layer gets a gradient that did not come through all the others
above it. With ``loss: assignment`` the layer gives the logits of the assignments of an event itself, and
nothing maps them. With ``detach`` the head only watches: it learns, the layers below it feel nothing. The
heads are no part of the network: at prediction they do not run, and the saved model has none.

Reference: C. Szegedy et al., "Going deeper with convolutions", CVPR 2015, arXiv:1409.4842
(auxiliary classifiers, with a weight of 0.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.events import Events
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models import Network
from hepdl.train.state.assignment_loss import assignment_loss, assignments_with_truth
from hepdl.train.state.device import device_of
from hepdl.train.state.heads import LABEL, AuxiliaryHead, find_layers
from hepdl.train.state.taps import Tap

__all__ = ["AuxiliaryHeads"]


class AuxiliaryHeads(nn.Module):
    """The heads of one network.

    Their own parameters are drawn from ``seed`` alone, so that a head with weight 0, or one more
    head, leaves every other random number of the fit as it was.

    Args:
        heads: What they are.
        seed: Of their first parameters.

    Attributes:
        names: Name of each head.
        latest: Loss of each head at the last call of ``loss``, not multiplied by its weight and
            without gradient, ``(n_heads,)``.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, heads: Sequence[AuxiliaryHead], *, seed: int = 0) -> None:
        super().__init__()
        self.options = tuple(heads)
        self.names = tuple(head.name for head in heads)
        if len(set(self.names)) < len(self.names):
            message = f"auxiliary heads need different names, got {', '.join(self.names)}"
            raise ConfigError(message)
        self.seed = seed
        self.latest = torch.zeros(len(self.names))
        self.heads = nn.ModuleList()
        self.register_buffer("center", torch.zeros(len(self.names)))
        self.register_buffer("scale", torch.ones(len(self.names)))
        self._has_targets = all(head.target == LABEL for head in heads)
        self._entropy = BinaryCrossEntropy()
        self._taps: list[Tap] = []
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def extra_repr(self) -> str:
        """Return every option, so that a resume with another one is recognised."""
        lines = [str(asdict(head)) for head in self.options]
        targets = zip(self.names, self.center.tolist(), self.scale.tolist(), strict=True)
        return "\n".join(
            [*lines, *(f"{name}: target - {c:.9g} over {s:.9g}" for name, c, s in targets)]
        )

    def fit_targets(self, train: Events) -> None:
        """Centre and scale the targets that are fields, on the training part with its |weights|.

        Raises:
            ConfigError: A target is no field of the events.
            DataError: A target is constant, not finite, or no probability where it must be one.
        """
        weight = train.event_weight.double().abs().cpu()
        for i, head in enumerate(self.options):
            if head.target == LABEL:
                continue
            values = _field(train, head).double().cpu()
            if not head.standardises:
                _check_probability(values, head)
                continue
            mean = float((values * weight).sum() / weight.sum())
            spread = float(((values - mean).square() * weight).sum() / weight.sum()) ** 0.5
            if not (math.isfinite(spread) and spread > 0):
                message = (
                    f"auxiliary.{head.name}.target: the field {head.target!r} has mean {mean:g} and "
                    f"standard deviation {spread:g} in the training part; it must be finite and "
                    "not constant: choose another field, or remove such entries by a selection"
                )
                raise DataError(message)
            self.center[i], self.scale[i] = mean, spread
        self._has_targets = True

    def attach(self, model: Network, minibatch: Events) -> None:
        """Listen to the layers of the network, and make a head of the right width for each.

        Args:
            model: The network, on its device; it is run once in evaluation mode.
            minibatch: Some events as it trains on them, at least one.

        Raises:
            ConfigError: There is no such layer, or its output is not one vector per event, or not
                one logit for each assignment.
            DataError: A target is a field, and ``fit_targets`` has not been called; or there is no
                truth of assignments for a head that learns it.
        """
        if not self._has_targets:
            targets = [head.target for head in self.options if head.target != LABEL]
            message = f"the targets {targets} are not scaled yet: call fit_targets first"
            raise DataError(message)
        self.remove()
        network = cast("nn.Module", model)
        layers = find_layers(network, self.options)
        self._taps = [Tap(network) for _ in layers]
        self._handles = [
            layer.register_forward_hook(tap) for layer, tap in zip(layers, self._taps, strict=True)
        ]
        try:
            widths = self._widths(model, minibatch)
        except BaseException:
            self.remove()
            raise
        # The constructor of a layer draws numbers: they are put back.
        with torch.random.fork_rng(devices=[]):
            self.heads = nn.ModuleList(
                nn.Identity() if head.is_assignment else nn.Linear(width, 1)
                for width, head in zip(widths, self.options, strict=True)
            )
        generator = torch.Generator().manual_seed(self.seed)
        for head in self.heads:
            if not isinstance(head, nn.Linear):
                continue
            nn.init.xavier_uniform_(head.weight, generator=generator)
            nn.init.zeros_(head.bias)
        first = next(network.parameters(), None)
        self.to(device=device_of(network), dtype=torch.float32 if first is None else first.dtype)
        self.train()

    def _widths(self, model: Network, minibatch: Events) -> list[int]:
        """Run the network once, and return the width of each layer's output."""
        network = cast("nn.Module", model)
        was_training = network.training
        network.eval()
        for tap in self._taps:
            tap.is_testing = True
        with torch.no_grad():
            network(*model.prepare(minibatch))
        network.train(was_training)
        widths = []
        for tap, head in zip(self._taps, self.options, strict=True):
            output = tap.output
            is_vector = isinstance(output, Tensor) and output.shape[:1] == (len(minibatch),)
            if tap.n_calls != 1 or not is_vector or output.ndim not in (1, 2):
                found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
                message = (
                    f"auxiliary.{head.name}.layer: {head.layer} runs {tap.n_calls} times and gives "
                    f"{found} for {len(minibatch)} events; a head reads a layer that runs once and "
                    "gives one vector per event, (n_events, n_features)"
                )
                raise ConfigError(message)
            widths.append(1 if output.ndim == 1 else output.shape[1])
            if head.is_assignment:
                _check_logits(output, minibatch, head)
            tap.is_testing, tap.output = False, None
        return widths

    def remove(self) -> None:
        """Stop listening: the network is as if there had never been a head."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._taps = [], []

    def loss(self, minibatch: Events, *, position: float, n_epochs: int) -> Tensor:
        """Return what the heads add to the loss of the minibatch that the network has just seen.

        Each head's loss is a weighted mean, normalised by the sum of |w| of ``minibatch``, as every
        loss.

        Args:
            minibatch: The events of the last forward pass, in training mode.
            position: In the training, in epochs: 2.5 is half of the third epoch.
            n_epochs: Of the whole training.

        Raises:
            DataError: A layer did not give one row for each event.
        """
        total = torch.zeros((), device=self.center.device)
        losses = []
        for i, head in enumerate(self.options):
            output, self._taps[i].output = self._taps[i].output, None
            weight = head.weight_at(position, n_epochs)
            # Nothing flows back from a head without weight, not even zeros.
            with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                value = self._value(i, output.detach() if head.detach else output, minibatch)
            losses.append(value.detach())
            if weight > 0:
                total = total + weight * value
        self.latest = torch.stack(losses) if losses else self.latest
        return total

    def _value(self, i: int, output: Tensor, minibatch: Events) -> Tensor:
        head = self.options[i]
        if len(output) != len(minibatch):
            message = (
                f"auxiliary.{head.name}.layer: {head.layer} gives {len(output)} rows "
                f"for {len(minibatch)} events; read a layer that gives one for each, also for jets "
                "without constituents"
            )
            raise DataError(message)
        # In full precision whatever the network computes in.
        with torch.autocast(output.device.type, enabled=False):
            if head.is_assignment:
                assigned = assignments_with_truth(minibatch, where=f"auxiliary.{head.name}")
                return assignment_loss(
                    output.to(self.scale.dtype), assigned, minibatch.event_weight
                )
            linear = cast("nn.Linear", self.heads[i])
            rows = output.to(linear.weight.dtype)
            predicted: Tensor = linear(rows[:, None] if rows.ndim == 1 else rows).squeeze(1)
            target = minibatch.label if head.target == LABEL else _field(minibatch, head)
            weight = minibatch.event_weight
            if head.loss == "binary_cross_entropy":
                loss: Tensor = self._entropy(predicted, target, None, weight)
                return loss
            wanted = (target.to(predicted.dtype) - self.center[i]) / self.scale[i]
            total = weight.abs().sum().clamp_min(torch.finfo(weight.dtype).tiny)
            squares: Tensor = (predicted - wanted).square() * weight
            return squares.sum() / total


def _field(events: Events, head: AuxiliaryHead) -> Tensor:
    if head.target not in events.observers:
        known = [LABEL, *events.observers]
        where = f"auxiliary.{head.name}.target"
        raise ConfigError(unknown_name("target", head.target, known, where=where))
    return events.observers[head.target]


def _check_logits(output: Tensor, minibatch: Events, head: AuxiliaryHead) -> None:
    where = f"auxiliary.{head.name}"
    wanted = assignments_with_truth(minibatch, where=where).mask.shape
    if output.shape != wanted:
        message = (
            f"{where}.layer: {head.layer} gives {list(output.shape)}; loss: assignment needs a logit "
            f"for each assignment of each event, {list(wanted)}, as pooling.logits of decay_tree gives"
        )
        raise ConfigError(message)


def _check_probability(values: Tensor, head: AuxiliaryHead) -> None:
    # Written so that NaN is bad.
    bad = torch.nonzero(~((values >= 0) & (values <= 1)))
    if len(bad):
        entry = int(bad[0, 0])
        message = (
            f"auxiliary.{head.name}.target: the field {head.target!r} is {float(values[entry]):g} "
            f"at training entry {entry}; binary_cross_entropy needs values from 0 to 1: choose "
            "loss: mean_squared_error, or another field"
        )
        raise DataError(message)
