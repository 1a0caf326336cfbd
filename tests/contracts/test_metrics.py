"""What holds for every metric, whatever it measures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hepdl.evaluate
from hepdl.errors import DataError
from hepdl.evaluate.assignments import JudgedAssignments, assignment_efficiencies
from hepdl.evaluate.binned_significance import binned_significance
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.bootstrap.ranking import rank
from hepdl.evaluate.calibration import reliability_curve
from hepdl.evaluate.comparison import compare_models
from hepdl.evaluate.dependence import DependenceOptions, dependence
from hepdl.evaluate.distance_correlation import distance_correlation
from hepdl.evaluate.efficiency import efficiencies_at
from hepdl.evaluate.inputs.binning import bin_index, bin_sums
from hepdl.evaluate.jensen_shannon import jensen_shannon
from hepdl.evaluate.kolmogorov_smirnov import kolmogorov_smirnov
from hepdl.evaluate.mutual_information import mutual_information
from hepdl.evaluate.roc import auc, background_rejection
from hepdl.evaluate.shifted_significance import shifted_significance_scan
from hepdl.evaluate.significance import significance_scan
from hepdl.evaluate.spectra import background_spectra
from hepdl.evaluate.uniformity import uniformity
from hepdl.evaluate.variations import VariedSample, varied_spectra

EDGES = np.linspace(-4.0, 4.0, 9)
FOLDER = Path(hepdl.evaluate.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def roc(label, scores, _values, weight):
    return [auc(label, scores, weight), *background_rejection(label, scores, weight)]


def comparison(label, scores, values, weight):
    bootstrap = Bootstrap(np.zeros(len(label), dtype=int), n_replicas=2)
    models = (scores, np.tanh(scores) + 0.1 * np.nan_to_num(values))
    first, second = ([rank(label, s, weight, bootstrap=bootstrap)] for s in models)
    return [found.value for found in compare_models(first, second)]


def calibration(label, scores, _values, weight):
    curve = reliability_curve(label, 1.0 / (1.0 + np.exp(-scores)), weight, n_bins=1)
    return [*curve.mean_score, *curve.signal_fraction]


def efficiency(label, scores, values, weight):
    found = efficiencies_at(label, scores, values, weight, edges=EDGES)
    return np.concatenate([part.value for part in found.values()])


def spectra(label, scores, values, weight):
    found = background_spectra(label, scores, values, weight, edges=EDGES)
    return np.concatenate([part.density().counts for part in found.values()])


def ks(label, scores, _values, weight):
    weights = np.ones(len(scores)) if weight is None else np.asarray(weight)
    signal = np.asarray(label) == 1
    return [
        kolmogorov_smirnov(scores[signal], scores[~signal], weights[signal], weights[~signal]).value
    ]


def jsd(label, scores, _values, weight):
    weights = np.ones(len(scores)) if weight is None else np.asarray(weight)
    bins = bin_index(scores, EDGES)
    return [jensen_shannon(*(bin_sums(bins, weights * (label == k), 8) for k in (0, 1)))]


def dcor(_label, scores, values, weight):
    return [distance_correlation(scores, values, weight, unbiased=False).value]


def information(_label, scores, values, weight):
    found = mutual_information(
        scores, values, weight,
        fit_scores=lambda pairs, _y, _w: np.full(len(pairs), 0.3),
        generator=np.random.default_rng(0),
    )  # fmt: skip
    return [found.value]


def nuisance(label, scores, values, weight):
    found = dependence(
        label, scores, values, weight,
        bootstrap=Bootstrap(np.zeros(len(label), dtype=int), n_replicas=30),
        options=DependenceOptions((-4.0, 4.0), n_bins=8, max_events=50, n_null=5),
    )  # fmt: skip
    # The distance correlation takes a random subsample; `dcor` above is its contract.
    return [found[name].measured.value for name in ("ks", "jsd")]


def yields(scores, weight):
    """Weights that add up to 100 events, and replicas that are never looked at."""
    weights = np.ones(len(scores)) if weight is None else np.asarray(weight)
    return 100.0 * weights / weights.sum(), Bootstrap(np.zeros(len(weights), dtype=int), 2)


def significance(label, scores, _values, weight):
    weights, bootstrap = yields(scores, weight)
    found = significance_scan(
        label, scores, weights, bootstrap=bootstrap, relative_background_uncertainty=0.1,
        signal_efficiencies=(0.3, 0.5, 0.8),
    )  # fmt: skip
    return [*found.value, *found.signal_efficiency, *found.thresholds]


def histogram_significance(label, scores, _values, weight):
    weights, bootstrap = yields(scores, weight)
    found = binned_significance(label, scores, weights, inner_edges=EDGES, bootstrap=bootstrap)
    return [found.total.value, *np.nan_to_num(found.of_bin)]


def assignments(label, scores, values, weight):
    right, known = np.stack([scores, values], -1) > 0.5, np.stack([label == 1, values > -1.0], -1)
    judged = JudgedAssignments.best_first(right[:, None], known, names=("a", "b"))
    found = assignment_efficiencies(judged, weight)["all"].values()
    return [x.value for entry in found for x in (entry.efficiency, entry.known, entry.ceiling)]


def variations(_label, scores, values, weight):
    groups = np.zeros(len(scores), dtype=int)
    found = varied_spectra(
        VariedSample(scores, weight, groups), {"up": VariedSample(values, weight, groups)},
        edges=EDGES[1:-1], n_replicas=2,
    ).ratios["up"]  # fmt: skip
    return [*found.value, found.total.value]


def shifted(label, scores, values, weight):
    found = shifted_significance_scan(
        label, scores, np.asarray(values) > 0.0, weight, signal=10.0, background=100.0,
        bootstrap=Bootstrap(np.zeros(len(label), dtype=int), 2), signal_efficiencies=(0.3, 0.5, 0.8),
    )  # fmt: skip
    return [*found.value, *found.background, *found.shift]


def flatness(label, scores, values, weight):
    binned = efficiencies_at(label, scores, values, weight, edges=EDGES)["background"]
    found = uniformity(binned)
    # The chi-square knows how many events there are.
    return [found.mean, found.spread]


METRICS = {
    "shifted_significance": shifted,
    "uniformity": flatness,
    "assignments": assignments,
    "binned_significance": histogram_significance,
    "significance": significance,
    "variations": variations,
    "roc": roc,
    "comparison": comparison,
    "calibration": calibration,
    "efficiency": efficiency,
    "spectra": spectra,
    "kolmogorov_smirnov": ks,
    "jensen_shannon": jsd,
    "distance_correlation": dcor,
    "mutual_information": information,
    "dependence": nuisance,
}
# Two samples, and two histograms, need not have one length.
PAIRED = sorted(set(METRICS) - {"kolmogorov_smirnov", "jensen_shannon"})
SIGNED = sorted(set(METRICS) - {"distance_correlation", "mutual_information"})


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(50)
    label = rng.integers(0, 2, 400)
    scores = np.round(rng.normal(size=400) + label, 2)
    return label, scores, rng.normal(size=400) + 0.3 * scores, rng.exponential(size=400)


def close(first, second):
    # Sums of some hundred numbers in another order, then logarithms and ratios of them.
    np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-12)


def test_every_metric_has_its_line_here_and_its_reference():
    assert sorted(METRICS) == MODULES
    for name in MODULES:
        text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        docstring = text.split('"""')[1]
        assert "Reference:" in docstring, f"{name}.py names no reference"


