from __future__ import annotations

import math

import numpy as np
import pytest

from hepdl.errors import DataError
from hepdl.evaluate.roc import (
    auc,
    background_rejection,
    effective_number,
    rejection_lower_bound,
    roc_curve,
    working_point,
)


def test_perfect_wrong_and_constant_scores_have_the_known_areas():
    label = np.array([1, 1, 0, 0])
    assert auc(label, [4, 3, 2, 1]) == 1.0
    assert auc(label, [1, 2, 3, 4]) == 0.0
    assert auc(label, [5, 5, 5, 5]) == 0.5  # ties count one half


def test_curve_starts_at_the_origin_and_ends_at_one_with_one_point_per_distinct_score():
    curve = roc_curve([1, 0, 1, 0, 0], [0.9, 0.9, 0.4, 0.4, 0.1], [1.0, 2.0, 3.0, 1.0, 1.0])
    np.testing.assert_array_equal(curve.thresholds, [np.inf, 0.9, 0.4, 0.1])
    np.testing.assert_allclose(curve.signal_efficiency, [0.0, 0.25, 1.0, 1.0], rtol=1e-15)
    np.testing.assert_allclose(curve.background_efficiency, [0.0, 0.5, 0.75, 1.0], rtol=1e-15)


def test_rejection_is_interpolated_linearly_in_the_background_efficiency():
    # Points (0.5, 0.25) and (1, 0.75): half way between them, a quarter passes more.
    label = [1, 0, 1, 0, 0, 0]
    scores = [3, 3, 2, 2, 2, 1]
    found = background_rejection(label, scores, signal_efficiencies=(0.5, 0.75, 1.0))
    np.testing.assert_allclose(found, [4.0, 2.0, 4.0 / 3.0], rtol=1e-14)


def test_rejection_at_a_plateau_takes_the_tightest_threshold():
    # Signal efficiency is 0.5 from 4 down to 2, where more and more background passes.
    found = background_rejection([1, 0, 0, 1], [4, 3, 2, 1], signal_efficiencies=(0.5,))
    assert found[0] == np.inf


def test_order_of_the_wanted_efficiencies_does_not_matter():
    rng = np.random.default_rng(1)
    label, scores = rng.integers(0, 2, 500), rng.normal(size=500)
    forward = background_rejection(label, scores, signal_efficiencies=(0.2, 0.5, 0.9))
    backward = background_rejection(label, scores, signal_efficiencies=(0.9, 0.5, 0.2))
    np.testing.assert_array_equal(forward, backward[::-1])


def test_no_passing_background_gives_an_infinite_rejection_with_a_lower_bound():
    label = np.array([1] * 10 + [0] * 50)
    scores = np.where(label == 1, 1.0, 0.0)
    assert background_rejection(label, scores, signal_efficiencies=(0.5,))[0] == np.inf
    # 50 events, none passes: the mean is below -ln(0.32) = 1.139 at 68 % confidence.
    assert rejection_lower_bound(label) == pytest.approx(50 / 1.1394343, rel=1e-7)
    assert rejection_lower_bound(label, np.full(60, 3.0)) == pytest.approx(
        rejection_lower_bound(label), rel=1e-12
    )


def test_with_a_signed_curve_the_working_point_is_the_first_crossing():
    label = [1, 1, 1, 0, 0]
    scores = [5, 4, 3, 2, 1]
    weight = [3.0, -2.0, 1.0, 1.0, 1.0]  # efficiencies 1.5, 0.5, 1
    curve = roc_curve(label, scores, weight)
    np.testing.assert_allclose(curve.signal_efficiency, [0, 1.5, 0.5, 1, 1, 1], rtol=1e-15)
    assert working_point(label, scores, weight, signal_efficiency=0.9) == 5.0
    assert auc(label, scores, weight) == pytest.approx(1.0, rel=1e-15)


def test_working_point_keeps_at_least_the_wanted_share():
    rng = np.random.default_rng(2)
    label, scores, weight = rng.integers(0, 2, 999), rng.normal(size=999), rng.exponential(size=999)
    signal = label == 1
    for wanted in (0.1, 0.5, 0.93):
        cut = working_point(label, scores, weight, signal_efficiency=wanted)
        kept = weight[signal & (scores >= cut)].sum() / weight[signal].sum()
        less = weight[signal & (scores > cut)].sum() / weight[signal].sum()
        assert less < wanted <= kept


def test_effective_number_of_equal_weights_is_their_number():
    assert effective_number(np.full(7, 0.3)) == pytest.approx(7.0, rel=1e-14)
    assert effective_number([1.0, 0.0, 0.0]) == 1.0
    assert effective_number([]) == 0.0


@pytest.mark.parametrize(
    ("label", "scores", "weight", "match"),
    [
        ([1, 1], [0.1, 0.2], None, r"no background among 2 events \(label 0\).*all are signal"),
        ([0, 0], [0.1, 0.2], None, r"no signal among 2 events \(label 1\)"),
        ([1, 0], [0.1, math.nan], None, r"1 of 2 scores are not finite.*nan at entry 1"),
        ([1, 0], [math.inf, 0.1], None, r"first is inf at entry 0"),
        ([1, 0, 1], [0.1, 0.2], None, r"labels have shape \(3,\) for 2 scores"),
        ([1, 0], [0.1, 0.2], [1.0], r"1 event weights for 2 events"),
        ([1, 0], [0.1, 0.2], [1.0, math.nan], r"event weights are not finite"),
        ([1, 2], [0.1, 0.2], None, r"label 2 at entry 1 is neither 1 \(signal\)"),
        ([1, 0, 0], [0.1, 0.2, 0.3], [1, 1, -2], r"of the 2 background events add up to -1"),
        ([], [], None, r"there are no scores: the sample is empty"),
        ([[1], [0]], [[0.1], [0.2]], None, r"scores have shape \(2, 1\)"),
    ],
)
def test_unusable_columns_are_refused_with_their_values(label, scores, weight, match):
    with pytest.raises(DataError, match=match):
        auc(label, scores, weight)


@pytest.mark.parametrize("efficiency", [0.0, -0.1, 1.1, math.nan])
def test_working_points_outside_zero_to_one_are_refused(efficiency):
    with pytest.raises(DataError, match=r"is outside \(0, 1\]"):
        background_rejection([1, 0], [1, 0], signal_efficiencies=(efficiency,))
