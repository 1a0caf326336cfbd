from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hepdl.layers.spline_flow import ConditionalSpline, rational_quadratic


def drawn(n_events: int, n_knots: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n_events, n_knots), (n_events, n_knots), (n_events, n_knots + 1))
    widths, heights, slopes = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes
    )
    return widths, heights, slopes


def test_parameters_of_zero_are_the_identity() -> None:
    u = torch.linspace(0, 1, 101, dtype=torch.float64)
    zeros = torch.zeros(101, 8, dtype=torch.float64)
    value, log_slope = rational_quadratic(u, zeros, zeros, torch.zeros(101, 9, dtype=torch.float64))
    # Widths are sums of eight eighths.
    torch.testing.assert_close(value, u, atol=1e-14, rtol=0)
    torch.testing.assert_close(log_slope, torch.zeros_like(u), atol=1e-13, rtol=0)


def test_rises_from_zero_to_one_with_the_derivative_that_it_says() -> None:
    u = torch.linspace(0, 1, 2001, dtype=torch.float64)
    one = [x.expand(2001, -1) for x in drawn(1, 10)]
    value, _log_slope = rational_quadratic(u, *one)
    assert value[0] == 0
    assert value[-1] == pytest.approx(1, abs=1e-12)
    assert bool((value.diff() > 0).all())
    inside = u[1:-1].clone().requires_grad_()
    found, logs = rational_quadratic(inside, *(x[1:-1] for x in one))
    (slope,) = torch.autograd.grad(found.sum(), inside)
    torch.testing.assert_close(torch.log(slope), logs, atol=1e-9, rtol=0)


def test_the_density_integrates_to_one_for_every_context() -> None:
    torch.manual_seed(1)
    spline = ConditionalSpline(2, n_knots=6, hidden=(8,)).double()
    for parameter in spline.parameters():
        torch.nn.init.normal_(parameter)
    u = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    for context in torch.randn(3, 2, dtype=torch.float64):
        _, log_density = spline(u, context.expand(4000, 2))
        # The rule of midpoints is off by the square of the step times a second derivative, at kinks by more:
        # slopes of random parameters jump by orders of magnitude.
        assert log_density.exp().mean().item() == pytest.approx(1, abs=0.01)


def test_a_new_spline_knows_nothing_of_the_context() -> None:
    spline = ConditionalSpline(3)
    value, log_density = spline(torch.rand(50), torch.randn(50, 3))
    assert bool((log_density.abs() < 1e-5).all())
    assert value.shape == (50,)


def test_learns_a_density_that_depends_on_the_context() -> None:
    torch.manual_seed(2)
    spline = ConditionalSpline(1, hidden=(16,))
    context = (torch.arange(2000) % 2).float()[:, None]
    # u = v^2 has the distribution function sqrt(u), u = 1 - v^2 that of 1 - sqrt(1 - u).
    v = (torch.arange(2000) + 0.5) / 2000
    u = torch.where(context[:, 0] == 0, v.square(), 1 - v.square())
    optimizer = torch.optim.Adam(spline.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        (-spline(u, context)[1]).mean().backward()
        optimizer.step()
    grid = torch.tensor([0.1, 0.3, 0.6, 0.9])
    first = spline(grid, torch.zeros(4, 1))[0]
    second = spline(grid, torch.ones(4, 1))[0]
    assert first.tolist() == pytest.approx(grid.sqrt().tolist(), abs=0.03)
    assert second.tolist() == pytest.approx((1 - (1 - grid).sqrt()).tolist(), abs=0.03)
