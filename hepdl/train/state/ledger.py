"""The books of a fit: losses stay on the device until the host waits for it, every few steps.

Then the host reads all of them at once, looks whether each number is finite, and keeps a copy of
the state. Should the next reading find a number that is not, the steps in between are done again
from that copy, exactly, to say where it began.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NoReturn

import torch
from torch import Tensor

from hepdl.train.state.minibatches import Minibatch
from hepdl.train.state.nonfinite import Fault, first_fault
from hepdl.train.state.ranks import Ranks
from hepdl.train.state.saver import Saver
from hepdl.train.state.training_state import TrainingState

__all__ = ["Ledger"]

# A fit has diverged if among its first losses is one this much above the first of all, and the latest
# few have not come clearly below that. A network that learns may pass the one or the other: on two
# Gaussians Adam at a rate of 1 rises 25-fold and learns, at 10 it rises a thousandfold and does not.
_EARLY_STEPS, _LATEST, _RISE, _FALL = 100, 20, 20, 0.9


class Ledger:
    """What the steps since the last reading have left on the device.

    Args:
        state: Its progress is written here.
        saver: Told of a fit that has diverged, and of a stop that another rank wants.
        ranks: Who computes a part of each number.
        again: Does a step once more, for the search of a fault.
    """

    def __init__(
        self,
        state: TrainingState,
        saver: Saver,
        *,
        ranks: Ranks,
        again: Callable[[Minibatch], object],
    ) -> None:
        self._state = state
        self._saver = saver
        self._ranks = ranks
        self._again = again
        self._names: tuple[str, ...] = ()
        self._numbers: list[Tensor] = []
        self._minibatches: list[Minibatch] = []
        self._since = time.perf_counter()
        self._good: dict[str, Any] = {}

    def open_epoch(self) -> None:
        """Start the clock of the epoch's steps."""
        self._since = time.perf_counter()
        self._good = self._state.snapshot()

    def add(self, minibatch: Minibatch, losses: dict[str, Tensor]) -> None:
        """Take note of a step."""
        self._minibatches.append(minibatch)
        self._names = tuple(losses)
        self._numbers += losses.values()
        self._state.progress.step += 1

    def read(self, *, is_scheduled: bool) -> None:
        """Wait for the device and write down everything.

        Args:
            is_scheduled: Whether a fit that nobody stops reads here too; only then the norm of the
                gradient is counted, so that a stop changes no number.

        Raises:
            DivergedError: A number is not finite, or the loss grows out of all bounds.
        """
        if not self._minibatches:
            return
        progress, sums = self._state.progress, self._state.progress.sums
        # Of the network alone: what auxiliary heads learn is in their losses.
        gradients = [p.grad for p in self._state.network.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        rows, last_norm, stop = self._wait(norm)
        is_good = [self._is_good(row) for row in rows]
        if not all([*is_good, self._is_good_norm(last_norm)]):
            self._explain(rows, last_norm, index=[*is_good, False].index(False))
        for minibatch, row in zip(self._minibatches, rows, strict=True):
            losses = dict(zip(self._names, row, strict=True))
            limited = losses.pop("gradient_norm", None)
            sums.add(losses, minibatch.weight)
            if limited is not None:
                sums.add_norm(limited)
            if len(progress.early_losses) < _EARLY_STEPS:
                progress.early_losses.append(losses["train_loss"])
        if is_scheduled and "gradient_norm" not in self._names:
            sums.add_norm(last_norm)
        now = time.perf_counter()
        sums.seconds += now - self._since
        self._since = now
        if is_scheduled:
            self._refuse_growth(progress.early_losses)
        if stop:
            self._saver.agree()
        self._numbers, self._minibatches = [], []
        self._good = self._state.snapshot()

    def _wait(self, norm: Tensor) -> tuple[list[list[float]], float, bool]:
        """Return the numbers of each step, the norm, and whether any rank is asked to stop."""
        width, size = len(self._names), self._ranks.size
        flag = torch.full_like(norm, float(self._saver.is_asked))
        numbers = torch.stack([*self._numbers, norm, flag]).double()
        if not self._ranks.is_alone:
            # The whole minibatch has one gradient and one penalty: every rank knows them.
            decorrelator = self._state.decorrelator
            alike = {"gradient_norm", *(() if decorrelator is None else decorrelator.observed)}
            known = [name in alike for name in self._names]
            steps = len(self._minibatches)
            parts = [1 / size if same else 1.0 for same in known * steps] + [1 / size, 1.0]
            numbers *= torch.tensor(parts, device=numbers.device, dtype=numbers.dtype)
            self._ranks.sum_(numbers)
        values: list[float] = numbers.tolist()
        rows = [values[i : i + width] for i in range(0, len(values) - 2, width)]
        return rows, values[-2], values[-1] > 0

    def _is_good(self, row: list[float]) -> bool:
        return all(
            self._is_good_norm(value) if name == "gradient_norm" else math.isfinite(value)
            for name, value in zip(self._names, row, strict=True)
        )

    def _is_good_norm(self, norm: float) -> bool:
        return math.isfinite(norm) or self._state.precision.may_overflow

    def _explain(self, rows: list[list[float]], norm: float, *, index: int) -> NoReturn:
        """Search the fault, and leave; ``index`` is the first step whose numbers show it."""
        progress = self._state.progress
        before = progress.step - len(rows)
        self._state.restore(self._good)
        progress.step = before
        may_overflow = self._state.precision.may_overflow
        fault = first_fault(
            self._state.network,
            self._minibatches,
            self._again,
            ranks=self._ranks,
            may_overflow=may_overflow,
        )
        fault = _earliest(self._ranks.gather(None if fault is None else fault.as_dict()))
        index = min(index, len(rows) - 1) if fault is None else fault.index
        numbers = dict(zip(self._names, rows[index], strict=True))
        if index == len(rows) - 1:
            numbers["gradient_norm"] = norm
        what = ", ".join(f"{_word(name)} {value:g}" for name, value in numbers.items())
        if fault is None:
            what += "; when the steps were done again, without hooks, all numbers were finite"
        else:
            what += f"; it begins with {fault.place}; features of the minibatch: {fault.features}"
        progress.step = before + index
        self._saver.diverged(what)

    def _refuse_growth(self, losses: list[float]) -> None:
        if len(losses) < 2 * _LATEST:
            return
        first, highest, latest = losses[0], max(losses), median(losses[-_LATEST:])
        if highest <= _RISE * max(first, 1.0) or latest < _FALL * first:
            return
        what = f"in the first {len(losses)} steps the loss rose from {first:g} to {highest:g}, and "
        what += f"in the latest {_LATEST} it is {latest:g}"
        self._saver.diverged(what)


def _word(name: str) -> str:
    return name.removeprefix("train_").replace("_", " ")


def _earliest(found: list[dict[str, Any] | None]) -> Fault | None:
    """Return the first fault; the rank that has its events knows more than a gradient."""
    faults = [Fault(**values) for values in found if values is not None]
    ordered = sorted(faults, key=lambda fault: (fault.index, "gradient" in fault.place))
    return ordered[0] if ordered else None
