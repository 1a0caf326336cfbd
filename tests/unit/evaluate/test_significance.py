"""The rules of significances: what is summed, what is unknown, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hepdl.errors import ConfigError, DataError
from hepdl.evaluate.binned_significance import binned_significance, equal_signal_edges
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.significance import (
    asimov_significance,
    combined_significance,
    significance_scan,
)

N = 2000


def sample(seed=0, *, signed=False):
    """Return label, scores and weights; a fifth of the weights is negative if wanted."""
    rng = np.random.default_rng(seed)
    label = np.arange(N) % 2
    weight = rng.exponential(size=N) * np.where(label == 1, 0.05, 1.0)
    if signed:
        weight *= np.where(rng.random(N) < 0.2, -1.0, 1.0)
    return label, rng.normal(size=N) + label, weight


BOOTSTRAP = Bootstrap(np.arange(N), n_replicas=50)


def test_edge_cases_of_the_formula():
    found = asimov_significance(
        [0, -1, 5, 5, 0, 5, 5], [1, 1, 0, 0, 0, -1, np.nan], [0, 0, 0, 1, 0, 0, 0]
    )
    np.testing.assert_array_equal(found, [0, 0, np.inf, 0, 0, np.nan, np.nan])
    # Towards the limits there is no jump: without background but with an error nothing is known.
    assert float(asimov_significance(5.0, 1e-12, 1.0)) < 1e-5
    assert float(asimov_significance(5.0, 1e-300)) > 80.0


def test_arrays_are_broadcast_and_equal_numbers_one_by_one():
    s, b = np.array([[1.0], [20.0]]), np.array([3.0, 50.0, 1e4])
    found = asimov_significance(s, b, 0.1 * b)
    assert found.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            one = asimov_significance(s[i, 0], b[j], 0.1 * b[j])
            assert found[i, j] == one


def test_error_of_the_background_and_background_itself_cost_significance():
    errors = np.linspace(0.0, 50.0, 26)
    assert np.all(np.diff(asimov_significance(20.0, 100.0, errors)) < 0.0)
    # At the same relative error; with the same absolute one a smaller background is less well known.
    b = np.linspace(1.0, 500.0)
    assert np.all(np.diff(asimov_significance(20.0, b, 0.1 * b)) < 0.0)
    assert np.all(np.diff(asimov_significance(np.linspace(0.0, 50.0), 100.0, 3.0)) > 0.0)


def test_combination_is_the_root_of_the_sum_of_squares_and_leaves_out_what_is_unknown():
    found = combined_significance([[3.0, 4.0, np.nan], [1.0, 2.0, 2.0]])
    np.testing.assert_allclose(found, [5.0, 3.0], rtol=1e-15)
    np.testing.assert_allclose(combined_significance([[3.0], [4.0]], axis=0), [5.0], rtol=1e-15)
    # Two halves of one count, without uncertainty, are worth as much as the whole.
    halves = combined_significance(asimov_significance([10.0, 10.0], [50.0, 50.0]))
    assert float(halves) == pytest.approx(float(asimov_significance(20.0, 100.0)), rel=1e-12)


@pytest.mark.parametrize("signed", [False, True])
def test_scan_is_the_plain_sum_over_what_passes(signed):
    label, scores, weight = sample(signed=signed)
    found = significance_scan(
        label, scores, weight,
        bootstrap=BOOTSTRAP, relative_background_uncertainty=0.2, thresholds=[1.5, -0.5, 0.25],
    )  # fmt: skip
    np.testing.assert_array_equal(found.thresholds, [1.5, 0.25, -0.5])
    for k, threshold in enumerate(found.thresholds):
        passes = scores >= threshold
        s, b = (weight[passes & (label == code)] for code in (1, 0))
        # Sums of at most 2000 numbers in another order.
        assert found.yields.signal[k] == pytest.approx(s.sum(), rel=1e-11)
        assert found.yields.background[k] == pytest.approx(b.sum(), rel=1e-11)
        assert found.yields.n_background[k] == len(b)
        assert found.yields.n_effective[k] == pytest.approx(b.sum() ** 2 / (b**2).sum(), rel=1e-11)
        total = weight[label == 1].sum()
        assert found.signal_efficiency[k] == pytest.approx(s.sum() / total, rel=1e-11)
        z = float(asimov_significance(s.sum(), b.sum(), 0.2 * b.sum()))
        assert found.value[k] == pytest.approx(z, rel=1e-11)
        for replica in (0, 49):
            times = BOOTSTRAP.multiplicities(replica)[passes]
            s_2, b_2 = ((times * weight[passes])[label[passes] == code].sum() for code in (1, 0))
            z = float(asimov_significance(s_2, b_2, 0.2 * b_2))
            assert found.replicas[replica, k] == pytest.approx(z, rel=1e-10)


def test_scan_keeps_the_signal_efficiencies_it_is_asked_for():
    label, scores, weight = sample()
    found = significance_scan(
        label, scores, weight, bootstrap=BOOTSTRAP, signal_efficiencies=(0.5, 0.1, 0.9)
    )
    # One entry of 1000 with an exponential weight is below 1 %.
    np.testing.assert_allclose(found.signal_efficiency, [0.1, 0.5, 0.9], atol=0.01)
    assert np.all(np.diff(found.thresholds) < 0.0)
    usual = significance_scan(label, scores, weight, bootstrap=BOOTSTRAP)
    assert len(usual.value) == 50
    assert usual.signal_efficiency[-1] == pytest.approx(1.0, rel=1e-12)


def test_interval_is_around_the_value():
    label, scores, weight = sample()
    found = significance_scan(label, scores, weight, bootstrap=BOOTSTRAP)
    known = np.isfinite(found.value)
    assert np.all((found.low <= found.value) & (found.value <= found.high) | ~known)
    interval = found.interval(30)
    assert (interval.value, interval.low) == (found.value[30], found.low[30])


def test_cut_without_background_is_unknown_and_never_the_best():
    label, scores = np.array([1, 1, 1, 0, 0, 0]), np.array([9.0, 5.0, 3.0, 4.0, 2.0, 1.0])
    found = significance_scan(
        label, scores, bootstrap=Bootstrap(np.arange(6), n_replicas=200), thresholds=[6, 4, 0]
    )
    assert math.isnan(found.value[0])
    assert math.isnan(found.low[0])
    # One entry is absent from a replica with probability 1 / e: the upper end is open.
    assert found.value[1] == pytest.approx(float(asimov_significance(2.0, 1.0)), rel=1e-12)
    assert found.high[1] == math.inf
    assert found.high[2] < math.inf
    assert found.yields.n_background.tolist() == [0, 1, 3]
    assert found.best(fewest_background=3) == 2
    assert found.best(fewest_background=4) is None


def test_negative_background_is_unknown_too():
    label, scores = np.array([1, 1, 0, 0, 0]), np.array([3.0, 1.0, 2.5, 2.0, 0.5])
    weight = np.array([1.0, 1.0, -2.0, 1.0, 5.0])
    bootstrap = Bootstrap(np.arange(5), n_replicas=100)
    found = significance_scan(label, scores, weight, bootstrap=bootstrap, thresholds=[1.5, 0.0])
    assert math.isnan(found.value[0])
    assert found.value[1] == pytest.approx(float(asimov_significance(2.0, 4.0)), rel=1e-12)
    binned = binned_significance(label, scores, weight, bootstrap=bootstrap, inner_edges=[1.5])
    assert binned.n_without_background == 1
    assert math.isnan(binned.of_bin[1])
    assert binned.total.value == pytest.approx(float(asimov_significance(1.0, 5.0)), rel=1e-12)
    assert math.isfinite(binned.total.value)


@pytest.mark.parametrize("signed", [False, True])
def test_histogram_is_the_quadrature_of_its_bins_in_sample_and_replicas(signed):
    label, scores, weight = sample(signed=signed)
    inner = np.array([-0.5, 0.5, 1.0])
    found = binned_significance(
        label, scores, weight,
        inner_edges=inner, bootstrap=BOOTSTRAP, relative_background_uncertainty=0.3,
    )  # fmt: skip

    def plain(weights):
        squares = 0.0
        for low, high in zip([-np.inf, *inner], [*inner, np.inf], strict=True):
            inside = (low <= scores) & (scores < high)
            s, b = (weights[inside & (label == code)].sum() for code in (1, 0))
            squares += float(asimov_significance(s, b, 0.3 * b)) ** 2
        return math.sqrt(squares)

    assert found.total.value == pytest.approx(plain(weight), rel=1e-11)
    for replica in (0, 49):
        expected = plain(weight * BOOTSTRAP.multiplicities(replica))
        assert found.replicas[replica] == pytest.approx(expected, rel=1e-10)
    assert found.total.low <= found.total.value <= found.total.high
    assert found.yields.signal.sum() == pytest.approx(weight[label == 1].sum(), rel=1e-11)


def test_histogram_is_worth_at_least_as_much_as_its_loosest_cut():
    label, scores, weight = sample()
    inner = equal_signal_edges(label, scores, weight, n_bins=4)
    found = binned_significance(label, scores, weight, inner_edges=inner, bootstrap=BOOTSTRAP)
    one = binned_significance(label, scores, weight, inner_edges=[], bootstrap=BOOTSTRAP)
    assert len(found.of_bin) == 4
    assert len(one.of_bin) == 1
    assert found.total.value > one.total.value
    scan = significance_scan(label, scores, weight, bootstrap=BOOTSTRAP, thresholds=[scores.min()])
    assert one.total.value == pytest.approx(scan.value[0], rel=1e-12)


def test_bias_of_thin_bins_is_seen_and_shrinks_with_the_sample():
    def biases(n_events, n_samples):
        found = []
        for seed in range(n_samples):
            rng = np.random.default_rng(seed)
            label = np.arange(n_events) % 2
            scores = rng.normal(size=n_events) + 1.5 * label
            weight = np.where(label == 1, 50.0, 1000.0) / (0.5 * n_events)
            bootstrap = Bootstrap(np.arange(n_events), n_replicas=200, seed=seed)
            edges = np.linspace(-0.5, 2.0, 6)
            binned = binned_significance(
                label, scores, weight, inner_edges=edges, bootstrap=bootstrap
            )
            found.append(binned.bias)
        return np.array(found)

    thin, rich = biases(800, 100), biases(12_000, 10)
    error = np.std(thin, ddof=1) / math.sqrt(100)
    # The bias falls as 1 over the number of events, here by 15.
    assert thin.mean() > 5 * error
    assert rich.mean() < 0.3 * thin.mean()


def test_edges_hold_equal_signal_and_tied_scores_share_a_bin():
    label, scores, weight = sample()
    inner = equal_signal_edges(label, scores, weight, n_bins=5)
    signal = label == 1
    held = np.histogram(scores[signal], [-np.inf, *inner, np.inf], weights=weight[signal])[0]
    np.testing.assert_allclose(held / weight[signal].sum(), 0.2, atol=0.01)
    assert len(equal_signal_edges(label, np.round(scores > 0.5), weight, n_bins=8)) <= 1
    assert len(equal_signal_edges(label, scores, weight, n_bins=1)) == 0


def test_unusable_input_is_refused():
    label, scores, weight = sample()
    with pytest.raises(DataError, match="background error -1 is not usable"):
        asimov_significance(1.0, 1.0, -1.0)
    with pytest.raises(ConfigError, match=r"relative background uncertainty -0\.1 is not"):
        significance_scan(
            label, scores, weight, bootstrap=BOOTSTRAP, relative_background_uncertainty=-0.1
        )
    with pytest.raises(ConfigError, match=r"as thresholds .* and as signal efficiencies"):
        significance_scan(
            label, scores, bootstrap=BOOTSTRAP, thresholds=[1.0], signal_efficiencies=[0.5]
        )
    with pytest.raises(DataError, match="signal efficiency 2 is outside"):
        significance_scan(label, scores, bootstrap=BOOTSTRAP, signal_efficiencies=[2.0])
    with pytest.raises(DataError, match="groups for 3 events"):
        significance_scan(label, scores, bootstrap=Bootstrap(np.arange(3)))
    with pytest.raises(DataError, match=r"inner edges \[1.0, 0.0\] do not rise"):
        binned_significance(label, scores, inner_edges=[1, 0], bootstrap=BOOTSTRAP)
    with pytest.raises(ConfigError, match="n_bins is 0"):
        equal_signal_edges(label, scores, n_bins=0)
