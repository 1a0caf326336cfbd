from __future__ import annotations

import json
import math

import numpy as np
import pytest

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.bootstrap.ranking import rank
from hepdl.evaluate.comparison import compare_models, difference


@pytest.fixture(scope="module")
def rankings():
    rng = np.random.default_rng(6)
    label = rng.integers(0, 2, 4000)
    truth = rng.normal(size=4000) + label
    bootstrap = Bootstrap(np.arange(4000), n_replicas=150)

    def of(noise, n_seeds):
        return [
            rank(label, truth + noise * rng.normal(size=4000), bootstrap=bootstrap)
            for _ in range(n_seeds)
        ]

    return {"good": of(0.2, 3), "bad": of(1.0, 3), "one": of(0.2, 1)}


def test_difference_is_the_mean_over_seeds_with_both_errors_in_quadrature(rankings):
    found = compare_models(rankings["good"], rankings["bad"])
    assert [d.metric for d in found] == [
        "auc",
        "log_background_rejection_0.3",
        "log_background_rejection_0.5",
        "log_background_rejection_0.8",
    ]
    areas = [[r.auc for r in rankings[name]] for name in ("good", "bad")]
    pairs = np.subtract(*areas)
    first = found[0]
    assert first.value == pytest.approx(pairs.mean(), rel=1e-12)
    assert first.seed_error == pytest.approx(pairs.std(ddof=1) / math.sqrt(3), rel=1e-12)
    assert first.error == pytest.approx(math.hypot(first.bootstrap_error, first.seed_error))
    assert first.significance == pytest.approx(first.value / first.error)
    assert (first.n_seeds, first.note) == (3, "")
    for d in found:
        assert d.significance > 3.0


def test_log_rejection_is_the_logarithm_of_the_ratio(rankings):
    found = compare_models(rankings["good"], rankings["bad"])[2]
    logs = [np.log([r.background_rejection[1] for r in rankings[n]]) for n in ("good", "bad")]
    assert found.value == pytest.approx(np.mean(logs[0] - logs[1]), rel=1e-12)


def test_swapping_the_models_changes_only_the_sign(rankings):
    forward = compare_models(rankings["good"], rankings["bad"])
    backward = compare_models(rankings["bad"], rankings["good"])
    for a, b in zip(forward, backward, strict=True):
        assert a.value == pytest.approx(-b.value, rel=1e-12)
        assert a.error == pytest.approx(b.error, rel=1e-12)


def test_a_model_does_not_differ_from_itself(rankings):
    for found in compare_models(rankings["good"], rankings["good"]):
        assert (found.value, found.bootstrap_error, found.seed_error) == (0.0, 0.0, 0.0)
        assert math.isnan(found.significance)


def test_paired_error_is_smaller_than_that_of_independent_samples(rankings):
    first, second = rankings["good"][:1], rankings["bad"][:1]
    found = compare_models(first, second)[0]
    unpaired = math.hypot(*(np.std(r[0].auc_replicas) for r in (first, second)))
    # The scores share most of their information: correlation of the areas about 0.6 to 0.8.
    assert found.bootstrap_error < 0.8 * unpaired


def test_one_seed_is_said_and_only_the_bootstrap_counts(rankings):
    found = compare_models(rankings["one"], rankings["bad"][:1])[0]
    assert found.seed_error is None
    assert found.error == found.bootstrap_error
    assert found.note == "one seed: the spread between trainings is not included"


def test_unequal_numbers_of_seeds_add_the_variances_of_the_means(rankings):
    found = compare_models(rankings["good"], rankings["bad"][:2])[0]
    variances = [np.var([r.auc for r in m], ddof=1) / len(m) for m in
                 (rankings["good"], rankings["bad"][:2])]  # fmt: skip
    assert found.seed_error == pytest.approx(math.sqrt(sum(variances)), rel=1e-12)
    assert found.n_seeds == 2
    lonely = compare_models(rankings["good"], rankings["one"])[0]
    assert lonely.seed_error == pytest.approx(math.sqrt(variances[0]), rel=1e-12)
    assert lonely.note == "one seed of the second model: its spread is not included"


def test_unbounded_rejection_is_reported_and_not_compared():
    label = np.array([1] * 30 + [0] * 30)
    perfect, good = label + 0.0, label + np.linspace(0.0, 1.5, 60)
    bootstrap = Bootstrap(np.arange(60), n_replicas=20)
    found = compare_models(
        [rank(label, perfect, bootstrap=bootstrap)], [rank(label, good, bootstrap=bootstrap)]
    )[1]
    assert math.isnan(found.significance)
    assert "the ratio is unbounded" in found.note
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["significance"] is None


def test_rankings_that_cannot_be_paired_are_refused(rankings):
    with pytest.raises(DataError, match="0 different sets of working points"):
        compare_models([], [])
    with pytest.raises(DataError, match="3 and 0 seeds"):
        compare_models(rankings["good"], [])
    other = rank([1, 0], [1, 0], bootstrap=Bootstrap(np.arange(2)), signal_efficiencies=(0.4,))
    with pytest.raises(DataError, match="2 different sets of working points"):
        compare_models(rankings["good"], [other])
    rng = np.random.default_rng(0)
    scores, same = rng.normal(size=4000), {"n_replicas": 150}
    unpaired = [
        rank(np.arange(4000) % 2, scores, bootstrap=Bootstrap(np.arange(4000), seed=1, **same))
    ]
    with pytest.raises(DataError, match="bootstraps of different events or seeds"):
        compare_models(rankings["good"], unpaired)
    with pytest.raises(DataError, match="4 and 5 replicas"):
        difference("x", (np.ones(1), np.ones((1, 4))), (np.ones(1), np.ones((1, 5))))
