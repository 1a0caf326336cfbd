from __future__ import annotations

import math

import numpy as np
import pytest

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.intervals import Interval, spread
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.bootstrap.ranking import rank, summarise
from hepdl.evaluate.roc import auc, background_rejection, rejection_lower_bound, roc_curve


@pytest.fixture
def sample():
    rng = np.random.default_rng(3)
    n_events = 800
    label = rng.integers(0, 2, n_events)
    # Rounded scores: ties have to be treated in the replicas as in the sample.
    scores = np.round(rng.normal(size=n_events) + label, 1)
    weight = rng.normal(1.0, 0.8, size=n_events)
    return label, scores, weight


def test_multiplicities_are_poisson_of_mean_one_and_independent():
    bootstrap = Bootstrap(np.arange(50_000), n_replicas=20, seed=4)
    counts = np.stack([bootstrap.multiplicities(k) for k in range(20)])
    n = counts.size
    # Five standard errors: variance 1 of the mean, mu4 - sigma^4 = 3 of the variance.
    assert abs(counts.mean() - 1.0) < 5.0 / math.sqrt(n)
    assert abs(counts.var() - 1.0) < 5.0 * math.sqrt(3.0 / n)
    for k in range(6):
        share = math.exp(-1.0) / math.factorial(k)
        assert abs((counts == k).mean() - share) < 5.0 * math.sqrt(share / n)
    between_replicas = np.corrcoef(counts)[~np.eye(20, dtype=bool)]
    assert np.abs(between_replicas).max() < 5.0 / math.sqrt(50_000)
    neighbours = np.corrcoef(counts[:, :-1].ravel(), counts[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 5.0 / math.sqrt(n)


def test_all_jets_of_an_event_are_drawn_together():
    counts = Bootstrap(np.repeat(np.arange(500), 3), seed=1).multiplicities(7).reshape(500, 3)
    assert (counts == counts[:, :1]).all()


def test_multiplicities_depend_on_the_group_not_on_order_or_company():
    groups = np.random.default_rng(0).permutation(10_000)
    bootstrap = Bootstrap(groups, seed=2)
    index = np.argsort(groups)[:100]
    np.testing.assert_array_equal(
        bootstrap.take(index).multiplicities(3), Bootstrap(np.arange(100), seed=2).multiplicities(3)
    )
    np.testing.assert_array_equal(
        bootstrap.take(groups < 50).multiplicities(5), bootstrap.multiplicities(5)[groups < 50]
    )


def test_columns_make_different_groups_and_seeds_make_different_replicas():
    event = np.arange(1000)
    first = Bootstrap(np.stack([np.zeros_like(event), event], axis=-1))
    second = Bootstrap(np.stack([np.ones_like(event), event], axis=-1))
    assert (first.multiplicities(0) != second.multiplicities(0)).mean() > 0.5
    assert len(np.unique(np.concatenate([first.keys, second.keys]))) == 2000
    assert (Bootstrap(event).keys != Bootstrap(event, seed=1).keys).all()


def test_replica_numbers_are_those_of_the_sample_with_its_weights_multiplied(sample):
    label, scores, weight = sample
    bootstrap = Bootstrap(np.arange(len(label)) // 2, n_replicas=12, seed=5)
    ranking = rank(label, scores, weight, bootstrap=bootstrap, signal_efficiencies=(0.8, 0.3, 0.5))
    np.testing.assert_array_equal(ranking.signal_efficiencies, [0.3, 0.5, 0.8])
    for k in range(12):
        drawn = weight * bootstrap.multiplicities(k)
        curve = roc_curve(label, scores, drawn)
        # Sums of 800 numbers in another order.
        assert ranking.auc_replicas[k] == pytest.approx(auc(label, scores, drawn), rel=1e-12)
        np.testing.assert_allclose(
            ranking.rejection_replicas[k],
            background_rejection(label, scores, drawn, signal_efficiencies=(0.3, 0.5, 0.8)),
            rtol=1e-11,
        )
        distance = np.abs(curve.signal_efficiency - curve.background_efficiency).max()
        assert ranking.ks_replicas[k] == pytest.approx(distance, rel=1e-12)


def test_binned_sums_are_those_of_the_drawn_events(sample):
    label, scores, weight = sample
    bootstrap = Bootstrap(np.arange(len(label)), n_replicas=4)
    bins = np.clip(np.floor(scores), -1, 2).astype(int)
    columns = np.stack([weight, weight * label], axis=-1)
    sums = bootstrap.binned_sums(bins, columns, n_bins=3)
    for k in range(4):
        drawn = columns * bootstrap.multiplicities(k)[:, None]
        expected = [drawn[bins == b].sum(axis=0) for b in range(3)]
        np.testing.assert_allclose(sums[k], expected, rtol=1e-11, atol=1e-11)


def test_summary_has_the_shape_of_metrics_json_and_intervals_around_the_values(sample):
    label, scores, weight = sample
    found = summarise(label, scores, weight, bootstrap=Bootstrap(np.arange(800), n_replicas=200))
    assert list(found) == ["auc", "background_rejection"]
    assert list(found["background_rejection"]) == ["0.3", "0.5", "0.8"]
    for interval in (found["auc"], *found["background_rejection"].values()):
        assert interval.low < interval.value < interval.high
        assert interval.as_dict() == {
            "value": interval.value, "low": interval.low, "high": interval.high
        }  # fmt: skip


def test_infinite_rejection_has_its_lower_bound_as_lower_end():
    label = np.array([1] * 20 + [0] * 40)
    found = summarise(label, label.astype(float), bootstrap=Bootstrap(np.arange(60), n_replicas=20))
    interval = found["background_rejection"]["0.5"]
    assert interval == Interval(math.inf, rejection_lower_bound(label), math.inf)
    assert interval.as_dict() == {
        "value": None, "low": rejection_lower_bound(label), "high": None
    }  # fmt: skip


def test_quantiles_with_infinite_replicas_are_not_interpolated():
    replicas = np.array([1.0] * 50 + [math.inf] * 50)
    assert Interval.from_replicas(1.0, replicas) == Interval(1.0, 1.0, math.inf)
    assert spread(replicas) == math.inf
    assert spread(np.array([1.0] * 45 + [3.0] * 45 + [math.inf] * 10)) == 1.0
    assert spread(np.array([1.0])) == math.inf
    assert spread(np.array([1.0, 3.0, math.nan])) == pytest.approx(math.sqrt(2.0))


def test_replicas_without_a_class_are_left_out_and_all_of_them_is_an_error():
    # One signal event: it is absent from 37 % of the replicas.
    label = np.array([1] + [0] * 99)
    scores = np.linspace(1.0, 0.0, 100)
    ranking = rank(label, scores, bootstrap=Bootstrap(np.arange(100), n_replicas=100))
    share = np.isnan(ranking.auc_replicas).mean()
    assert abs(share - math.exp(-1)) < 5 * math.sqrt(0.37 * 0.63 / 100)
    assert ranking.auc_interval() == Interval(1.0, 1.0, 1.0)
    with pytest.raises(DataError, match="none of 3 replicas has a positive sum of weights"):
        Interval.from_replicas(0.5, np.full(3, math.nan))


def test_a_distance_interval_ends_at_zero_and_ignores_the_added_noise():
    replicas = np.random.default_rng(0).normal(0.5, 0.1, 10_000)
    interval = Interval.of_distance(0.3, replicas)
    # Standard error of a 16 % quantile of 10 000 normal draws of width 0.1 is 0.0015.
    assert interval.low == pytest.approx(0.2, abs=0.0075)
    assert interval.high == pytest.approx(0.4, abs=0.0075)
    assert Interval.of_distance(0.05, replicas).low == 0.0


@pytest.mark.parametrize(
    ("groups", "options", "match"),
    [
        (np.array([1.0, 2.0]), {}, r"type float64.*integers such as event numbers"),
        (np.zeros((2, 2, 2), dtype=int), {}, r"shape \(2, 2, 2\)"),
        (np.arange(3), {"n_replicas": 0}, r"n_replicas is 0.*at least 1 replica"),
        (np.arange(3), {"seed": -1}, r"seed is -1"),
    ],
)
def test_unusable_groups_are_refused(groups, options, match):
    with pytest.raises(DataError, match=match):
        Bootstrap(groups, **options)


def test_bootstrap_of_other_events_is_refused():
    with pytest.raises(DataError, match="groups for 3 events, the scores are 2"):
        summarise([1, 0], [1, 0], bootstrap=Bootstrap(np.arange(3)))
