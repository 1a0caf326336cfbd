"""Metrics against scikit-learn, scipy, dcor's numbers and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, norm
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_curve

from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.bootstrap.ranking import rank
from hepdl.evaluate.distance_correlation import distance_correlation, distance_covariance_squared
from hepdl.evaluate.jensen_shannon import expected_null, jensen_shannon
from hepdl.evaluate.kolmogorov_smirnov import kolmogorov_smirnov
from hepdl.evaluate.roc import auc, background_rejection, roc_curve


def binormal(n_events, distance, rng):
    """Signal N(distance, 1), background N(0, 1), half of the events each."""
    label = np.arange(n_events) % 2
    return label, rng.normal(size=n_events) + distance * label


@pytest.mark.parametrize("digits", [1, 12])
def test_curve_and_area_equal_scikit_learn_for_positive_weights(digits):
    rng = np.random.default_rng(30)
    label, scores = binormal(20_000, 1.2, rng)
    scores = np.round(scores, digits)  # one digit: many ties
    weight = rng.exponential(size=20_000)
    curve = roc_curve(label, scores, weight)
    fpr, tpr, thresholds = sklearn_curve(
        label, scores, sample_weight=weight, drop_intermediate=False
    )
    # Both cumulate 20 000 numbers in double precision: 20 000 epsilon at the very most.
    np.testing.assert_allclose(curve.signal_efficiency, tpr, atol=1e-12)
    np.testing.assert_allclose(curve.background_efficiency, fpr, atol=1e-12)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    expected = roc_auc_score(label, scores, sample_weight=weight)
    assert auc(label, scores, weight) == pytest.approx(expected, abs=1e-12)


def test_area_is_the_rank_integral_over_all_pairs_with_signed_weights():
    rng = np.random.default_rng(31)
    label, scores = binormal(300, 0.7, rng)
    scores = np.round(scores, 1)
    weight = rng.normal(0.6, 1.0, 300)
    s, b = label == 1, label == 0
    above = scores[s][:, None] > scores[b]
    tied = scores[s][:, None] == scores[b]
    pairs = weight[s][:, None] * weight[b] * (above + 0.5 * tied)
    expected = pairs.sum() / (weight[s].sum() * weight[b].sum())
    # Cancellations between signed weights cost about one digit of the sums of 22 500 pairs.
    assert auc(label, scores, weight) == pytest.approx(expected, rel=1e-10)


def test_binormal_area_and_rejection_equal_their_closed_forms():
    distance, n_events = 1.5, 100_000
    label, scores = binormal(n_events, distance, np.random.default_rng(32))
    ranking = rank(label, scores, bootstrap=Bootstrap(np.arange(n_events), n_replicas=60))
    exact = norm.cdf(distance / math.sqrt(2))
    # Five standard errors, each known to 10 % from 60 replicas.
    assert abs(ranking.auc - exact) < 5 * 1.1 * np.std(ranking.auc_replicas)
    for k, efficiency in enumerate(ranking.signal_efficiencies):
        passing = norm.sf(norm.isf(efficiency) + distance)
        error = np.std(np.log(ranking.rejection_replicas[:, k]))
        found = math.log(ranking.background_rejection[k] * passing)
        assert abs(found) < 5 * 1.1 * error
    exact_ks = 2 * norm.cdf(distance / 2) - 1
    assert abs(ranking.ks - exact_ks) < 5 * 1.1 * np.std(ranking.ks_replicas) + 1e-3


def test_doubled_weights_equal_duplicated_rows():
    rng = np.random.default_rng(33)
    label, scores = binormal(2000, 1.0, rng)
    times = rng.integers(1, 4, 2000)
    repeated = np.repeat(label, times), np.repeat(scores, times)
    assert auc(label, scores, times) == pytest.approx(auc(*repeated), rel=1e-12)
    np.testing.assert_allclose(
        background_rejection(label, scores, times), background_rejection(*repeated), rtol=1e-12
    )


def test_event_and_its_negative_copy_change_nothing():
    rng = np.random.default_rng(34)
    label, scores = binormal(2000, 1.0, rng)
    weight = rng.exponential(size=2000)
    extra_label, extra_scores = binormal(500, 3.0, rng)
    extra_weight = rng.exponential(size=500)
    everything = (
        np.concatenate([label, extra_label, extra_label]),
        np.concatenate([scores, extra_scores, extra_scores]),
        np.concatenate([weight, extra_weight, -extra_weight]),
    )
    assert auc(*everything) == pytest.approx(auc(label, scores, weight), rel=1e-12)
    np.testing.assert_allclose(
        background_rejection(*everything), background_rejection(label, scores, weight), rtol=1e-10
    )


def test_signed_weights_estimate_the_same_area_as_positive_ones():
    # A generator that gives +1 and -1 with mean weight 1 in two scores-independent shares: the
    # expectation of every weighted sum, and so the area, is that of weights 1.
    rng = np.random.default_rng(35)
    n_events, distance = 100_000, 1.0
    label, scores = binormal(n_events, distance, rng)
    weight = np.where(rng.random(n_events) < 0.2, -1.0, 1.0) / 0.6
    ranking = rank(label, scores, weight, bootstrap=Bootstrap(np.arange(n_events), n_replicas=60))
    exact = norm.cdf(distance / math.sqrt(2))
    assert abs(ranking.auc - exact) < 5 * 1.1 * np.std(ranking.auc_replicas)


def delong_error(label, scores):
    s, b = scores[label == 1], scores[label == 0]
    wins = (s[:, None] > b) + 0.5 * (s[:, None] == b)
    return math.sqrt(
        np.var(wins.mean(axis=1), ddof=1) / len(s) + np.var(wins.mean(axis=0), ddof=1) / len(b)
    )


def test_bootstrap_error_of_the_area_is_that_of_delong():
    # E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, Biometrics 44 (1988) 837.
    label, scores = binormal(2000, 1.0, np.random.default_rng(36))
    ranking = rank(label, scores, bootstrap=Bootstrap(np.arange(2000), n_replicas=2000))
    # 2000 replicas give a standard deviation to 1.6 %: five of these, and 1/n terms.
    assert np.std(ranking.auc_replicas) == pytest.approx(delong_error(label, scores), rel=0.09)


def test_paired_bootstrap_error_of_a_difference_is_that_of_delong():
    rng = np.random.default_rng(37)
    label, scores = binormal(2000, 1.0, rng)
    other = scores + 0.7 * rng.normal(size=2000)
    bootstrap = Bootstrap(np.arange(2000), n_replicas=2000)
    replicas = [rank(label, x, bootstrap=bootstrap).auc_replicas for x in (scores, other)]
    parts = []
    for x in (scores, other):
        wins = (x[label == 1][:, None] > x[label == 0]).astype(float)
        parts.append((wins.mean(axis=1), wins.mean(axis=0)))
    variances = [np.var(parts[0][k] - parts[1][k], ddof=1) / 1000 for k in (0, 1)]
    assert np.std(replicas[0] - replicas[1]) == pytest.approx(math.sqrt(sum(variances)), rel=0.09)


def test_two_equal_jets_an_event_widen_the_error_by_the_root_of_two():
    label, scores = binormal(2000, 1.0, np.random.default_rng(38))
    label, scores = np.repeat(label, 2), np.repeat(scores, 2)
    errors = [
        np.std(rank(label, scores, bootstrap=Bootstrap(groups, n_replicas=1000)).auc_replicas)
        for groups in (np.arange(4000) // 2, np.arange(4000))
    ]
    # Two standard deviations from 1000 replicas each: 3.2 % on the ratio.
    assert errors[0] / errors[1] == pytest.approx(math.sqrt(2.0), rel=5 * 0.032)


def coverage(n_trials, n_events, n_replicas):
    """Return how often the 68 % intervals hold the true area and rejection at 50 %."""
    rng = np.random.default_rng(39)
    exact_auc = norm.cdf(1.0 / math.sqrt(2))
    exact_rejection = 1.0 / norm.sf(1.0)
    hits = np.zeros(2)
    for trial in range(n_trials):
        label, scores = binormal(n_events, 1.0, rng)
        weight = rng.uniform(0.5, 1.5, n_events)
        bootstrap = Bootstrap(np.arange(n_events), n_replicas=n_replicas, seed=trial)
        ranking = rank(label, scores, weight, bootstrap=bootstrap)
        area, rejection = ranking.auc_interval(), ranking.rejection_intervals()["0.5"]
        hits += [
            area.low <= exact_auc <= area.high,
            rejection.low <= exact_rejection <= rejection.high,
        ]
    return hits / n_trials


def test_bootstrap_intervals_cover_as_often_as_they_say():
    # Binomial share of 300 trials; quantiles from 150 replicas lower the coverage by about 0.01.
    np.testing.assert_allclose(
        coverage(300, 600, 150), 0.683, atol=5 * math.sqrt(0.683 * 0.317 / 300) + 0.01
    )


@pytest.mark.slow
def test_bootstrap_intervals_cover_as_often_as_they_say_in_many_trials():
    np.testing.assert_allclose(
        coverage(4000, 1500, 400), 0.683, atol=5 * math.sqrt(0.683 * 0.317 / 4000) + 0.01
    )


def test_kolmogorov_smirnov_distance_and_probability_equal_scipy():
    rng = np.random.default_rng(40)
    first, second = np.round(rng.normal(size=900), 2), np.round(rng.normal(0.1, 1.0, 700), 2)
    found = kolmogorov_smirnov(first, second)
    expected = ks_2samp(first, second, method="asymp")
    assert found.value == pytest.approx(expected.statistic, abs=1e-13)
    # scipy evaluates the one-sample form at the rounded effective number, which differs by 1/n.
    assert found.probability == pytest.approx(expected.pvalue, rel=0.1)


# Anchor A5: i = 0 ... 49, computed with dcor 0.7; weighted values are those of replicated rows.
INDEX = np.arange(50.0)
X = np.sin(INDEX)
GOLDEN = {
    "y": (X**2 + 0.3 * np.cos(2.3 * INDEX), 0.13994044797578062, 0.09533355773090037,
          0.023475558155533094, 0.14744710847052084, 0.02444766549275118),
    "z": (np.cos(0.7 * INDEX + 0.2), 0.018239332123674415, -0.025279611718769905,
          0.0057814277004205605, 0.019707861375055626, 0.00610503081536351),
    "x^3": (X**3, 0.9039446533361173, 0.9023872699485943,
            0.19269076821295572, 0.9010983915184703, 0.18829551318099036),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_distance_correlation_equals_the_numbers_of_dcor(name):
    y, biased, unbiased, covariance, weighted, weighted_covariance = GOLDEN[name]
    weight = 1 + INDEX % 3
    # 2500 products of distances of order one in double precision.
    close = {"rel": 1e-10, "abs": 1e-13}
    assert distance_correlation(X, y, unbiased=False).value == pytest.approx(biased, **close)
    assert distance_correlation(X, y).value == pytest.approx(unbiased, **close)
    assert distance_covariance_squared(X, y, unbiased=False) == pytest.approx(covariance, **close)
    found = distance_correlation(X, y, weight, unbiased=False)
    assert found.value == pytest.approx(weighted, **close)
    found_covariance = distance_covariance_squared(X, y, weight, unbiased=False)
    assert found_covariance == pytest.approx(weighted_covariance, **close)


@pytest.mark.parametrize(("rho", "exact"), [(0.3, 0.07236159954417522), (0.8, 0.5698691901354817)])
def test_distance_correlation_of_a_normal_pair_equals_its_closed_form(rho, exact):
    rng = np.random.default_rng(41)
    x, z = rng.normal(size=(2, 3000))
    found = distance_correlation(x, rho * x + math.sqrt(1 - rho**2) * z)
    assert abs(found.value - exact) < 5 * found.error


def test_biased_distance_correlation_of_independent_numbers_is_that_of_the_anchor():
    rng = np.random.default_rng(42)
    found = [distance_correlation(*rng.normal(size=(2, 256)), unbiased=False).value
             for _ in range(50)]  # fmt: skip
    # Anchor A4: 0.0101 for n = 256; scatter of one value about 0.004.
    assert np.mean(found) == pytest.approx(0.0101, abs=5 * 0.004 / math.sqrt(50))


def test_jensen_shannon_equals_scipy_and_the_anchor():
    p, q = [10, 20, 30, 25, 15], [5, 15, 25, 30, 25]
    assert jensen_shannon(p, q) == pytest.approx(0.021109471742600163, rel=1e-12)
    # scipy returns the root.
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, base=2) ** 2, rel=1e-12)
    assert expected_null(50, 1e4, 9e4) == pytest.approx(9.82e-4, rel=1e-3)
    assert expected_null(50, 1e3, 9.9e4) == pytest.approx(8.93e-3, rel=1e-3)
