"""Matrix products in half precision: autocast, and scaled gradients where they could underflow.

Reference: P. Micikevicius et al., "Mixed precision training", ICLR 2018, arXiv:1710.03740.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ["Precision"]

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# Gradients that overflow float16 although they are scaled down this far are infinite.
_LEAST_SCALE = 2.0**-10


class Precision:
    """How a network computes while it trains.

    Args:
        name: ``"none"``, ``"bfloat16"`` or ``"float16"``.
        device: Where.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self._device = device.type
        self._dtype = _DTYPES.get(name)
        self._scaler = torch.amp.GradScaler(device.type) if name == "float16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context for the network's forward pass."""
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self._device, dtype=self._dtype)

    def full(self, logits: Tensor) -> Tensor:
        """Return the logits in single precision: no loss is computed in half."""
        return logits if self._dtype is None else logits.float()

    def backward(self, value: Tensor) -> None:
        """Add the gradient of ``value``, scaled if need be, to that of the parameters."""
        (value if self._scaler is None else self._scaler.scale(value)).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the scale."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the optimiser step; not if a scaled gradient has overflowed, then the scale falls."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()

    @property
    def may_overflow(self) -> bool:
        """Whether a gradient that is not finite is an overflow that a smaller scale will end."""
        return self._scaler is not None and self._scaler.get_scale() >= _LEAST_SCALE

    def state_dict(self) -> dict[str, Any] | None:
        """Return everything that a checkpoint must hold."""
        return None if self._scaler is None else self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take back what ``state_dict`` returned."""
        if self._scaler is not None and state is not None:
            self._scaler.load_state_dict(state)
