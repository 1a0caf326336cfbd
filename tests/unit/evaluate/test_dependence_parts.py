from __future__ import annotations

import math

import numpy as np
import pytest

from hepdl.errors import DataError
from hepdl.evaluate.distance_correlation import (
    distance_correlation,
    distance_correlation_null,
    unweighted_sample,
)
from hepdl.evaluate.jensen_shannon import expected_null, jensen_shannon
from hepdl.evaluate.kolmogorov_smirnov import kolmogorov_smirnov, kolmogorov_smirnov_null
from hepdl.evaluate.mutual_information import mutual_information


def test_jensen_shannon_of_equal_disjoint_and_overlapping_histograms():
    assert jensen_shannon([1, 2, 3], [10, 20, 30]) == pytest.approx(0.0, abs=1e-16)
    assert jensen_shannon([1, 0], [0, 7]) == 1.0
    assert jensen_shannon([1, 1, 0], [0, 1, 1]) == pytest.approx(0.5, rel=1e-14)


def test_jensen_shannon_keeps_empty_bins_and_clips_negative_ones():
    p, q = [10.0, 0.0, 20.0], [5.0, 5.0, 0.0]
    padded = jensen_shannon([*p, 0.0, 0.0], [*q, 0.0, 0.0])
    assert padded == pytest.approx(float(jensen_shannon(p, q)), rel=1e-14)
    assert jensen_shannon([10.0, -3.0], [5.0, 5.0]) == jensen_shannon([10.0, 0.0], [5.0, 5.0])


def test_jensen_shannon_works_on_stacks_and_an_empty_histogram_is_unknown():
    first = np.array([[1.0, 2.0], [0.0, 0.0]])
    found = jensen_shannon(first, [[2.0, 1.0], [1.0, 1.0]])
    assert found[0] == jensen_shannon([1, 2], [2, 1])
    assert math.isnan(found[1])
    with pytest.raises(DataError, match="histograms of 2 and 3 bins"):
        jensen_shannon([1, 2], [1, 2, 3])


def test_expected_null_divergence_is_that_of_random_splits():
    rng = np.random.default_rng(11)
    n_pass, n_fail, n_bins = 2000, 18_000, 50
    shape = np.full(n_bins, 1.0 / n_bins)
    draws = jensen_shannon(rng.multinomial(n_pass, shape, 400), rng.multinomial(n_fail, shape, 400))
    # 400 draws of relative width sqrt(2/49) = 0.2: 1 % error; next order in 1/n_pass: 1 to 2 %.
    assert draws.mean() == pytest.approx(expected_null(n_bins, n_pass, n_fail), rel=0.07)


def test_kolmogorov_smirnov_of_weighted_samples_equals_replicated_rows():
    rng = np.random.default_rng(12)
    first, second = np.round(rng.normal(size=60), 1), np.round(rng.normal(0.3, 1, 80), 1)
    times_1, times_2 = rng.integers(1, 4, 60), rng.integers(1, 4, 80)
    weighted = kolmogorov_smirnov(first, second, times_1, times_2).value
    replicated = kolmogorov_smirnov(np.repeat(first, times_1), np.repeat(second, times_2)).value
    assert weighted == pytest.approx(replicated, rel=1e-12)


def test_kolmogorov_smirnov_null_is_what_equal_distributions_give():
    rng = np.random.default_rng(13)
    weights = rng.uniform(0.5, 1.5, (2, 1000))
    found = [kolmogorov_smirnov(rng.random(1000), rng.random(1000), *weights) for _ in range(300)]
    values = np.array([f.value for f in found])
    null = found[0].null
    n_effective = [w.sum() ** 2 / np.sum(w**2) for w in weights]
    assert null == kolmogorov_smirnov_null(*n_effective)
    # Relative width 0.30 of Kolmogorov's distribution, 300 draws; finite-sample shift below 2 %.
    assert values.mean() == pytest.approx(null.value, rel=5 * 0.30 / math.sqrt(300) + 0.02)
    inside = np.mean((null.low < values) & (values < null.high))
    assert abs(inside - 0.683) < 5 * math.sqrt(0.683 * 0.317 / 300)


def test_kolmogorov_smirnov_probability_is_one_for_equal_and_tiny_for_different_samples():
    values = np.linspace(0, 1, 500)
    assert kolmogorov_smirnov(values, values).value == pytest.approx(0.0, abs=1e-14)
    assert kolmogorov_smirnov(values, values).probability == 1.0
    assert kolmogorov_smirnov(values, values + 2).value == pytest.approx(1.0, rel=1e-12)
    assert kolmogorov_smirnov(values, values + 2).probability < 1e-50


def test_kolmogorov_smirnov_refuses_a_sample_without_weight():
    with pytest.raises(DataError, match="2 values of the second sample add up to 0"):
        kolmogorov_smirnov([1.0], [1.0, 2.0], None, [1.0, -1.0])
    with pytest.raises(DataError, match="there are no values of the first sample"):
        kolmogorov_smirnov([], [1.0])


def test_distance_correlation_ignores_units_and_order():
    rng = np.random.default_rng(14)
    x, y = rng.normal(size=(2, 300))
    y += x**2
    order = rng.permutation(300)
    reference = distance_correlation(x, y)
    # Sums of 300^2 products in another order.
    for other in (
        distance_correlation(3 - 50 * x, 0.01 * y + 7),
        distance_correlation(x[order], y[order]),
        distance_correlation(y, x),
    ):
        assert other.value == pytest.approx(reference.value, rel=1e-10)
        assert other.error == pytest.approx(reference.error, rel=1e-8)


