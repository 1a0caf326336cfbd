"""Centre and scale that belong to a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hepdl.errors import DataError
from hepdl.layers.standardisation import Standardisation


def drawn(n: int = 200) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    values = 80 + 10 * torch.randn(n, 3, 2, generator=generator)
    return values, torch.rand(n, generator=generator)


def test_moments_are_those_of_numpy_whatever_the_pieces() -> None:
    values, weight = drawn()
    scaling = Standardisation((3, 2))
    scaling.fit(lambda: zip(values.split(37), weight.split(37), strict=True), what="test")
    w, x = weight.double().numpy(), values.double().numpy()
    mean = np.average(x, axis=0, weights=w)
    std = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w))
    # Kept in float32.
    np.testing.assert_allclose(scaling.center, mean, rtol=1e-6)
    np.testing.assert_allclose(scaling.scale, std, rtol=1e-6)
    np.testing.assert_allclose(scaling(values), (x - mean) / std, atol=1e-5)


def test_a_group_shares_its_moments() -> None:
    values, weight = drawn()
    scaling = Standardisation((3, 2), groups=(0, 1, 0))
    scaling.fit(lambda: [(values, weight)], what="test")
    both = np.concatenate([values[:, 0], values[:, 2]]).astype(np.float64)
    w = np.tile(weight.double().numpy(), 2)
    mean = np.average(both, axis=0, weights=w)
    std = np.sqrt(np.average((both - mean) ** 2, axis=0, weights=w))
    for place in (0, 2):
        np.testing.assert_allclose(scaling.center[place], mean, rtol=1e-6)
        np.testing.assert_allclose(scaling.scale[place], std, rtol=1e-6)
    alone = values[:, 1].double().numpy()
    np.testing.assert_allclose(
        scaling.center[1], np.average(alone, axis=0, weights=weight.double().numpy()), rtol=1e-6
    )


def test_a_column_that_is_constant_but_for_rounding_becomes_nothing() -> None:
    values, weight = drawn()
    values[:, 1, 0] = 1 + 1.2e-7 * torch.arange(len(values)).remainder(2)
    values[:, 2, 1] = 0.0
    scaling = Standardisation((3, 2))
    scaling.fit(lambda: [(values, weight)], what="test")
    assert scaling.scale[1, 0] == scaling.scale[2, 1] == 1
    # One ulp of 1 is left.
    assert scaling(values)[:, 1, 0].abs().max() < 2e-7
    assert not scaling(values)[:, 2, 1].any()
    assert scaling.scale[0, 0] == pytest.approx(10, rel=0.2)


def test_it_does_nothing_before_it_is_fitted_and_survives_the_disk() -> None:
    values, weight = drawn()
    scaling, other = Standardisation((3, 2)), Standardisation((3, 2))
    assert torch.equal(scaling(values), values)
    scaling.fit(lambda: [(values, weight)], what="test")
    other.load_state_dict(scaling.state_dict())
    assert torch.equal(scaling(values), other(values))
    assert not list(scaling.parameters())


def test_what_cannot_be_fitted_is_refused() -> None:
    values, weight = drawn()
    scaling = Standardisation((3, 2))
    with pytest.raises(DataError, match="test: 200 rows with a total weight of 0, nothing to fit"):
        scaling.fit(lambda: [(values, 0 * weight)], what="test")
    values[5, 2, 1] = float("nan")
    with pytest.raises(DataError, match=r"test: column \[2, 1\] is not finite"):
        scaling.fit(lambda: [(values, weight)], what="test")
