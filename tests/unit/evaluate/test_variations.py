"""Ratios of varied to nominal spectra, with errors that know of shared events."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hepdl.errors import DataError
from hepdl.evaluate.variations import VariedSample, varied_spectra

EDGES = np.linspace(0.0, 1.0, 6)
N = 5000


def nominal(*, first=0, seed=0):
    rng = np.random.default_rng(seed)
    return VariedSample(rng.random(N), rng.exponential(size=N), first + np.arange(N))


def test_same_events_have_a_ratio_of_one_without_error():
    sample = nominal()
    ratio = varied_spectra(sample, {"same": sample}, edges=EDGES).ratios["same"]
    np.testing.assert_array_equal(ratio.value, 1.0)
    np.testing.assert_array_equal(ratio.error, 0.0)
    assert (ratio.total.value, ratio.total.low, ratio.total.high) == (1.0, 1.0, 1.0)


def test_common_factor_is_known_exactly():
    sample = nominal()
    scaled = VariedSample(sample.values, 1.25 * np.asarray(sample.event_weight), sample.groups)
    ratio = varied_spectra(sample, {"scaled": scaled}, edges=EDGES).ratios["scaled"]
    np.testing.assert_allclose(ratio.value, 1.25, rtol=1e-12)
    np.testing.assert_allclose(ratio.error, 0.0, atol=1e-12)


def test_independent_events_have_errors_in_quadrature():
    sample, other = nominal(), nominal(first=10 * N, seed=1)
    found = varied_spectra(sample, {"other": other}, edges=EDGES, n_replicas=400)
    relative = np.hypot(
        found.nominal.errors / found.nominal.counts,
        found.varied["other"].errors / found.varied["other"].counts,
    )
    ratio = found.ratios["other"]
    # A standard deviation from 400 replicas is known to 3.5 %; the ratio is linear to about 5 %.
    np.testing.assert_allclose(ratio.error, ratio.value * relative, rtol=5 * 0.035 + 0.05)


def test_events_that_are_lost_at_random_make_a_binomial_error():
    share = 0.8
    kept = np.random.default_rng(2).random(N) < share
    values, groups = np.random.default_rng(3).random(N), np.arange(N)
    sample = VariedSample(values, None, groups)
    thinned = VariedSample(values[kept], None, groups[kept])
    found = varied_spectra(sample, {"thin": thinned}, edges=EDGES, n_replicas=400)
    ratio = found.ratios["thin"]
    binomial = np.sqrt(ratio.value * (1.0 - ratio.value) / found.nominal.counts)
    np.testing.assert_allclose(ratio.error, binomial, rtol=5 * 0.035)
    assert abs(ratio.total.value - share) < 5 * math.sqrt(share * (1 - share) / N)
    assert ratio.total.low < ratio.total.value < ratio.total.high


def test_order_of_the_varied_events_does_not_matter():
    sample = nominal()
    moved = VariedSample(np.asarray(sample.values) ** 1.1, sample.event_weight, sample.groups)
    order = np.random.default_rng(4).permutation(N)
    shuffled = VariedSample(
        np.asarray(moved.values)[order], np.asarray(moved.event_weight)[order], moved.groups[order]
    )
    ratios = varied_spectra(sample, {"a": moved, "b": shuffled}, edges=EDGES).ratios
    np.testing.assert_allclose(ratios["a"].value, ratios["b"].value, rtol=1e-12)
    np.testing.assert_allclose(ratios["a"].error, ratios["b"].error, rtol=1e-9)
    # The two spectra share their events: the ratio is known better than the nominal bins.
    spectrum = varied_spectra(sample, {}, edges=EDGES).nominal
    assert np.all(ratios["a"].error < spectrum.errors / spectrum.counts)


def test_total_counts_events_outside_the_bins():
    groups = np.arange(4)
    sample = VariedSample([0.1, 0.2, 0.3, 5.0], None, groups)
    moved = VariedSample([0.1, 5.0, 5.0, 5.0], [1.0, 1.0, 1.0, 3.0], groups)
    ratio = varied_spectra(sample, {"moved": moved}, edges=EDGES).ratios["moved"]
    assert ratio.total.value == pytest.approx(6 / 4, rel=1e-15)


def test_bin_without_nominal_events_is_unknown():
    sample = VariedSample([0.1, 0.15], None, np.arange(2))
    moved = VariedSample([0.1, 0.9], None, np.arange(2))
    ratio = varied_spectra(sample, {"moved": moved}, edges=EDGES).ratios["moved"]
    assert ratio.value[0] == 0.5
    assert np.isnan(ratio.value[1:]).all()
    assert np.isnan(ratio.error[1:]).all()


def test_unusable_samples_are_refused():
    sample = nominal()
    with pytest.raises(DataError, match="add up to 0"):
        varied_spectra(VariedSample(sample.values, np.zeros(N), sample.groups), {}, edges=EDGES)
    with pytest.raises(DataError, match="groups for 3 events"):
        varied_spectra(sample, {"x": VariedSample([0.1], None, np.arange(3))}, edges=EDGES)
