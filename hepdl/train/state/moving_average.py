"""An exponential moving average of a network's parameters.

Reference: B. T. Polyak and A. B. Juditsky, SIAM J. Control Optim. 30 (1992) 838 (averaging);
A. Tarvainen and H. Valpola, arXiv:1703.01780 (exponential).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["MovingAverage"]


class MovingAverage:
    """The average of everything in a network that is a real number, running statistics too.

    In the first steps the decay is smaller, (1 + n) / (10 + n) after n steps: the parameters before
    the first step are soon forgotten.

    Args:
        network: Its parameters are replaced by nobody else, only changed.
        decay: Per step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._n_steps = 0
        originals = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
        self._originals = list(originals.values())
        self.values = {name: value.detach().clone() for name, value in originals.items()}

    def update(self) -> None:
        """Take note of the network after a step."""
        decay = min(self._decay, (1 + self._n_steps) / (10 + self._n_steps))
        self._n_steps += 1
        with torch.no_grad():
            torch._foreach_lerp_(list(self.values.values()), self._originals, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network have the average for a while."""
        kept = [value.clone() for value in self._originals]
        self._copy(list(self.values.values()))
        try:
            yield
        finally:
            self._copy(kept)

    def _copy(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self._originals, values)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a checkpoint must hold."""
        return {"values": self.values, "n_steps": self._n_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        for name, value in self.values.items():
            value.copy_(state["values"][name])
        self._n_steps = state["n_steps"]
