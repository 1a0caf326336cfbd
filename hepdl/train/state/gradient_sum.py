"""The gradients of all ranks added up, in one message a step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter

from hepdl.train.state.ranks import Ranks

__all__ = ["GradientSum"]


class GradientSum:
    """Adds up gradients over the ranks; the stop flag of each travels in the same message.

    Each rank's loss must already be normalised by the sum of |weights| of the whole minibatch, so
    that the sum over ranks is the gradient of one process that sees all of it.

    Args:
        parameters: What is trained; the same on every rank, in the same order.
        ranks: Who takes part.
        statistics: Running statistics that each rank updates from its own events, such as those of
            batch norm. Every rank gets their mean, weighted by the ranks' shares of the minibatch.
    """

    def __init__(
        self, parameters: Iterable[Parameter], ranks: Ranks, *, statistics: Iterable[Tensor] = ()
    ) -> None:
        self._parameters = [p for p in parameters if p.requires_grad]
        self._statistics = list(statistics)
        self._ranks = ranks
        self._message = torch.zeros(0)
        self._places: list[Tensor] = []

    def __call__(self, *, share: float = 1.0, stop: bool = False) -> bool:
        """Put the summed gradient in the place of our own.

        Args:
            share: Our part of the events of the minibatch, in [0, 1]; 0 if we had none. Then our
                gradients need not be there at all.
            stop: Whether this rank was asked to stop.

        Returns:
            Whether any rank was. Always False on a GPU, where reading the answer would make the
            host wait: ask ``ranks.any`` from time to time.
        """
        if self._ranks.is_alone:
            return stop
        if not self._places:
            self._lay_out()
        parameters = self._parameters
        with torch.no_grad():
            own = [p.grad for p in parameters if p.grad is not None]
            places = self._places[: len(parameters)]
            if len(own) < len(parameters):
                self._message.zero_()
                places = [
                    place for place, p in zip(places, parameters, strict=True) if p.grad is not None
                ]
            if own:
                torch._foreach_copy_(places, own)
            means = self._places[len(parameters) :]
            for place, value in zip(means, self._statistics, strict=True):
                torch.mul(value, share, out=place)
            self._message[-1] = float(stop)
            self._ranks.sum_(self._message)
            for place, value in zip(means, self._statistics, strict=True):
                value.copy_(place)
        for parameter, place in zip(parameters, self._places, strict=False):
            parameter.grad = place
        return not self._message.is_cuda and bool(self._message[-1] > 0)

    def _lay_out(self) -> None:
        """Give every gradient and every statistic its place in the message; the flag is last."""
        tensors = [*self._parameters, *self._statistics]
        sizes = [tensor.numel() for tensor in tensors]
        device = tensors[0].device
        self._message = torch.zeros(sum(sizes) + 1, device=device, dtype=tensors[0].dtype)
        parts = self._message[:-1].split(sizes)
        self._places = [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]
