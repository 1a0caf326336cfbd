from __future__ import annotations

import math

import numpy as np
import pytest

from hepdl.errors import DataError
from hepdl.evaluate.efficiency import binned_efficiency, efficiencies_at


def test_efficiency_by_hand_with_wilson_interval():
    values = np.repeat([0.5, 1.5], [8, 4])
    passed = np.array([1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1], dtype=bool)
    found = binned_efficiency(values, passed, edges=[0, 1, 2])
    np.testing.assert_allclose(found.value, [0.25, 1.0], rtol=1e-15)
    np.testing.assert_allclose(found.sum_of_weights, [8.0, 4.0], rtol=1e-15)
    n, share = 8, 0.25
    centre = (share + 0.5 / n) / (1 + 1 / n)
    root = math.sqrt(share * (1 - share) / n + 0.25 / n**2) / (1 + 1 / n)
    np.testing.assert_allclose(
        [found.low[0], found.high[0]], [centre - root, centre + root], rtol=1e-14
    )
    # All of n pass: the lower end is n / (n + 1).
    np.testing.assert_allclose([found.low[1], found.high[1]], [4 / 5, 1.0], rtol=1e-14)


def test_equal_weights_do_not_change_the_interval():
    rng = np.random.default_rng(8)
    values, passed = rng.random(300), rng.random(300) < 0.3
    plain = binned_efficiency(values, passed, edges=[0, 0.4, 1])
    weighted = binned_efficiency(values, passed, np.full(300, 0.01), edges=[0, 0.4, 1])
    for name in ("value", "low", "high"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(plain, name), rtol=1e-11)


def test_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(9)
    n_trials, n_events, truth = 600, 200, 0.15
    edges = np.arange(n_trials + 1) - 0.5
    trial = np.repeat(np.arange(n_trials), n_events)
    passed = rng.random(trial.size) < truth
    weight = rng.uniform(0.5, 1.5, trial.size)
    found = binned_efficiency(trial, passed, weight, edges=edges)
    coverage = np.mean((found.low <= truth) & (truth <= found.high))
    # 5 sigma of a binomial share of 600 trials.
    assert abs(coverage - 0.683) < 5 * math.sqrt(0.683 * 0.317 / n_trials)


def test_empty_bin_is_unknown_and_events_outside_are_in_none():
    found = binned_efficiency([-1.0, 0.5, 2.0, 5.0], [1, 1, 0, 1], edges=[0, 1, 1.5, 2])
    assert found.value[0] == 1.0
    assert math.isnan(found.value[1])
    assert found.value[2] == 0.0  # the last bin holds its upper end
    assert found.sum_of_weights.sum() == 2.0


def test_negative_weights_leave_the_plain_error_outside_zero_to_one():
    found = binned_efficiency([0.5, 0.5, 0.5], [1, 1, 0], [2.0, 1.0, -1.0], edges=[0, 1])
    assert found.value[0] == 1.5
    assert found.low[0] < 1.5 < found.high[0]


def test_classes_at_a_working_point_reproduce_the_overall_efficiency():
    rng = np.random.default_rng(10)
    label = rng.integers(0, 2, 4000)
    scores, mass = rng.normal(size=4000) + label, rng.uniform(0, 200, 4000)
    weight = rng.exponential(size=4000)
    found = efficiencies_at(
        label, scores, mass, weight, edges=np.linspace(0, 200, 6), signal_efficiency=0.4
    )
    signal = found["signal"]
    overall = np.average(signal.value, weights=signal.sum_of_weights)
    # The threshold is an event: exact to one weight of about 10 in 2000.
    assert overall == pytest.approx(0.4, abs=0.005)
    assert found["background"].value.max() < 0.4


def test_unusable_input_is_refused():
    with pytest.raises(DataError, match=r"bin edges \[1.0, 0.0\] do not rise"):
        binned_efficiency([0.5], [1], edges=[1, 0])
    with pytest.raises(DataError, match=r"bin edges \[0.0, inf\]"):
        binned_efficiency([0.5], [1], edges=[0, math.inf])
    with pytest.raises(DataError, match="2 pass flags for 1 events"):
        binned_efficiency([0.5], [1, 0], edges=[0, 1])
    with pytest.raises(DataError, match="3 values for 2 events"):
        efficiencies_at([1, 0], [1, 0], [1, 2, 3], edges=[0, 1])
