from __future__ import annotations

import math

import numpy as np
import pytest

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.calibration import calibration_error, reliability_curve


def calibrated(n_events, seed=7):
    rng = np.random.default_rng(seed)
    probability = rng.beta(2.0, 2.0, n_events)
    return (rng.random(n_events) < probability).astype(int), probability, rng


def test_curve_by_hand():
    curve = reliability_curve([0, 1, 0, 1], [0.1, 0.3, 0.6, 0.8], [1.0, 1.0, 1.0, 1.0], n_bins=2)
    np.testing.assert_allclose(curve.mean_score, [0.1, 17.0 / 30.0], rtol=1e-14)
    np.testing.assert_allclose(curve.signal_fraction, [0.0, 2.0 / 3.0], rtol=1e-14)
    np.testing.assert_allclose(curve.sum_of_weights, [1.0, 3.0], rtol=1e-14)
    np.testing.assert_allclose(curve.error, [0.0, math.sqrt(2.0 / 9.0 / 3.0)], rtol=1e-14)


def test_bins_hold_equal_shares_of_weight_and_every_event_is_in_one():
    label, probability, rng = calibrated(5000)
    weight = rng.exponential(size=5000)
    curve = reliability_curve(label, probability, weight, n_bins=10)
    assert curve.sum_of_weights.sum() == pytest.approx(weight.sum(), rel=1e-12)
    # A bin boundary is an event: the shares are exact to the largest weight (about 9 of 500).
    np.testing.assert_allclose(curve.sum_of_weights, weight.sum() / 10, atol=2 * weight.max())


def test_tied_scores_make_fewer_bins():
    curve = reliability_curve([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5], n_bins=10)
    assert len(curve.signal_fraction) == 1
    assert curve.signal_fraction[0] == 0.5


def test_calibrated_scores_have_an_error_that_noise_explains():
    label, probability, rng = calibrated(40_000)
    weight = rng.exponential(size=40_000)
    bootstrap = Bootstrap(np.arange(40_000), n_replicas=100)
    found = calibration_error(label, probability, weight, bootstrap=bootstrap)
    # 15 half-normal terms of nearly one size: relative spread sqrt(pi/2 - 1) / sqrt(15) = 0.2.
    assert found.error.value == pytest.approx(found.null, rel=5 * 0.2)
    assert found.error.low <= found.error.value <= found.error.high


def test_known_shift_is_found():
    label, probability, _ = calibrated(40_000)
    bootstrap = Bootstrap(np.arange(40_000), n_replicas=100)
    found = calibration_error(label, 0.8 * probability + 0.2, bootstrap=bootstrap)
    # score - truth = 0.2 (1 - p), mean 0.1; standard error sqrt(0.2 / 40 000) = 0.0022.
    assert found.error.value == pytest.approx(0.1, abs=5 * 0.0022)
    assert 0.5 * (found.error.high - found.error.low) == pytest.approx(0.0022, rel=0.4)
    assert found.error.value > 5 * found.null


def test_error_equals_the_sum_over_the_curve():
    label, probability, rng = calibrated(2000)
    weight = rng.exponential(size=2000)
    curve = reliability_curve(label, probability**2, weight, n_bins=8)
    found = calibration_error(
        label, probability**2, weight, bootstrap=Bootstrap(np.arange(2000), 20), n_bins=8
    )
    distance = np.abs(curve.signal_fraction - curve.mean_score)
    expected = np.average(distance, weights=curve.sum_of_weights)
    assert found.error.value == pytest.approx(expected, rel=1e-12)


def test_bin_without_positive_weight_is_unknown_and_has_no_share():
    label, scores, weight = [0, 1, 1, 0, 1], [0.1, 0.2, 0.6, 0.7, 0.8], [3.0, -4.0, 4.0, 2.0, 4.0]
    curve = reliability_curve(label, scores, weight, n_bins=2)
    assert np.isnan(curve.signal_fraction).tolist() == (curve.sum_of_weights <= 0).tolist()
    found = calibration_error(label, scores, weight, bootstrap=Bootstrap(np.arange(5), 20))
    assert math.isfinite(found.error.value)


def test_logits_are_refused():
    with pytest.raises(DataError, match=r"score 1.5 at entry 0 is outside \[0, 1\] \(1 of 2\)"):
        reliability_curve([1, 0], [1.5, 0.2])
    with pytest.raises(DataError, match="n_bins is 0; use at least 1"):
        reliability_curve([1, 0], [0.5, 0.2], n_bins=0)
