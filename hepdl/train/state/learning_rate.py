"""The learning rate as a function of the position in the training, so that a resume is exact.

Reference: L. N. Smith and N. Topin, "Super-convergence: very fast training of neural networks using
large learning rates", arXiv:1708.07120 (one cycle); I. Loshchilov and F. Hutter, "SGDR", ICLR
2017, arXiv:1608.03983 (cosine); P. Goyal et al., arXiv:1706.02677 (linear warm-up).
"""

from __future__ import annotations

import math
from typing import Any

from hepdl.train.state.options import TrainOptions

__all__ = ["LearningRate"]

# Of torch.optim.lr_scheduler.OneCycleLR: the first rate is the highest over 25, the last one that
# over ten thousand, and three tenths of the steps go up.
_FIRST, _LAST, _RISING = 1 / 25, 1 / 25 / 1e4, 0.3
# Epochs without a lower validation loss, after which a plateau lowers the rate.
_PLATEAU_EPOCHS = 2


class LearningRate:
    """The learning rate of each step. Only a plateau has a memory.

    Args:
        options: ``learning_rate``, ``schedule``, ``decay``, ``warm_up`` and ``epochs`` are used.
    """

    def __init__(self, options: TrainOptions) -> None:
        self._options = options
        self._lowest_loss = math.inf
        self._waited = 0
        self._plateau = 1.0

    def at(self, epoch: int, minibatch: int, n_minibatches: int) -> float:
        """Return the rate of one step: of a minibatch, counted from 0, of an epoch."""
        options = self._options
        rate = options.learning_rate
        if options.schedule == "one_cycle":
            return rate * self._one_cycle(epoch * n_minibatches + minibatch, n_minibatches)
        if options.schedule == "exponential":
            rate *= options.decay**epoch
        elif options.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * epoch / options.epochs)) / 2
        elif options.schedule == "plateau":
            rate *= self._plateau
        # The first step is one already: with rate zero it would teach nothing.
        done = epoch + (minibatch + 1) / n_minibatches
        return rate * min(1.0, done / options.warm_up) if options.warm_up > 0 else rate

    def _one_cycle(self, step: int, n_minibatches: int) -> float:
        n_steps = self._options.epochs * n_minibatches
        rising = self._options.warm_up * n_minibatches or _RISING * n_steps
        top, end = rising - 1, n_steps - 1
        if step <= top:
            return _between(_FIRST, 1.0, step / top if top > 0 else 1.0)
        return _between(1.0, _LAST, (step - top) / (end - top) if end > top else 1.0)

    def end_epoch(self, validation_loss: float) -> None:
        """Take note of the validation loss of an epoch."""
        if validation_loss < self._lowest_loss:
            self._lowest_loss, self._waited = validation_loss, 0
            return
        self._waited += 1
        if self._waited == _PLATEAU_EPOCHS:
            self._plateau, self._waited = self._plateau * self._options.decay, 0

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a checkpoint must hold."""
        return {
            "lowest_loss": self._lowest_loss,
            "waited": self._waited,
            "plateau": self._plateau,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        self._lowest_loss = state["lowest_loss"]
        self._waited, self._plateau = state["waited"], state["plateau"]


def _between(first: float, last: float, fraction: float) -> float:
    """Return the value at ``fraction`` of half a cosine wave from ``first`` to ``last``."""
    return last + (first - last) * (1 + math.cos(math.pi * fraction)) / 2
