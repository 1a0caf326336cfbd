from __future__ import annotations

import math

import numpy as np
import pytest

from hepdl.errors import DataError
from hepdl.evaluate.spectra import background_spectra, score_spectra, spectrum


def test_spectrum_by_hand_accounts_for_every_weight():
    found = spectrum([-1, 0, 0.5, 1, 2, 3], [1, 2, 3, 4, -5, 6], edges=[0, 1, 2])
    np.testing.assert_array_equal(found.counts, [5.0, -1.0])  # the last bin holds its upper end
    np.testing.assert_allclose(found.errors, [math.sqrt(13), math.sqrt(41)], rtol=1e-15)
    assert (found.underflow, found.overflow) == (1.0, 6.0)


def test_spectrum_equals_the_histogram_of_numpy():
    rng = np.random.default_rng(24)
    values, weights, edges = rng.normal(size=500), rng.normal(1, 1, 500), np.linspace(-2, 2, 9)
    found = spectrum(values, weights, edges=edges)
    np.testing.assert_allclose(
        found.counts, np.histogram(values, edges, weights=weights)[0], rtol=1e-10, atol=1e-12
    )


def test_density_integrates_to_one_with_what_lies_outside():
    found = spectrum([0.5, 1.5, 1.7, 9.0], edges=[0, 1, 3]).density()
    np.testing.assert_allclose(found.counts, [0.25, 0.25], rtol=1e-15)
    assert np.sum(found.counts * np.diff(found.edges)) + found.overflow == pytest.approx(1.0)
    with pytest.raises(DataError, match="the weights add up to 0; a density needs"):
        spectrum([0.5, 0.6], [1, -1], edges=[0, 1]).density()


def test_background_before_and_after_cuts():
    label = np.array([1, 1, 0, 0, 0, 0])
    scores = np.array([4.0, 2.0, 3.0, 2.0, 1.0, 0.0])
    mass = np.array([80.0, 80.0, 70.0, 90.0, 30.0, 30.0])
    found = background_spectra(
        label, scores, mass, edges=[0, 50, 100], signal_efficiencies=(0.5, 1.0)
    )
    assert list(found) == ["all", "0.5", "1"]
    np.testing.assert_array_equal(found["all"].counts, [2.0, 2.0])
    np.testing.assert_array_equal(found["0.5"].counts, [0.0, 0.0])  # threshold 4: nothing passes
    np.testing.assert_array_equal(found["1"].counts, [0.0, 2.0])


def test_training_and_test_scores_of_one_distribution_agree_within_the_null():
    rng = np.random.default_rng(25)

    def part(n_events, shift=0.0):
        label = rng.integers(0, 2, n_events)
        return label, rng.normal(size=n_events) + label + shift * label, None

    edges = np.linspace(-4, 5, 10)
    same = score_spectra(part(4000), part(3000), edges=edges)
    assert list(same) == ["signal", "background"]
    for found in same.values():
        assert found.distance.probability > 1e-6  # five standard deviations
        difference = found.train.counts - found.test.counts
        error = np.hypot(found.train.errors, found.test.errors)
        assert np.all(np.abs(difference) <= 5 * error + 1e-12)
    overtrained = score_spectra(part(4000, shift=0.5), part(3000), edges=edges)
    assert overtrained["signal"].distance.probability < 1e-6
    assert overtrained["background"].distance.probability > 1e-6


def test_unusable_columns_are_refused():
    with pytest.raises(DataError, match="1 of 2 values are not finite"):
        spectrum([1.0, math.nan], edges=[0, 1])
    with pytest.raises(DataError, match=r"bin edges \[0.0\] do not rise"):
        spectrum([1.0], edges=[0])
