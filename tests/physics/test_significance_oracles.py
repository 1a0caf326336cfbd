"""Significances against likelihoods that are maximised, closed forms, 50 digits and toys."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import xlogy
from scipy.stats import norm

from hepdl.evaluate.binned_significance import binned_significance, equal_signal_edges
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.significance import (
    asimov_significance,
    combined_significance,
    significance_scan,
)

COUNTS = [(50.0, 100.0, 7.0), (3.0, 0.8, 0.4), (12.0, 400.0, 60.0), (0.5, 20.0, 1.0)]


def minus_two_log_likelihood(n, m, mean_n, mean_m):
    """Of two Poisson counts, without what does not depend on the means."""
    return 2.0 * (mean_n - xlogy(n, mean_n) + mean_m - xlogy(m, mean_m))


def test_documented_value_of_cranmer_and_cowan_is_reproduced():
    # github.com/cranmer/fast-asimov-utils: "50 signal events, 100 +/- 7 background": 3.72 sigma.
    assert float(asimov_significance(50.0, 100.0, 7.0)) == pytest.approx(3.72, abs=0.005)


@pytest.mark.parametrize(("s", "b", "error"), COUNTS)
def test_significance_is_the_profile_likelihood_ratio_maximised_numerically(s, b, error):
    tau = b / error**2
    n, m = s + b, tau * b

    def without_signal(log_b):
        return minus_two_log_likelihood(n, m, np.exp(log_b), tau * np.exp(log_b))

    def with_signal(logs):
        signal, background = np.exp(logs)
        return minus_two_log_likelihood(n, m, signal + background, tau * background)

    span = (math.log(b) - 5.0, math.log(b + s) + 5.0)
    null = minimize_scalar(without_signal, bounds=span, method="bounded", options={"xatol": 1e-9})
    start = np.log([0.7 * s, 1.3 * b])
    free = minimize(
        with_signal, start, method="Nelder-Mead", options={"fatol": 1e-12, "xatol": 1e-9}
    )
    # The Asimov data are fitted by what they were made with.
    np.testing.assert_allclose(np.exp(free.x), [s, b], rtol=1e-3)
    # Two minima, each exact to some 1e-11 of likelihoods of size 1000.
    assert float(asimov_significance(s, b, error)) ** 2 == pytest.approx(
        null.fun - free.fun, abs=1e-8
    )


@pytest.mark.parametrize(("s", "b", "error"), COUNTS)
def test_significance_is_that_of_li_and_ma_for_the_same_counts(s, b, error):
    # Astrophys. J. 272 (1983) 317, eq. 17, with n_on = s + b, n_off = tau b, alpha = 1 / tau.
    alpha = error**2 / b
    on, off = s + b, b / alpha
    expected = math.sqrt(
        2.0
        * (
            on * math.log((1.0 + alpha) / alpha * on / (on + off))
            + off * math.log((1.0 + alpha) * off / (on + off))
        )
    )
    # Here two large logarithms cancel to about five digits for the smallest significance.
    assert float(asimov_significance(s, b, error)) == pytest.approx(expected, rel=1e-9)


def with_sixty_digits(s, b, error):
    """Cowan's formula as he writes it."""
    with localcontext() as context:
        context.prec = 60
        s, b, v = Decimal(s), Decimal(b), Decimal(error) ** 2
        first = (s + b) * ((s + b) * (b + v) / (b * b + (s + b) * v)).ln()
        second = b * b / v * (1 + v * s / (b * (b + v))).ln()
        return float((2 * (first - second)).sqrt())


def test_no_digit_is_lost_where_signal_or_error_are_small():
    rng = np.random.default_rng(60)
    s, b, relative = (10.0 ** rng.uniform(*ends, 2000) for ends in ((-8, 6), (-6, 8), (-8, 1)))
    error = relative * b
    exact = np.array([with_sixty_digits(*row) for row in zip(s, b, error, strict=True)])
    off = np.abs(asimov_significance(s, b, error) / exact - 1.0)
    # What the docstring promises.
    assert np.all(off < 2e-14 * (1.0 + error**2 / b))


def test_limits_of_small_error_and_small_signal_are_the_usual_formulae():
    s, b = np.array([0.1, 5.0, 300.0]), np.array([3.0, 80.0, 10.0])
    without = np.sqrt(2.0 * ((s + b) * np.log(1.0 + s / b) - s))
    np.testing.assert_allclose(asimov_significance(s, b), without, rtol=1e-12)
    # The first correction is of relative size sigma^2 / b, here below 1e-9.
    np.testing.assert_allclose(asimov_significance(s, b, 1e-5 * np.sqrt(b)), without, rtol=1e-8)
    error = np.array([0.5, 8.0, 3.0])
    # s << b: s / sqrt(b + sigma^2), up to s / b.
    np.testing.assert_allclose(
        asimov_significance(1e-6 * b, b, error), 1e-6 * b / np.sqrt(b + error**2), rtol=1e-6
    )