def test_distance_correlation_with_halved_weights_equals_duplicated_rows():
    rng = np.random.default_rng(15)
    x, y, weight = *rng.normal(size=(2, 100)), rng.exponential(size=100)
    once = distance_correlation(x, y, weight, unbiased=False)
    twice = distance_correlation(*np.tile([x, y, weight / 2], 2), unbiased=False)
    assert twice.value == pytest.approx(once.value, rel=1e-11)


def test_distance_correlation_of_a_line_is_one_and_of_a_constant_zero():
    x = np.random.default_rng(16).normal(size=100)
    for unbiased in (True, False):
        assert distance_correlation(x, 2 * x + 1, unbiased=unbiased).value == pytest.approx(1.0)
        constant = distance_correlation(x, np.ones(100), unbiased=unbiased)
        assert (constant.value, constant.error) == (0.0, 0.0)
    assert not distance_correlation_null(
        x, np.ones(100), n_null=3, generator=np.random.default_rng(0)
    ).any()


def test_distance_correlation_error_is_the_scatter_of_repeated_samples():
    rng = np.random.default_rng(17)
    found = []
    for _ in range(150):
        x, z = rng.normal(size=(2, 300))
        found.append(distance_correlation(x, 0.6 * x + 0.8 * z))
    scatter = np.std([f.value for f in found], ddof=1)
    # 150 samples give the scatter to 6 %; the first-order error lacks terms of about 10 %.
    assert np.mean([f.error for f in found]) == pytest.approx(scatter, rel=5 * 0.06 + 0.1)


def test_distance_correlation_null_has_mean_zero():
    x, y = np.random.default_rng(18).normal(size=(2, 500))
    null = distance_correlation_null(x, x + y, n_null=60, generator=np.random.default_rng(1))
    assert abs(null.mean()) < 5 * null.std() / math.sqrt(60)


@pytest.mark.parametrize(
    ("x", "y", "weight", "unbiased", "match"),
    [
        ([1, 2, 3], [1, 2, 3], None, True, "3 events; a distance correlation needs at least 4"),
        ([1, 2, 3, 4], [1, 2, 3], None, True, "3 second numbers for 4 events"),
        ([1, 2, 3, 4], [1, 2, 3, 4], [1, 1, 1, 1], True, "defined for equal weights"),
        ([1, 2, 3, 4], [1, 2, 3, 4], [1, 1, 1, -1], False, "weights from -1.*absolute"),
    ],
)
def test_distance_correlation_refuses_what_it_cannot_use(x, y, weight, unbiased, match):
    with pytest.raises(DataError, match=match):
        distance_correlation(x, y, weight, unbiased=unbiased)


def test_unweighted_sample_follows_the_weighted_distribution():
    rng = np.random.default_rng(19)
    x = rng.random(20_000)
    weight = np.exp(2 * x)
    index = unweighted_sample(weight, 3000, rng)
    assert len(index) == 3000
    assert len(np.unique(index)) == 3000
    found = kolmogorov_smirnov(x[index], x, None, weight)
    assert found.probability > 1e-6  # five standard deviations
    signs = np.where(rng.random(20_000) < 0.2, -1.0, 1.0)
    assert len(unweighted_sample(weight * signs, 3000, rng)) == 3000


def test_unweighted_sample_never_takes_an_event_twice_nor_without_weight():
    rng = np.random.default_rng(20)
    index = unweighted_sample([1.0, 1.0, 100.0, 0.0], 4096, rng)
    assert len(index) in (1, 2)  # sum / largest = 1.02
    assert len(unweighted_sample(np.ones(50), 4096, rng)) == 50
    assert len(unweighted_sample(np.zeros(3), 4096, rng)) == 0


def test_mutual_information_of_a_normal_pair_with_the_exact_classifier():
    rho, n_events = 0.6, 20_000
    rng = np.random.default_rng(21)
    x, z = rng.normal(size=(2, n_events))
    y = rho * x + math.sqrt(1 - rho**2) * z
    weight = rng.exponential(size=n_events)

    def exact(pairs, label, event_weight):
        assert pairs.shape == (2 * n_events, 2)
        assert label.sum() == n_events
        assert event_weight[:n_events].sum() == pytest.approx(n_events)
        a, b = pairs.T
        exponent = (2 * rho * a * b - rho**2 * (a**2 + b**2)) / (2 * (1 - rho**2))
        ratio = np.exp(exponent) / math.sqrt(1 - rho**2)
        return ratio / (1 + ratio)

    found = mutual_information(x, y, weight, fit_scores=exact, generator=rng)
    expected = -0.5 * math.log2(1 - rho**2)
    assert abs(found.value - expected) < 5 * 0.5 * (found.high - found.low)
    assert found.high - found.low < 0.1


def test_mutual_information_of_a_clueless_classifier_is_zero():
    x, y = np.random.default_rng(22).normal(size=(2, 50))
    found = mutual_information(
        x, y, fit_scores=lambda pairs, _label, _weight: np.full(len(pairs), 0.5),
        generator=np.random.default_rng(0),
    )  # fmt: skip
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_mutual_information_refuses_negative_weights_and_unusable_scores():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="weights from -1"):
        mutual_information([1, 2], [1, 2], [-1, 2], fit_scores=lambda p, _y, _w: p, generator=rng)
    with pytest.raises(DataError, match="3 scores of fit_scores for 4 events"):
        mutual_information(
            [1, 2], [1, 2], fit_scores=lambda _p, _y, _w: np.full(3, 0.5), generator=rng
        )
