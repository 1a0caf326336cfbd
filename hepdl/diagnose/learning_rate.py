"""Which learning rate a network takes: short trainings from the same start, one a rate.

Each of them learns from the same minibatches and is judged on the same events, so that their losses
differ by the rate alone. Too small a rate changes nothing in so few steps; too large a one ends
above the start. The suggestion is the smallest rate that gains nearly as much as the best one: few
steps flatter the large rates.

Reference:
    L. N. Smith, "Cyclical learning rates for training neural networks", WACV 2017,
    arXiv:1506.01186 (the range test, in which one training goes through all rates: what it has
    learnt at the small ones hides what the large ones could do).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError
from hepdl.events import Events
from hepdl.losses import Loss
from hepdl.models import Network
from hepdl.train.state.device import device_of
from hepdl.train.state.optimizers import make_optimizer
from hepdl.train.state.options import TrainOptions

__all__ = ["RateScan", "find_learning_rate"]

RATES_PER_DECADE = 3
# Share of the best gain that the suggested rate reaches.
NEARLY = 0.9
# A gain smaller than this share of the first loss is none.
LEAST_GAIN = 0.01
# Events that judge: the loss is then known to a few per cent.
JUDGES = 512


@dataclass(frozen=True)
class RateScan:
    """Losses after short trainings.

    Attributes:
        rates: The learning rates, rising.
        losses: Loss after the training at each rate; infinite where it was not finite.
        start: Loss before.
        n_steps: Steps of each training.
        best: The rate with the smallest loss; None if none lowers it.
        suggested: The smallest rate that gains nearly as much, its neighbours counted in.
        diverges_at: The smallest rate above ``best`` whose training ends above the start.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    start: float
    n_steps: int
    best: float | None
    suggested: float | None
    diverges_at: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; a loss that is not finite becomes None."""
        losses = [value if math.isfinite(value) else None for value in self.losses]
        start = self.start if math.isfinite(self.start) else None
        return {**asdict(self), "rates": list(self.rates), "losses": losses, "start": start}

    def in_words(self) -> str:
        """Return the result as a sentence."""
        if self.suggested is None:
            return (
                f"no learning rate from {self.rates[0]:.1g} to {self.rates[-1]:.1g} lowers the loss in "
                f"{self.n_steps} steps: look at the verdict on the network first"
            )
        text = f"learning rate {self.suggested:.2g} (largest gain in {self.n_steps} steps at "
        text += f"{self.best:.2g}"
        if self.diverges_at is not None:
            text += f", worse than the start from {self.diverges_at:.2g}"
        return text + ")"


def find_learning_rate(
    model: Network,
    train: Events,
    *,
    loss: Loss,
    options: TrainOptions,
    lowest: float = 3e-5,
    highest: float = 10.0,
    n_steps: int = 30,
) -> RateScan:
    """Train copies of the network for some steps, one at each learning rate.

    Auxiliary heads and decorrelation penalties take no part, nor do schedule and warm-up.

    Args:
        model: The network; also a ``torch.nn.Module``. It stays as it is.
        train: Training part, scaled.
        loss: Of the training.
        options: Optimiser, size of the minibatches, seed; its learning rate is not used.
        lowest: First learning rate; three follow in each decade.
        highest: Last one. Once two in a row end above the start, larger ones are not tried.
        n_steps: Steps of each training.

    Raises:
        ConfigError: The range is empty, or there are no steps.
    """
    if not (0 < lowest < highest and n_steps >= 1):
        message = (
            f"learning rates from {lowest:g} to {highest:g} in {n_steps} steps: give two rates above "
            "0, the lower one first, and at least one step"
        )
        raise ConfigError(message)
    network = cast("nn.Module", getattr(model, "_orig_mod", model))
    device = device_of(network)
    generator = torch.Generator().manual_seed(options.seed)
    order = torch.randperm(len(train), generator=generator)
    judges = train.take(order[:JUDGES].to(train.device)).to(device)
    minibatches = _minibatches(order, options.minibatch_size, n_steps)
    wanted = round(math.log10(highest / lowest) * RATES_PER_DECADE) + 1
    rates = [lowest * 10 ** (k / RATES_PER_DECADE) for k in range(wanted)]
    losses: list[float] = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        start = _judge(copy.deepcopy(network), judges, loss)
        for rate in rates:
            torch.manual_seed(options.seed)
            settings = replace(options, learning_rate=rate)
            losses.append(_train(network, train, minibatches, judges, loss, settings))
            if len(losses) > 1 and min(losses[-2:]) > start and min(losses) < start:
                break
    return _summed_up(rates[: len(losses)], losses, start=start, n_steps=n_steps)


def _minibatches(order: Tensor, size: int, n_steps: int) -> list[Tensor]:
    """Return the positions of each minibatch; passes over few events begin again."""
    size = min(size, len(order))
    per_pass = max(len(order) // size, 1)
    firsts = [step % per_pass * size for step in range(n_steps)]
    return [order[first : first + size] for first in firsts]


def _train(
    network: nn.Module,
    train: Events,
    minibatches: Sequence[Tensor],
    judges: Events,
    loss: Loss,
    options: TrainOptions,
) -> float:
    """Return the loss after training a copy at the learning rate of ``options``."""
    twin = copy.deepcopy(network)
    twin.train()
    device = device_of(twin)
    optimizer = make_optimizer(twin.parameters(), options)
    with torch.enable_grad():
        for index in minibatches:
            minibatch = train.take(index.to(train.device)).to(device)
            logits = twin(*cast("Network", twin).prepare(minibatch))
            value = loss(logits, minibatch.label, None, minibatch.event_weight)
            if not bool(torch.isfinite(value)):
                return math.inf
            optimizer.zero_grad()
            value.backward()
            if options.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(twin.parameters(), options.clip_norm)
            optimizer.step()
    return _judge(twin, judges, loss)


def _judge(network: nn.Module, judges: Events, loss: Loss) -> float:
    # In training mode: the averages of batch norm take longer than a few steps to settle.
    network.train()
    with torch.no_grad():
        logits = network(*cast("Network", network).prepare(judges))
        value = float(loss(logits, judges.label, None, judges.event_weight))
    return value if math.isfinite(value) else math.inf


def _summed_up(
    rates: Sequence[float], losses: Sequence[float], *, start: float, n_steps: int
) -> RateScan:
    best = suggested = diverges_at = None
    gains = [start - value for value in losses]
    place = max(range(len(gains)), key=lambda k: gains[k])
    if gains[place] > LEAST_GAIN * abs(start):
        # One lucky rate between two bad ones is no advice: neighbours have a say.
        padded = [gains[0], *gains, gains[-1]]
        near = [sum(max(gain, 0.0) for gain in padded[k : k + 3]) for k in range(len(gains))]
        best = rates[place]
        nearly = (
            rate for rate, gain in zip(rates, near, strict=True) if gain >= NEARLY * max(near)
        )
        suggested = min(best, next(nearly))
        beyond = [rate for rate, gain in zip(rates, gains, strict=True) if rate > best and gain < 0]
        diverges_at = min(beyond, default=None)
    return RateScan(tuple(rates), tuple(losses), start, n_steps, best, suggested, diverges_at)