def test_significance_is_the_median_of_toy_experiments():
    s, b, error, n_toys = 40.0, 200.0, 15.0, 40_000
    tau = b / error**2
    rng = np.random.default_rng(61)
    n, m = rng.poisson(s + b, n_toys), rng.poisson(tau * b, n_toys)
    together = (n + m) / (1.0 + tau)  # the background that fits best if there is no signal
    q = minus_two_log_likelihood(n, m, together, tau * together) - minus_two_log_likelihood(
        n, m, n.astype(float), m.astype(float)
    )
    z = np.sign(n - m / tau) * np.sqrt(np.maximum(q, 0.0))
    # A median of n values of spread 1 has the error sqrt(pi / 2 n); beyond it, Asimov data are the
    # median of counts up to a third of an event, which is 0.33 / sqrt(b) here.
    allowed = 5.0 * math.sqrt(0.5 * math.pi / n_toys) + 0.33 / math.sqrt(b)
    assert float(asimov_significance(s, b, error)) == pytest.approx(np.median(z), abs=allowed)
    # Beyond the median: the whole distribution is that of a number of unit width.
    assert np.std(z) == pytest.approx(1.0, abs=0.05)


def poisson_sample(rng, n_mean, *, signal=50.0, background=1000.0):
    """Signal N(1.2, 1) and background N(0, 1) with weights; a Poisson number of entries of each."""
    sizes = rng.poisson(0.5 * n_mean, 2)
    label = np.repeat([1, 0], sizes)
    scores = rng.normal(size=len(label)) + 1.2 * label
    per_entry = np.where(label == 1, signal, background) / (0.5 * n_mean)
    return label, scores, rng.exponential(size=len(label)) * per_entry


def exact_yields(inner):
    ends = np.concatenate([[-np.inf], inner, [np.inf]])
    return 50.0 * np.diff(norm.cdf(ends - 1.2)), 1000.0 * np.diff(norm.cdf(ends))


def test_scan_finds_the_exact_significance_of_gaussian_scores():
    n_events = 60_000
    label, scores, weight = poisson_sample(np.random.default_rng(62), n_events)
    thresholds = np.array([-1.0, 0.0, 1.0, 2.0])
    found = significance_scan(
        label, scores, weight,
        thresholds=thresholds,
        bootstrap=Bootstrap(np.arange(len(label)), n_replicas=200),
        relative_background_uncertainty=0.1,
    )  # fmt: skip
    cuts = found.thresholds
    s, b = 50.0 * norm.sf(cuts - 1.2), 1000.0 * norm.sf(cuts)
    error = 0.5 * (found.high - found.low)
    # 200 replicas give half a 68 % interval to about 6 %.
    assert np.all(np.abs(found.value - asimov_significance(s, b, 0.1 * b)) < 5 * 1.1 * error)
    assert np.all(error < 0.05 * found.value)


def coverage(n_trials, n_events, n_bins):
    """How often the intervals of a cut, and of the histogram, hold the exact significance."""
    rng = np.random.default_rng(63)
    inner = np.sort(norm.isf(np.arange(1, n_bins) / n_bins) + 1.2)
    s, b = exact_yields(inner)
    truth = float(combined_significance(asimov_significance(s, b, 0.1 * b)))
    s_cut, b_cut = 50.0 * norm.sf(0.2), 1000.0 * norm.sf(1.4)
    truth_cut = float(asimov_significance(s_cut, b_cut, 0.1 * b_cut))
    hits = np.zeros(2)
    for _ in range(n_trials):
        sample = poisson_sample(rng, n_events)
        common = {
            "bootstrap": Bootstrap(np.arange(len(sample[0])), n_replicas=100),
            "relative_background_uncertainty": 0.1,
        }
        total = binned_significance(*sample, inner_edges=inner, **common).total
        cut = significance_scan(*sample, thresholds=[1.4], **common).interval(0)
        hits += [total.low <= truth <= total.high, cut.low <= truth_cut <= cut.high]
    return hits / n_trials


def test_intervals_cover_as_often_as_they_say():
    n_trials = 300
    histogram, cut = coverage(n_trials, 3000, 3)
    five_sigma = 5 * math.sqrt(0.683 * 0.317 / n_trials)
    assert abs(histogram - 0.683) < five_sigma
    assert abs(cut - 0.683) < five_sigma


def test_histogram_of_many_bins_approaches_the_sum_over_all_scores():
    # For b known exactly, Z^2 / 2 = sum of b h(s / b) over bins, an integral in the limit.
    grid = np.linspace(-6.0, 8.0, 20_001)
    s, b = 50.0 * norm.pdf(grid - 1.2), 1000.0 * norm.pdf(grid)
    density = 2.0 * ((s + b) * np.log1p(s / b) - s)
    limit = math.sqrt(float(np.sum(density) * (grid[1] - grid[0])))
    coarse, fine = (
        float(combined_significance(asimov_significance(*exact_yields(inner))))
        for inner in (np.linspace(-2.0, 4.0, 7), np.linspace(-5.0, 7.0, 400))
    )
    assert coarse < fine < limit
    assert fine == pytest.approx(limit, rel=1e-3)


def test_edges_of_another_sample_hold_equal_signal_to_their_statistical_error():
    rng = np.random.default_rng(64)
    label, scores, weight = poisson_sample(rng, 20_000)
    inner = equal_signal_edges(label, scores, weight, n_bins=5)
    shares = exact_yields(inner)[0] / 50.0
    # A share of weighted entries: exponential weights double the variance of a count.
    error = math.sqrt(2.0 * 0.2 * 0.8 / 10_000)
    assert np.all(np.abs(shares - 0.2) < 5.0 * math.sqrt(2.0) * error)
