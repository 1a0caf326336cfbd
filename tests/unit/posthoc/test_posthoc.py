"""Maps from scores to probabilities: closed forms, scikit-learn, invariances, weights of both signs."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.calibration import calibration_error
from hepdl.evaluate.roc import auc
from hepdl.posthoc.isotonic import Isotonic, pool
from hepdl.posthoc.temperature import Temperature

TRUE_TEMPERATURE = 2.5
KINDS = [Temperature, Isotonic]

Floats = npt.NDArray[np.float64]


def too_sure(n: int, seed: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return scores whose logits are larger than the true ones by TRUE_TEMPERATURE."""
    random = np.random.default_rng(seed)
    true_logits = random.normal(0.0, 1.5, n)
    label = (random.random(n) < expit(true_logits)).astype(np.int64)
    return expit(TRUE_TEMPERATURE * true_logits), label


def error(scores: Floats, label: npt.NDArray[np.int64], weight: Floats) -> tuple[float, float]:
    bootstrap = Bootstrap(np.arange(len(label))[:, None], n_replicas=20)
    found = calibration_error(label, scores, weight, bootstrap=bootstrap)
    return found.error.value, found.null


def test_the_temperature_of_scores_that_are_too_sure_is_found() -> None:
    n = 40_000
    scores, label = too_sure(n, 1)
    found = Temperature.fit(scores, label, np.ones(n))
    # Fisher information of 1/T: its error is 0.005, that of T 0.03.
    assert found.temperature == pytest.approx(TRUE_TEMPERATURE, abs=0.15)
    np.testing.assert_allclose(
        found.transform(scores), expit(logit(scores) / found.temperature), rtol=1e-12
    )


def test_temperature_is_logistic_regression_on_the_logit_without_constant() -> None:
    scores, label = too_sure(3000, 2)
    weight = np.random.default_rng(3).uniform(0.1, 2.0, 3000)
    oracle = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    oracle.fit(logit(scores)[:, None], label, weight)
    found = Temperature.fit(scores, label, weight)
    # A bounded search knows the place of a minimum to about the root of the rounding error.
    assert 1 / found.temperature == pytest.approx(float(oracle.coef_[0, 0]), rel=1e-5)


def test_temperature_leaves_the_area_under_the_curve_exactly_as_it_is() -> None:
    scores, label = too_sure(5000, 4)
    scores = scores.astype(np.float32)
    weight = np.random.default_rng(5).normal(1.0, 1.0, 5000)
    calibrated = Temperature.fit(scores, label, weight).transform(scores)
    assert auc(label, calibrated, weight) == auc(label, scores, weight)


@pytest.mark.parametrize(("label", "limit"), [([0, 0, 1, 1], 0.01), ([1, 1, 0, 0], 100.0)])
def test_scores_without_a_best_temperature_get_the_nearest_and_a_warning(
    label: list[int], limit: float, caplog: pytest.LogCaptureFixture
) -> None:
    found = Temperature.fit([0.1, 0.2, 0.8, 0.9], label, np.ones(4))
    assert found.temperature == pytest.approx(limit)
    assert "no temperature between" in caplog.text


def test_temperature_keeps_scores_that_were_rounded_to_0_and_1() -> None:
    found = Temperature(2.0).transform([0.0, 0.5, 1.0])
    np.testing.assert_array_equal(found, [0.0, 0.5, 1.0])


def test_pools_are_those_of_scikit_learn_for_positive_weights() -> None:
    scores, label = too_sure(2000, 6)
    weight = np.random.default_rng(7).uniform(0.1, 2.0, 2000)
    order = np.argsort(scores)
    first, share = pool(weight[order], (weight * label)[order])
    sizes = np.diff([*first, len(order)])
    oracle = IsotonicRegression(out_of_bounds="clip").fit(scores, label, weight)
    np.testing.assert_allclose(np.repeat(share, sizes), oracle.predict(scores[order]), atol=1e-12)


def test_pools_of_a_hand_made_case() -> None:
    # 1 before 0 violates the order: both become 1/2; the last rises.
    first, share = pool(np.ones(4), np.array([0.0, 1.0, 0.0, 1.0]))
    assert first.tolist() == [0, 1, 3]
    assert share.tolist() == [0.0, 0.5, 1.0]


