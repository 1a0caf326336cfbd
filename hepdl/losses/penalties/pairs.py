"""Squared distance correlation of a score and a nuisance, with its gradient towards the score.

Value and gradient are computed together, in double precision: on a CPU with the sums of
``hepdl.evaluate.distances`` in O(n log n), elsewhere from all pairs, a chunk of rows at once.

Distances of categories are 0 or 1: half the sum over the categories of |d_i - d_j|, where d is 1 for the events of
the category and 0 for the others. The covariance is linear in the distances, so it is the sum of those with each d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hepdl.evaluate.distances.covariance import Column, coefficients, covariance, variance

__all__ = ["squared_correlation"]


def squared_correlation(
    scores: Tensor,
    nuisance: Tensor,
    weight: Tensor,
    *,
    unbiased: bool,
    is_categorical: bool = False,
    chunk: int = 2048,
) -> Tensor:
    """Return the squared distance correlation; a gradient flows to the scores alone.

    It is exactly 0, and so is its gradient, where scores or nuisance are constant, no event has a weight, or
    the unbiased form has three effective events or fewer.

    Args:
        scores: The score of each event.
        nuisance: The nuisance of each event.
        weight: Shares, not negative, with sum 1 (or all 0).
        unbiased: U-statistic if True, else V-statistic.
        is_categorical: Whether the nuisance is a category.
        chunk: Rows of pairs at once, where pairs are formed.

    Shapes:
        scores, nuisance, weight ``(n_events,)`` → ``()``.
    """
    found: Tensor = _SquaredCorrelation.apply(  # type: ignore[no-untyped-call]
        scores, nuisance, weight, unbiased, is_categorical, chunk
    )
    return found


class _SquaredCorrelation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        nuisance: Tensor,
        weight: Tensor,
        unbiased: bool,
        is_categorical: bool,
        chunk: int,
    ) -> Tensor:
        columns = (scores.detach().double(), nuisance.detach().double(), weight.detach().double())
        if scores.device.type == "cpu":
            found = _sorted(*columns, unbiased, is_categorical)
        else:
            found = _paired(*columns, unbiased, is_categorical, chunk)
        value, gradient = _correlation(found)
        ctx.save_for_backward(gradient.to(scores.dtype))
        return value.to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradients[0] * gradient, None, None, None, None, None


@dataclass(frozen=True)
class _Moments:
    """Squared distance covariance and variances, and gradients towards the score."""

    shared: Tensor
    of_scores: Tensor
    of_nuisance: Tensor
    shared_gradient: Tensor
    scores_gradient: Tensor


def _correlation(found: _Moments) -> tuple[Tensor, Tensor]:
    """Return value and gradient; zeros where a variance is none, without waiting for the device."""
    product = found.of_scores * found.of_nuisance
    # Rounding leaves 1e-17 where everything is constant.
    is_good = (found.of_scores > 1e-14) & (found.of_nuisance > 1e-14)
    scale = torch.where(is_good, product, 1.0).sqrt()
    value = torch.where(is_good, found.shared / scale, 0.0)
    of_scores = torch.where(is_good, found.of_scores, 1.0)
    gradient = found.shared_gradient / scale - 0.5 * value * found.scores_gradient / of_scores
    return value, torch.where(is_good, gradient, 0.0)


def _nothing(scores: Tensor) -> _Moments:
    zero = scores.new_zeros(())
    return _Moments(zero, zero, zero, torch.zeros_like(scores), torch.zeros_like(scores))


def _sorted(
    scores: Tensor, nuisance: Tensor, weight: Tensor, unbiased: bool, is_categorical: bool
) -> _Moments:
    """Return the moments by sorting."""
    shares = weight.numpy()
    squares = float(shares @ shares)
    if squares == 0 or (unbiased and squares >= 1 / 3):
        return _nothing(scores)
    x = Column.of(scores.numpy(), shares)
    if is_categorical:
        values = torch.unique(nuisance).tolist()
        columns = [Column.of((nuisance == v).double().numpy(), shares) for v in values]
        factor = 0.5
        # Distances of 0 and 1 are their own squares.
        c_0, c_1, c_2 = coefficients(shares, unbiased=unbiased)
        means = sum(0.5 * column.means for column in columns)
        mean = float(shares @ means)
        of_nuisance = c_0 * mean - c_1 * float(shares @ means**2) + c_2 * mean**2
    else:
        columns, factor = [Column.of(nuisance.numpy(), shares)], 1.0
        of_nuisance = variance(columns[0], unbiased=unbiased).value
    pairs = [covariance(x, column, unbiased=unbiased) for column in columns]
    own = variance(x, unbiased=unbiased)
    return _Moments(
        scores.new_tensor(factor * sum(pair.value for pair in pairs)),
        scores.new_tensor(own.value),
        scores.new_tensor(of_nuisance),
        torch.from_numpy(factor * sum(pair.gradient for pair in pairs)),
        torch.from_numpy(own.gradient),
    )


def _paired(
    scores: Tensor,
    nuisance: Tensor,
    weight: Tensor,
    unbiased: bool,
    is_categorical: bool,
    chunk: int,
) -> _Moments:
    """Return the moments from all pairs; the host never waits for the device."""
    x, z = scores - weight @ scores, nuisance - weight @ nuisance

    def distances(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return signed distance in the score, distance in the score, in the nuisance."""
        signed = x[rows, None] - x
        apart = z[rows, None] - z
        return signed, signed.abs(), (apart != 0).double() if is_categorical else apart.abs()

    cuts = [slice(first, first + chunk) for first in range(0, len(x), chunk)]
    means = []
    for rows in cuts:
        _, a, b = distances(rows)
        means.append(torch.stack([a @ weight, b @ weight]))
    a_means, b_means = torch.cat(means, dim=1)
    a_mean, b_mean = weight @ a_means, weight @ b_means
    c_0, c_1, c_2 = _coefficients(weight, unbiased=unbiased)
    moments, gradients = torch.zeros(3, 3, dtype=x.dtype, device=x.device), []
    for rows in cuts:
        signed, a, b = distances(rows)
        sign, own = signed.sign(), weight[rows]
        moments[0] += own @ torch.stack([(a * b) @ weight, (a * a) @ weight, (b * b) @ weight], 1)
        signs = sign @ weight
        slope = 2 * c_0 * ((sign * b) @ weight) + 2 * c_2 * b_mean * signs
        slope -= c_1 * (b_means[rows] * signs + sign @ (weight * b_means))
        slope_own = 4 * c_0 * (signed @ weight) + 4 * c_2 * a_mean * signs
        slope_own -= 2 * c_1 * (a_means[rows] * signs + sign @ (weight * a_means))
        gradients.append(own * torch.stack([slope, slope_own]))
    moments[1] = torch.stack(
        [weight @ (a_means * b_means), weight @ a_means**2, weight @ b_means**2]
    )
    moments[2] = torch.stack([a_mean * b_mean, a_mean**2, b_mean**2])
    shared, of_scores, of_nuisance = c_0 * moments[0] - c_1 * moments[1] + c_2 * moments[2]
    return _Moments(shared, of_scores, of_nuisance, *torch.cat(gradients, dim=1))


def _coefficients(weight: Tensor, *, unbiased: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return what ``hepdl.evaluate.distances.covariance.coefficients`` does, on the device.

    With three effective events or fewer, or no weight at all, everything is 0.
    """
    squares = weight @ weight
    one = torch.ones_like(squares)
    if not unbiased:
        return one, 2 * one, one
    is_good = (squares > 0) & (squares < 1 / 3)
    n = 1 / torch.where(is_good, squares, 0.1)
    scale = torch.where(is_good, n / (n - 3), 0.0)
    return scale, scale * 2 * n / (n - 2), scale * n * n / ((n - 1) * (n - 2))
