"""Which learning rate a network takes: train a copy for some steps while the rate grows.

The loss first stays, then falls, then diverges. A rate ten times below the one of the smallest loss
learns fast and safely.

Reference:
    L. N. Smith, "Cyclical learning rates for training neural networks", WACV 2017,
    arXiv:1506.01186 (the range test).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hepdl.errors import ConfigError
from hepdl.events import Events
from hepdl.losses import Loss
from hepdl.models import Network
from hepdl.train.state.device import device_of
from hepdl.train.state.optimizers import make_optimizer
from hepdl.train.state.options import TrainOptions

__all__ = ["RateScan", "find_learning_rate"]

# The scan ends where the loss is so many times its smallest value: it has diverged.
DIVERGED = 4.0
# Steps over which the loss is averaged on either side: minibatches differ.
SMOOTHING = 3
# The suggestion is so many times below the rate of the smallest loss.
SAFETY = 10.0
# A fall smaller than this share of the first loss is none.
LEAST_FALL = 0.01


@dataclass(frozen=True)
class RateScan:
    """The loss while the learning rate grew.

    Attributes:
        rates: Learning rate of each step.
        losses: Loss of each minibatch before its step.
        smoothed: The same, averaged over neighbouring steps.
        best: Rate at the smallest smoothed loss; None if the loss never fell.
        suggested: The rate to train with, a tenth of ``best``.
        diverges_at: The rate from which the loss has diverged; None if it never did.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    best: float | None
    suggested: float | None
    diverges_at: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    def in_words(self) -> str:
        """Return the result as a sentence."""
        if self.suggested is None:
            return (
                f"no learning rate from {self.rates[0]:.0e} to {self.rates[-1]:.0e} lowers the loss: "
                "look at the verdicts on the network first"
            )
        text = f"learning rate about {self.suggested:.1g}; the loss is smallest at {self.best:.1g}"
        if self.diverges_at is not None:
            text += f" and diverges from {self.diverges_at:.1g}"
        return text


def find_learning_rate(
    model: Network,
    train: Events,
    *,
    loss: Loss,
    options: TrainOptions,
    lowest: float = 1e-6,
    highest: float = 10.0,
    n_steps: int = 120,
) -> RateScan:
    """Train a copy of the network while the learning rate grows by one factor a step.

    Args:
        model: The network; also a ``torch.nn.Module``. It stays as it is.
        train: Training part, scaled.
        loss: Of the training.
        options: Optimiser, size of the minibatches, seed; its learning rate is not used.
        lowest: First learning rate.
        highest: Last one; the scan ends earlier when the loss diverges.
        n_steps: Number of steps.

    Raises:
        ConfigError: The range is empty, or has too few steps.
    """
    if not (0 < lowest < highest and n_steps >= 10):
        message = (
            f"learning rates from {lowest:g} to {highest:g} in {n_steps} steps: give two rates above "
            "0, the lower one first, and at least 10 steps"
        )
        raise ConfigError(message)
    network = copy.deepcopy(cast("nn.Module", getattr(model, "_orig_mod", model)))
    device = device_of(network)
    factor = (highest / lowest) ** (1 / (n_steps - 1))
    rates: list[float] = []
    losses: list[float] = []
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        torch.manual_seed(options.seed)
        network.train()
        optimizer = make_optimizer(network.parameters(), replace(options, learning_rate=lowest))
        batches = _Minibatches(train, options.minibatch_size, seed=options.seed)
        for step in range(n_steps):
            rate = lowest * factor**step
            for group in optimizer.param_groups:
                group["lr"] = rate
            minibatch = batches.next().to(device)
            logits = network(*cast("Network", network).prepare(minibatch))
            value = loss(logits, minibatch.label, None, minibatch.event_weight)
            number = float(value.detach())
            if not math.isfinite(number) or (losses and number > 100 * DIVERGED * min(losses)):
                break
            rates.append(rate)
            losses.append(number)
            optimizer.zero_grad()
            value.backward()
            if options.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), options.clip_norm)
            optimizer.step()
    return _judged(
        rates, losses, next_rate=lowest * factor ** len(rates), is_cut=len(rates) < n_steps
    )


class _Minibatches:
    """Whole minibatches in a random order, one pass after the other."""

    def __init__(self, events: Events, size: int, *, seed: int) -> None:
        self.events = events
        self.size = min(size, len(events))
        self.generator = torch.Generator().manual_seed(seed)
        self.order = torch.zeros(0, dtype=torch.int64)

    def next(self) -> Events:
        """Return the next minibatch."""
        if len(self.order) < self.size:
            self.order = torch.randperm(len(self.events), generator=self.generator)
        chosen, self.order = self.order[: self.size], self.order[self.size :]
        return self.events.take(chosen.to(self.events.device))


def _judged(
    rates: Sequence[float], losses: Sequence[float], *, next_rate: float, is_cut: bool
) -> RateScan:
    if not losses:
        return RateScan((next_rate,), (), (), None, None, next_rate)
    smoothed = _smooth(np.array(losses))
    place = int(np.argmin(smoothed))
    has_fallen = smoothed[place] < (1 - LEAST_FALL) * smoothed[0]
    beyond = np.flatnonzero(smoothed[place:] > DIVERGED * smoothed[place])
    diverges_at = rates[place + int(beyond[0])] if len(beyond) else next_rate if is_cut else None
    best = rates[place] if has_fallen else None
    suggested = None if best is None else best / SAFETY
    return RateScan(
        tuple(rates), tuple(losses), tuple(smoothed.tolist()), best, suggested, diverges_at
    )


def _smooth(losses: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Average over the neighbours on both sides alike, so that nothing moves along the axis."""
    n = len(losses)
    half = [min(SMOOTHING, k, n - 1 - k) for k in range(n)]
    return np.array([losses[k - h : k + h + 1].mean() for k, h in enumerate(half)])
