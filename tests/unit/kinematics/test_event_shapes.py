"""Closed forms of event shapes, and the double sum as a plain loop."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.polynomial.legendre import Legendre
from numpy.typing import NDArray

from hepdl.kinematics.event_shapes import (
    aplanarity,
    centrality,
    fox_wolfram,
    momentum_tensor_eigenvalues,
    scalar_pt_sum,
    sphericity,
)

Array = NDArray[np.float64]


def massless(*momenta: tuple[float, float, float]) -> tuple[Array, NDArray[np.bool_]]:
    """One event."""
    p3 = np.array([momenta], dtype=np.float64)
    p4 = np.concatenate([p3, np.linalg.norm(p3, axis=2)[..., None]], axis=2)
    return p4, np.ones(p4.shape[:2], dtype=bool)


# Sphericity, aplanarity: two back to back; a triangle; six along the axes; four to the corners of a
# tetrahedron.
TRIANGLE = [(np.cos(a), np.sin(a), 0.0) for a in (0.0, 2 * np.pi / 3, 4 * np.pi / 3)]
AXES = [tuple(sign * row) for sign in (1, -1) for row in np.eye(3)]
TETRAHEDRON = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]


@pytest.mark.parametrize(
    ("momenta", "expected"),
    [
        ([(3, 1, 2), (-3, -1, -2)], (0.0, 0.0)),
        (TRIANGLE, (0.75, 0.0)),
        (AXES, (1.0, 0.5)),
        (TETRAHEDRON, (1.0, 0.5)),
        # p² = 9, 4, 1 along the axes: eigenvalues 9/14, 4/14, 1/14.
        ([(3, 0, 0), (0, 2, 0), (0, 0, 1)], (1.5 * 5 / 14, 1.5 / 14)),
    ],
)
def test_sphericity_and_aplanarity_are_closed_forms(momenta, expected) -> None:
    event = massless(*momenta)
    assert sphericity(*event)[0] == pytest.approx(expected[0], abs=1e-15)
    assert aplanarity(*event)[0] == pytest.approx(expected[1], abs=1e-15)
    assert momentum_tensor_eigenvalues(*event).sum() == pytest.approx(1.0, rel=1e-15)


def test_back_to_back_objects_have_even_moments_one_and_odd_ones_zero() -> None:
    found = fox_wolfram(*massless((3, 1, 2), (-3, -1, -2)), n_orders=6)[0]
    assert found == pytest.approx([1, 0, 1, 0, 1, 0], abs=1e-15)


def test_one_object_has_all_moments_one_and_a_massive_one_its_velocity_squared() -> None:
    p4, mask = massless((1, 2, 2))
    assert fox_wolfram(p4, mask)[0] == pytest.approx(np.ones(5), rel=1e-14)
    p4[..., 3] = 6.0
    assert fox_wolfram(p4, mask)[0] == pytest.approx(np.full(5, 0.25), rel=1e-14)


def test_two_objects_at_right_angles_have_legendre_at_zero() -> None:
    # (p_a² + p_b²) P_l(1) + 2 p_a p_b P_l(0) over (p_a + p_b)², with P_l(0) = 1, 0, -1/2, 0, 3/8.
    found = fox_wolfram(*massless((2, 0, 0), (0, 0, 1)))[0]
    expected = (5 + 4 * np.array([1, 0, -0.5, 0, 0.375])) / 9
    assert found == pytest.approx(expected, rel=1e-14)


def test_moments_are_the_double_sum_and_padding_does_not_count() -> None:
    random = np.random.default_rng(3)
    p3 = random.normal(0.0, 50.0, (20, 7, 3))
    energy = np.sqrt((p3**2).sum(axis=2) + 10.0**2)
    p4 = np.concatenate([p3, energy[..., None]], axis=2)
    mask = random.random((20, 7)) < 0.7
    found = fox_wolfram(p4, mask, n_orders=8)
    for event in range(20):
        rows = p3[event][mask[event]]
        sizes = np.linalg.norm(rows, axis=1)
        for order in range(8):
            total = sum(
                sizes[i] * sizes[j] * Legendre.basis(order)(rows[i] @ rows[j] / sizes[i] / sizes[j])
                for i, j in itertools.product(range(len(rows)), repeat=2)
            )
            expected = total / energy[event][mask[event]].sum() ** 2 if len(rows) else 0.0
            # The sum cancels down from 1.
            assert found[event, order] == pytest.approx(expected, abs=1e-13)


def test_centrality_is_one_over_the_hyperbolic_cosine_of_a_common_pseudorapidity() -> None:
    p4, mask = massless((3, 4, 5 * np.sinh(1.2)), (-6, 8, 10 * np.sinh(1.2)), (1, 1, 7))
    mask[0, 2] = False
    assert centrality(p4, mask)[0] == pytest.approx(1 / np.cosh(1.2), rel=1e-14)
    assert scalar_pt_sum(p4, mask)[0] == pytest.approx(15.0, rel=1e-14)


def test_an_event_without_objects_is_zero_everywhere() -> None:
    p4, mask = massless((3, 4, 5), (1, 0, 0))
    mask[:] = False
    for shape in (sphericity, aplanarity, centrality, scalar_pt_sum, fox_wolfram):
        assert not np.any(shape(p4, mask))
