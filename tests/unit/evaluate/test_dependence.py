from __future__ import annotations

import json

import numpy as np
import pytest

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.dependence import DependenceOptions, dependence

N_EVENTS = 6000
OPTIONS = DependenceOptions((0.0, 200.0), n_bins=20, max_events=800, n_null=50)


@pytest.fixture(scope="module")
def jets():
    rng = np.random.default_rng(23)
    label = rng.integers(0, 2, N_EVENTS)
    mass = np.where(label == 1, rng.normal(80, 8, N_EVENTS), rng.gamma(3, 25, N_EVENTS))
    return label, mass, rng.normal(size=N_EVENTS) + label, rng.uniform(0.5, 1.5, N_EVENTS)


@pytest.fixture(scope="module")
def bootstrap():
    return Bootstrap(np.arange(N_EVENTS), n_replicas=60)


def test_independent_scores_lie_within_the_null(jets, bootstrap):
    label, mass, scores, weight = jets
    found = dependence(label, scores, mass, weight, bootstrap=bootstrap, options=OPTIONS)
    assert list(found) == ["ks", "jsd", "distance_correlation"]
    for measure in found.values():
        width = measure.null.high - measure.null.low
        # Two 68 % widths of one side are about 4 to 5 sigma.
        assert abs(measure.measured.value - measure.null.value) < 2.5 * width
        assert measure.measured.low <= measure.measured.value <= measure.measured.high
    jsd = found["jsd"]
    # 50 splits of relative width sqrt(2/19) = 0.32; bins in the tail with few events lower it.
    assert jsd.null.value == pytest.approx(jsd.details["expected_null"], rel=0.35)
    assert jsd.details["debiased"] == jsd.measured.value - jsd.null.value


def test_scores_made_of_the_mass_are_seen_by_every_measure(jets, bootstrap):
    label, mass, scores, weight = jets
    sculpting = scores - np.abs(mass - 80) / 20
    found = dependence(label, sculpting, mass, weight, bootstrap=bootstrap, options=OPTIONS)
    for measure in found.values():
        assert measure.measured.low > measure.null.value + 5 * (
            measure.null.high - measure.null.value
        )


def test_output_is_json_in_the_shape_of_metrics_json(jets, bootstrap):
    label, mass, scores, weight = jets
    found = dependence(label, scores, mass, weight, bootstrap=bootstrap, options=OPTIONS)
    for measure in found.values():
        written = json.loads(json.dumps(measure.as_dict(), allow_nan=False))
        assert {"value", "low", "high", "null"} <= set(written)
        assert set(written["null"]) == {"value", "low", "high"}


def test_numbers_depend_on_the_seed_alone(jets, bootstrap):
    label, mass, scores, weight = jets
    first, second = (
        dependence(label, scores, mass, weight, bootstrap=bootstrap, options=OPTIONS)
        for _ in range(2)
    )
    assert first == second


def test_share_outside_the_range_is_reported(jets, bootstrap):
    label, mass, scores, weight = jets
    options = DependenceOptions((50.0, 110.0), n_bins=10, max_events=200, n_null=5)
    found = dependence(label, scores, mass, weight, bootstrap=bootstrap, options=options)
    background = label == 0
    outside = background & ((mass < 50.0) | (mass > 110.0))
    assert found["jsd"].details["share_outside_range"] == pytest.approx(
        weight[outside].sum() / weight[background].sum(), rel=1e-12
    )


def test_signed_weights_are_accepted(jets, bootstrap):
    label, mass, scores, weight = jets
    signed = weight * np.where(np.arange(N_EVENTS) % 10 == 0, -1.0, 1.0)
    found = dependence(label, scores, mass, signed, bootstrap=bootstrap, options=OPTIONS)
    assert all(np.isfinite(measure.measured.value) for measure in found.values())


def test_classifier_adds_the_mutual_information(jets, bootstrap):
    label, mass, scores, weight = jets
    calls = []

    def fit_scores(pairs, _label, _weight):
        calls.append(len(pairs))
        return np.full(len(pairs), 0.5)

    options = DependenceOptions((0, 200), max_fit_events=200, n_null=5, fit_scores=fit_scores)
    found = dependence(label, scores, mass, weight, bootstrap=bootstrap, options=options)
    assert list(found)[-1] == "mutual_information"
    assert found["mutual_information"].measured.value == pytest.approx(0.0, abs=1e-13)
    # The sample and its null: true pairs and shuffled ones of at most 200 drawn events.
    assert calls[0] == calls[1]
    assert 0 < calls[0] <= 400


def test_unusable_cuts_and_ranges_are_refused(jets, bootstrap):
    label, mass, scores, weight = jets
    separated = scores + 100.0 * label
    with pytest.raises(DataError, match=r"background that passes at signal efficiency 0.5: 0 of"):
        dependence(label, separated, mass, weight, bootstrap=bootstrap, options=OPTIONS)
    with pytest.raises(DataError, match=r"0 of \d+ background events lie in the range.*\[-5, -1\]"):
        dependence(
            label, scores, mass, weight, bootstrap=bootstrap, options=DependenceOptions((-5, -1))
        )
    with pytest.raises(DataError, match="2 nuisance values for 6000 events"):
        dependence(label, scores, mass[:2], weight, bootstrap=bootstrap, options=OPTIONS)