def test_a_negative_weight_takes_its_neighbour_back() -> None:
    # A signal event of weight -1 beside two of weight 1 leaves one; the background is 1.
    first, share = pool(np.array([1.0, 1.0, 1.0, -1.0]), np.array([0.0, 1.0, 1.0, -1.0]))
    assert first.tolist() == [0, 1]
    assert share.tolist() == [0.0, 1.0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 200))
def test_pools_rise_have_positive_weight_and_keep_every_sum(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    weight = random.normal(0.5, 1.0, n)
    weight[0] += max(0.0, 1e-3 - weight.sum())
    signal = weight * random.integers(0, 2, n)
    first, share = pool(weight, signal)
    sums = np.add.reduceat(weight, first)
    assert (sums > 0).all()
    assert (np.diff(share) > 0).all()
    np.testing.assert_allclose((share * sums).sum(), signal.sum(), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_calibrated_scores_are_probabilities_on_events_of_their_own(
    kind: type[Temperature | Isotonic],
) -> None:
    n = 20_000
    fitted = kind.fit(*too_sure(n, 8), np.ones(n))
    scores, label = too_sure(n, 9)
    before, _ = error(scores, label, np.ones(n))
    after, null = error(fitted.transform(scores), label, np.ones(n))
    assert before > 0.05
    # Perfect scores measure `null` on average; the rest is the error of the fit.
    assert after < 2.5 * null


@pytest.mark.parametrize("kind", KINDS)
def test_negative_weights_give_the_same_map_as_the_mixture_that_they_stand_for(
    kind: type[Temperature | Isotonic],
) -> None:
    """Weights 1 and -1 whose mean at each score is positive: the mean weights are the mixture."""
    n = 60_000
    scores, label = too_sure(n, 10)
    negative_share = np.where(label == 1, 0.4 * scores, 0.15)
    signs = np.where(np.random.default_rng(11).random(n) < negative_share, -1.0, 1.0)
    grid = np.linspace(0.02, 0.98, 25)
    signed = kind.fit(scores, label, signs).transform(grid)
    mean = kind.fit(scores, label, 1 - 2 * negative_share).transform(grid)
    magnitude = kind.fit(scores, label, np.ones(n)).transform(grid)
    # The signs add noise: about 0.03 in a place with a few hundred entries.
    assert np.abs(signed - mean).mean() < 0.03
    assert np.abs(signed - mean).mean() < 0.5 * np.abs(magnitude - mean).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_maps_do_not_fall_and_stay_between_0_and_1(
    kind: type[Temperature | Isotonic],
) -> None:
    scores, label = too_sure(500, 12)
    weight = np.random.default_rng(13).normal(1.0, 1.5, 500)
    found = kind.fit(scores, label, weight).transform(np.linspace(0, 1, 1001))
    assert (np.diff(found) >= 0).all()
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_maps_do_not_depend_on_the_scale_of_the_weights(
    kind: type[Temperature | Isotonic],
) -> None:
    scores, label = too_sure(800, 14)
    weight = np.random.default_rng(15).uniform(0.1, 2.0, 800)
    one = kind.fit(scores, label, weight).transform(scores)
    two = kind.fit(scores, label, 1024.0 * weight).transform(scores)
    np.testing.assert_allclose(one, two, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_travel_as_json(kind: type[Temperature | Isotonic]) -> None:
    scores, label = too_sure(300, 16)
    fitted = kind.fit(scores, label, np.ones(300))
    again = kind.from_dict(json.loads(json.dumps(fitted.as_dict())))
    np.testing.assert_array_equal(again.transform(scores), fitted.transform(scores))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("scores", "label", "weight", "message"),
    [
        ([0.2, 1.3], [0, 1], [1, 1], "outside"),
        ([0.2, 0.3], [1, 1], [1, 1], "no background"),
        ([0.2, 0.3], [0, 1], [1, -1], "add up to -1"),
    ],
)
def test_what_cannot_be_calibrated_is_named(
    kind: type[Temperature | Isotonic],
    scores: list[float],
    label: list[int],
    weight: list[float],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        kind.fit(scores, label, weight)
