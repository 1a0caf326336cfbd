"""Significance with a background that moves, against the profile likelihood and the form without uncertainty."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.shifted_significance import (
    approximate_median_significance,
    shifted_significance_scan,
)
from hepdl.evaluate.significance import asimov_significance


def profiled(s: float, b: float, sigma: float) -> float:
    """Return the root of the likelihood ratio, maximised numerically."""

    def minus_log(b0: float) -> float:
        return b0 - (s + b) * np.log(b0) + 0.5 * ((b - b0) / sigma) ** 2

    best = minimize_scalar(minus_log, bounds=(1e-9, s + b + 10 * sigma), method="bounded",
                           options={"xatol": 1e-10})  # fmt: skip
    with_signal = (s + b) - (s + b) * np.log(s + b)
    return float(np.sqrt(2 * (best.fun - with_signal)))


@pytest.mark.parametrize(
    ("s", "b", "sigma"),
    [(100, 1000, 30), (10, 50, 5), (5, 2, 3), (20, 400, 200), (0.1, 10, 1), (30, 1, 40)],
)
def test_agrees_with_the_numerical_profile_likelihood(s: float, b: float, sigma: float) -> None:
    found = float(approximate_median_significance(s, b, sigma))
    assert found == pytest.approx(profiled(s, b, sigma), rel=1e-5)


def test_without_uncertainty_it_is_the_asimov_significance() -> None:
    s, b = np.array([1.0, 10.0, 100.0]), np.array([3.0, 50.0, 1000.0])
    expected = asimov_significance(s, b)
    for sigma in (0.0, 1e-7):
        np.testing.assert_allclose(
            approximate_median_significance(s, b, sigma), expected, rtol=1e-6
        )
    # A small uncertainty has the limit of s over the root of b + sigma^2.
    assert float(approximate_median_significance(10.0, 1e6, 2000.0)) == pytest.approx(
        10 / np.hypot(1e3, 2e3), rel=1e-2
    )


def test_no_background_is_not_known_and_no_signal_is_nothing() -> None:
    assert np.isnan(approximate_median_significance(1.0, 0.0))
    assert float(approximate_median_significance(-1.0, 10.0, 2.0)) == 0.0


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(3)
    n = 40_000
    label, shifted = np.arange(n) % 2, (np.arange(n) // 2) % 2
    # Signal at 2; the nuisance moves the background from 0 to 0.3.
    scores = random.normal(size=n) + 2 * label + 0.3 * shifted * (label == 0)
    return label, scores, shifted, random.uniform(0.5, 1.5, n)


def test_the_scan_is_that_of_two_gaussians(sample: tuple[np.ndarray, ...]) -> None:
    label, scores, shifted, weight = sample
    thresholds = np.array([2.5, 2.0, 1.0])
    found = shifted_significance_scan(
        label, scores, shifted, weight, bootstrap=Bootstrap(np.arange(len(label)), 60),
        signal=100.0, background=1000.0, thresholds=thresholds,
    )  # fmt: skip
    low, high = norm.sf(thresholds), norm.sf(thresholds - 0.3)
    # Ten thousand events at each value: shares to their binomial error, five sigma.
    np.testing.assert_allclose(found.signal, 100 * norm.sf(thresholds - 2), atol=2.0)
    np.testing.assert_allclose(found.background, 500 * (low + high), atol=15)
    np.testing.assert_allclose(found.shift, 1000 * (high - low), atol=20)
    expected = approximate_median_significance(found.signal, found.background, found.shift)
    np.testing.assert_allclose(found.value, expected)
    spread = found.replicas.std(axis=0)
    assert found.replicas.shape == (60, 3)
    assert (np.abs(found.replicas.mean(axis=0) - found.value) < 3 * spread).all()


def test_a_score_that_does_not_move_is_worth_more_than_its_twin(
    sample: tuple[np.ndarray, ...],
) -> None:
    label, scores, shifted, _ = sample
    flat = scores - 0.3 * shifted * (label == 0)
    bootstrap = Bootstrap(np.arange(len(label)), 20)
    best = [
        np.nanmax(
            shifted_significance_scan(
                label, values, shifted, bootstrap=bootstrap, signal=100.0, background=1000.0
            ).value
        )
        for values in (scores, flat)
    ]
    assert best[1] > best[0] + 1


def test_background_at_one_value_alone_is_refused(sample: tuple[np.ndarray, ...]) -> None:
    label, scores, _, _ = sample
    with pytest.raises(DataError, match="background that is shifted: 0 events"):
        shifted_significance_scan(
            label, scores, np.zeros(len(label)), bootstrap=Bootstrap(np.arange(len(label)), 20),
            signal=1.0, background=1.0,
        )  # fmt: skip
