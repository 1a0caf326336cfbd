"""Pairs against itertools and the package vector, and what happens without a pair."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import vector

from hepdl.kinematics import from_pt_eta_phi
from hepdl.kinematics.padding import pad
from hepdl.kinematics.pairs import at_largest, at_smallest, mean_of_pairs, pairs_of


def test_pairs_are_those_of_itertools_with_the_values_of_vector() -> None:
    random = np.random.default_rng(5)
    counts = np.array([0, 1, 2, 5, 3])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    n = offsets[-1]
    rows = from_pt_eta_phi(
        random.uniform(20, 200, n), random.uniform(-2.5, 2.5, n), random.uniform(-3.1, 3.1, n),
        mass=random.uniform(0, 20, n),
    )  # fmt: skip
    pairs = pairs_of(*pad(rows, offsets))
    assert pairs.mask.sum(axis=1).tolist() == [0, 0, 1, 10, 3]
    for event, (start, end) in enumerate(itertools.pairwise(offsets)):
        found = np.flatnonzero(pairs.mask[event])
        expected = list(itertools.combinations(range(start, end), 2))
        for k, (i, j) in zip(found, expected, strict=True):
            a, b = (
                vector.obj(px=rows[r, 0], py=rows[r, 1], pz=rows[r, 2], E=rows[r, 3])
                for r in (i, j)
            )
            assert (pairs.first[k] + start, pairs.second[k] + start) == (i, j)
            assert pairs.mass[event, k] == pytest.approx((a + b).mass, rel=1e-12)
            assert pairs.pt[event, k] == pytest.approx((a + b).pt, rel=1e-12)
            assert pairs.delta_r[event, k] == pytest.approx(a.deltaR(b), rel=1e-12)
            assert pairs.delta_eta[event, k] == pytest.approx(abs(a.deltaeta(b)), rel=1e-12)
    for values in (pairs.mass, pairs.pt, pairs.delta_r, pairs.delta_eta):
        assert not values[~pairs.mask].any()


def test_the_extreme_pair_gives_the_value_and_masked_pairs_never_do() -> None:
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    by = np.array([[0.5, 0.1, 0.0], [9.0, 9.0, 9.0]])
    mask = np.array([[True, True, False], [False, True, True]])
    assert at_smallest(values, by, mask).tolist() == [2.0, 5.0]
    assert at_largest(values, by, mask).tolist() == [1.0, 5.0]
    assert mean_of_pairs(values, mask).tolist() == [1.5, 5.5]


@pytest.mark.parametrize("n_pairs", [0, 3])
def test_without_a_pair_there_is_no_value(n_pairs: int) -> None:
    values, mask = np.ones((2, n_pairs)), np.zeros((2, n_pairs), dtype=bool)
    assert np.isnan(at_smallest(values, values, mask)).all()
    assert np.isnan(mean_of_pairs(values, mask)).all()
