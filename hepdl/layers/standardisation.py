"""Centring and scaling that belongs to a network: numbers of the training part, kept with it.

The numbers are buffers: they move with the network, lie in its state and are never trained. Unlike
batch norm they are the same while training and afterwards, and each column has its own, so that
columns of unlike meaning (nodes of a decay, say) never share one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from hepdl.errors import DataError

__all__ = ["Standardisation"]

# What varies less than this against its size is constant but for the rounding of float32 (1e-7 for
# one number; sums and roots of several lose a digit more).
CONSTANT = 1e-5


class Standardisation(nn.Module):
    """``(values - center) / scale``; the identity until it is fitted.

    Args:
        shape: Of the columns of one row, e.g. ``(n_nodes, n_features)``.
        groups: For the first axis of ``shape``: places of one number share centre and scale, for
            instance those of identical particles. None keeps all apart.

    Shapes:
        ``(..., *shape)`` → the same.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, shape: Sequence[int], groups: Sequence[int] | None = None) -> None:
        super().__init__()
        self.groups = None if groups is None else tuple(groups)
        self.register_buffer("center", torch.zeros(tuple(shape)))
        self.register_buffer("scale", torch.ones(tuple(shape)))

    def forward(self, values: Tensor) -> Tensor:
        """Return the values centred and scaled."""
        return (values - self.center) / self.scale

    def fit(self, rows: Callable[[], Iterable[tuple[Tensor, Tensor]]], *, what: str) -> None:
        """Take weighted means and standard deviations; a constant column gets the scale 1.

        Args:
            rows: Gives all rows, in pieces, and the weight >= 0 of each; called twice.
            what: What is scaled, for messages.

        Shapes:
            each piece ``(n_rows, *shape)`` with weights ``(n_rows,)``.

        Raises:
            DataError: There is no row of positive weight, or a value is not finite.
        """
        center, _ = self._mean(rows, lambda values: values, what)
        variance, size = self._mean(rows, lambda values: (values - center).square(), what)
        spread = variance.sqrt()
        is_constant = spread <= CONSTANT * (1 + center.abs())
        if not bool(torch.isfinite(spread).all()):
            place = tuple(int(i) for i in torch.nonzero(~torch.isfinite(spread))[0])
            message = (
                f"{what}: column {list(place)} is not finite in the training part ({size:g} of "
                "weight); look for such momenta or features in the files"
            )
            raise DataError(message)
        self.center.copy_(center)
        self.scale.copy_(torch.where(is_constant, 1.0, spread))

    def _mean(
        self,
        rows: Callable[[], Iterable[tuple[Tensor, Tensor]]],
        function: Callable[[Tensor], Tensor],
        what: str,
    ) -> tuple[Tensor, float]:
        """Return the weighted mean of a function of the rows, and the sum of weights."""
        total = torch.zeros(self.center.shape, dtype=torch.float64)
        size, n_rows = 0.0, 0
        for values, weight in rows():
            mass = weight.double().cpu()
            numbers = function(values.double().cpu())
            total += torch.tensordot(mass, numbers, dims=1)
            size, n_rows = size + float(mass.sum()), n_rows + len(mass)
        if not size > 0:
            message = f"{what}: {n_rows} rows with a total weight of {size:g}, nothing to fit on"
            raise DataError(message)
        return self._shared(total / size), size

    def _shared(self, numbers: Tensor) -> Tensor:
        """Average over the places of each group."""
        if self.groups is None:
            return numbers
        group = torch.tensor(self.groups)
        sums = torch.zeros_like(numbers).index_add(0, group, numbers)
        counts = torch.bincount(group, minlength=len(numbers)).clamp_min(1).to(numbers.dtype)
        means = sums / counts.view(-1, *(1,) * (numbers.ndim - 1))
        return means[group]
