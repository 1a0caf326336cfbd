"""A monotone map of [0, 1] onto itself that depends on a context: a conditional distribution function.

Rational-quadratic splines: between knots the map is a ratio of two parabolas that fits heights and slopes of both ends, so
that it rises everywhere and has a closed form and derivative. A dense network makes widths, heights and slopes of the
knots from the context. The map of a number u is the distribution function of u given the context, its derivative the
density.

Reference: C. Durkan, A. Bekasov, I. Murray and G. Papamakarios, "Neural spline flows", NeurIPS 2019, arXiv:1906.04032;
J. A. Gregory and R. Delbourgo, IMA J. Numer. Anal. 2 (1982) 123.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

__all__ = ["ConditionalSpline", "rational_quadratic"]

# No bin is narrower or lower than this share, no slope smaller: densities stay finite.
LEAST = 1e-3
# softplus of this is 1 - LEAST: a network that gives zeros is the identity.
_UNIT = math.log(math.expm1(1 - LEAST))


class ConditionalSpline(nn.Module):
    """The distribution function of a number in [0, 1], given a context.

    At first it is the identity, whatever the context: the number is uniform and independent.

    Args:
        n_context: Numbers of the context.
        n_knots: Bins of the spline.
        hidden: Widths of the network's hidden layers.
    """

    def __init__(
        self, n_context: int, *, n_knots: int = 10, hidden: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__()
        self.n_knots = n_knots
        widths = (n_context, *hidden)
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.Tanh()]
        last = nn.Linear(widths[-1], 3 * n_knots + 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(*layers, last)

    def forward(self, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distribution function and the logarithm of the density at ``u``.

        Shapes:
            u ``(n_events,)`` in [0, 1], context ``(n_events, n_context)`` → twice ``(n_events,)``.
        """
        k = self.n_knots
        widths, heights, slopes = self.network(context).split((k, k, k + 1), dim=1)
        return rational_quadratic(u, widths, heights, slopes)


def rational_quadratic(
    u: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the spline and the logarithm of its derivative.

    Args:
        u: In [0, 1].
        widths: Logits of the widths of the bins.
        heights: Logits of their heights.
        slopes: Of the knots, before softplus and a shift that makes 0 a slope of 1.

    Shapes:
        u ``(n_events,)``, widths, heights ``(n_events, n_knots)``, slopes ``(n_events, n_knots + 1)``.
    """
    n_knots = widths.shape[1]
    scale = 1 - LEAST * n_knots
    width, height = (LEAST + scale * torch.softmax(x, dim=1) for x in (widths, heights))
    slope = LEAST + softplus(slopes + _UNIT)
    # The last knot is at 1 up to rounding; what is beyond belongs to the last bin.
    ends = torch.cumsum(width, dim=1)
    number = (u[:, None] >= ends[:, :-1]).sum(dim=1, keepdim=True)
    starts = torch.cat([torch.zeros_like(u)[:, None], ends[:, :-1]], dim=1)
    bases = torch.cat([torch.zeros_like(u)[:, None], torch.cumsum(height, dim=1)[:, :-1]], dim=1)

    def here(values: Tensor, place: Tensor = number) -> Tensor:
        return values.gather(1, place)[:, 0]

    w, h, left, right = here(width), here(height), here(slope), here(slope, number + 1)
    x = ((u - here(starts)) / w).clamp(0, 1)
    mean = h / w
    rest = x * (1 - x)
    denominator = mean + (left + right - 2 * mean) * rest
    value = here(bases) + h * (mean * x * x + left * rest) / denominator
    top = mean * mean * (right * x * x + 2 * mean * rest + left * (1 - x) ** 2)
    return value, torch.log(top) - 2 * torch.log(denominator)