@pytest.mark.parametrize("name", METRICS)
def test_order_of_the_events_does_not_matter(name, sample):
    order = np.random.default_rng(0).permutation(400)
    close(METRICS[name](*(column[order] for column in sample)), METRICS[name](*sample))


@pytest.mark.parametrize("name", METRICS)
def test_common_factor_of_the_weights_does_not_matter(name, sample):
    *columns, weight = sample
    close(METRICS[name](*columns, 1e-3 * weight), METRICS[name](*columns, weight))


@pytest.mark.parametrize("name", METRICS)
def test_no_weights_means_weights_of_one(name, sample):
    *columns, weight = sample
    close(METRICS[name](*columns, None), METRICS[name](*columns, np.ones_like(weight)))


@pytest.mark.parametrize("name", METRICS)
def test_integer_weights_equal_repeated_rows(name, sample):
    times = np.random.default_rng(1).integers(1, 4, 400)
    *columns, _ = sample
    repeated = [np.repeat(column, times) for column in columns]
    close(METRICS[name](*columns, times), METRICS[name](*repeated, None))


@pytest.mark.parametrize("name", METRICS)
def test_event_of_weight_zero_is_no_event(name, sample):
    columns = [np.concatenate([column, column[:50]]) for column in sample]
    columns[-1][400:] = 0.0
    close(METRICS[name](*columns), METRICS[name](*sample))


@pytest.mark.parametrize("name", SIGNED)
def test_event_and_its_negative_copy_add_nothing(name, sample):
    columns = [np.concatenate([column, column[:50], column[:50]]) for column in sample]
    columns[-1][450:] *= -1.0
    close(METRICS[name](*columns), METRICS[name](*sample))


@pytest.mark.parametrize("name", PAIRED)
def test_too_few_weights_are_refused(name, sample):
    *columns, weight = sample
    with pytest.raises(DataError, match="399 event weights for 400 events"):
        METRICS[name](*columns, weight[:-1])


@pytest.mark.parametrize("name", METRICS)
def test_inputs_are_left_as_they_were(name, sample):
    copies = [column.copy() for column in sample]
    for column in copies:
        column.flags.writeable = False
    METRICS[name](*copies)


def test_metrics_need_neither_torch_nor_files():
    imports = "; ".join(f"import hepdl.evaluate.{name}" for name in MODULES)
    banned = ("torch", "uproot", "h5py", "awkward", "mlflow", "xgboost", "sklearn")
    code = f"import sys; {imports}; print([m for m in {banned!r} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert found.stdout.strip() == "[]"
