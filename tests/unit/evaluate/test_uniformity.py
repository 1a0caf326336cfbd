from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.dependence import Dependence, DependenceOptions, dependence, inverse, sculpting
from hepdl.evaluate.efficiency import binned_efficiency
from hepdl.evaluate.uniformity import distance_between_slices, uniformity


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(11)


def test_a_constant_efficiency_has_the_chi_square_of_its_bins(random: np.random.Generator) -> None:
    probabilities = []
    for _ in range(200):
        values = random.random(4000)
        passed = random.random(4000) < 0.3
        found = uniformity(binned_efficiency(values, passed, edges=np.linspace(0, 1, 9)))
        assert found.n_degrees == 7
        assert found.mean == pytest.approx(passed.mean(), abs=1e-12)
        probabilities.append(found.probability)
    # Uniform in [0, 1] up to the approximation of the errors: mean 0.5, known to 0.02.
    assert np.mean(probabilities) == pytest.approx(0.5, abs=0.1)


def test_an_efficiency_that_rises_is_seen(random: np.random.Generator) -> None:
    values = random.random(20_000)
    passed = random.random(20_000) < 0.2 + 0.2 * values
    found = uniformity(binned_efficiency(values, passed, edges=np.linspace(0, 1, 11)))
    assert found.probability < 1e-10
    # A line from 0.2 to 0.4: 0.2 / sqrt(12) over 0.3, in ten bins; statistics add a hundredth.
    assert found.spread == pytest.approx(0.2 / np.sqrt(12) / 0.3, rel=0.07)


def test_nothing_that_passes_is_refused() -> None:
    binned = binned_efficiency([0.1, 0.9], [False, False], edges=[0, 0.5, 1])
    with pytest.raises(DataError, match="uniformity needs two bins, and events that pass"):
        uniformity(binned)


def test_slices_are_the_lowest_and_the_highest_quarter(random: np.random.Generator) -> None:
    nuisance = random.random(2000)
    scores = random.normal(size=2000) + nuisance
    found = distance_between_slices(scores, nuisance)
    low, high = np.quantile(nuisance, (0.25, 0.75), method="inverted_cdf")
    expected = ks_2samp(scores[nuisance <= low], scores[nuisance >= high]).statistic
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.probability < 1e-6


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_switch_has_two_slices_whatever_the_share(
    random: np.random.Generator, share: float
) -> None:
    switch = (random.random(1000) < 0.05).astype(float)
    scores = random.normal(size=1000)
    found = distance_between_slices(scores, switch, share=share)
    assert found.value == pytest.approx(
        ks_2samp(scores[switch == 0], scores[switch == 1]).statistic
    )


def test_a_constant_nuisance_has_no_slices() -> None:
    with pytest.raises(DataError, match="is 3 for all 5 events"):
        distance_between_slices(np.arange(5.0), np.full(5, 3.0))


def test_the_inverse_turns_the_interval_around_and_may_be_infinite() -> None:
    found = inverse(Dependence(Interval(0.02, 0.0, 0.05), Interval(0.01, 0.0, 0.02)))
    assert found == {"value": 50.0, "low": 20.0, "high": None, "ceiling": 100.0}


@pytest.mark.parametrize("events", ["background", "signal", "all"])
def test_the_events_that_are_asked_for_are_measured(
    random: np.random.Generator, events: str
) -> None:
    n = 6000
    label = np.arange(n) % 2
    nuisance = random.random(n)
    # The score of signal knows the nuisance, that of background does not.
    scores = random.normal(size=n) + label * (1 + 3 * nuisance)
    options = DependenceOptions((0.0, 1.0), n_bins=10, n_null=20, events=events)
    found = dependence(
        label, scores, nuisance, bootstrap=Bootstrap(np.arange(n), 30), options=options
    )
    depends = found["distance_correlation"].measured.value > 0.05
    assert depends == (events != "background")
    alone = sculpting(
        label, scores, nuisance, bootstrap=Bootstrap(np.arange(n), 30), options=options
    )
    assert alone.measured.value == found["jsd"].measured.value
