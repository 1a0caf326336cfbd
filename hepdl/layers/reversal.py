"""Gradient reversal: the identity forwards, minus the gradient backwards.

Reference: Y. Ganin and V. Lempitsky, "Unsupervised domain adaptation by backpropagation",
ICML 2015, arXiv:1409.7495, equations 5 and 6.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["reverse_gradient"]


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float | Tensor) -> Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(values: Tensor, *, strength: float | Tensor) -> Tensor:
    """Return ``values`` unchanged; their gradient comes back multiplied by ``-strength``.

    What stands after it is trained to minimise the loss, what stands before it to maximise it.
    ``strength`` is a number, or a tensor with one.

    Shapes:
        Any shape in, the same shape out.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> reverse_gradient(x, strength=3.0).sum().backward()
    >>> x.grad.tolist()
    [-3.0, -3.0]
    """
    result: Tensor = _ReverseGradient.apply(values, strength)  # type: ignore[no-untyped-call]
    return result
