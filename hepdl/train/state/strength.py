"""The strength of a penalty, moved so that the dependence of the score stays at a target.

The smallest cross-entropy under the constraint "dependence <= target" is a saddle point: the
strength is the multiplier of the constraint, and grows for as long as the dependence is too large. The
multiplier is positive, so its logarithm is moved: in each step by `RATE` times the relative
violation, which is cut at +-1. A second term, proportional to the violation, acts at once and is not
summed up: the quadratic term of the augmented Lagrangian, which damps the oscillation that the plain
method has (J. C. Platt and A. H. Barr).

The dependence is measured, not taken from the penalty: the unbiased squared distance correlation of
score and nuisance in the minibatch, averaged over the latest minibatches. An adversary's own loss
would say "held" when the adversary is dead.

Reference: M. R. Hestenes, J. Optim. Theory Appl. 4 (1969) 303; M. J. D. Powell, in "Optimization",
Academic Press 1969, p. 283 (method of multipliers); J. C. Platt and A. H. Barr, "Constrained differential
optimization", NIPS 1987.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hepdl.errors import ConfigError

__all__ = ["HeldStrength"]

# Of the logarithm, per step: from one strength to ten times that takes 230 steps at least. An adversary
# needs some of them to follow; at 0.023 the strength overshot a hundredfold on the toy of arXiv:1611.01046.
RATE = 0.01
PROPORTIONAL = 0.5
# The dependence of a minibatch of a few hundred events is known to a few per cent of the largest possible one.
MEMORY = 0.95
# A strength of zero would never grow again.
_LEAST, _MOST = 1e-4, 1e5


class HeldStrength:
    """The multiplier of the constraint that the dependence is at most ``target``.

    Args:
        target: Squared distance correlation, in (0, 1).
        start: The strength to begin with.
        device: Where the dependence is measured; the host never waits for it.

    Raises:
        ConfigError: ``start`` is no positive number.
    """

    def __init__(self, target: float, start: float, *, device: torch.device) -> None:
        if not (math.isfinite(start) and start > 0):
            message = f"decorrelation.strength is {start}: with a target it is where the strength "
            message += "begins, and must be above 0, e.g. 1"
            raise ConfigError(message)
        self.target = target
        zero = torch.zeros((), dtype=torch.float64, device=device)
        self._logarithm: Tensor = zero + math.log(start)
        self._sum: Tensor = zero.clone()
        self._weight: Tensor = zero.clone()

    @property
    def dependence(self) -> Tensor:
        """Mean over the latest minibatches; 0 before the first."""
        return self._sum / self._weight.clamp_min(1e-12)

    @property
    def value(self) -> Tensor:
        """The strength of the next step, a scalar."""
        violation = self._violation() * (self._weight > 0)
        return torch.exp(self._logarithm + PROPORTIONAL * violation).float()

    def update(self, dependence: Tensor, *, is_on: bool) -> None:
        """Take note of a minibatch, and move the strength if the penalty is on.

        Args:
            dependence: Unbiased squared distance correlation, a scalar.
            is_on: Whether the warm-up is over; before, there is nothing to be held.
        """
        self._sum = MEMORY * self._sum + (1 - MEMORY) * dependence.double()
        self._weight = MEMORY * self._weight + (1 - MEMORY)
        if is_on:
            moved = self._logarithm + RATE * self._violation()
            self._logarithm = moved.clamp(math.log(_LEAST), math.log(_MOST))

    def _violation(self) -> Tensor:
        return (self.dependence / self.target - 1).clamp(-1, 1)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a checkpoint must hold."""
        return {"logarithm": self._logarithm, "sum": self._sum, "weight": self._weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        device = self._logarithm.device
        self._logarithm, self._sum, self._weight = (
            state[key].to(device) for key in ("logarithm", "sum", "weight")
        )
