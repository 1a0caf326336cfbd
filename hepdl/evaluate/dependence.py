"""How much the background's scores depend on a nuisance, each number beside its null.

Three or four views: the Kolmogorov-Smirnov distance and the Jensen-Shannon divergence between the
nuisance of background that passes the working point and background that fails it, the distance
correlation between score and nuisance, and, given a classifier to fit, their mutual information.
The null is what noise alone gives: the same events, split or paired at random.

Reference:
    ATLAS Collaboration, ATL-PHYS-PUB-2018-014 (pass against fail, base 2, 50 bins); the modules
    kolmogorov_smirnov, jensen_shannon, distance_correlation and mutual_information.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.bootstrap.ranking import rank
from hepdl.evaluate.distance_correlation import (
    distance_correlation,
    distance_correlation_null,
    unweighted_sample,
)
from hepdl.evaluate.inputs.binning import bin_index, bin_sums, check_edges
from hepdl.evaluate.inputs.scored import ScoredEvents, check_numbers, check_scored
from hepdl.evaluate.jensen_shannon import expected_null, jensen_shannon
from hepdl.evaluate.mutual_information import FitScores, mutual_information
from hepdl.evaluate.roc import effective_number, working_point

__all__ = ["Dependence", "DependenceOptions", "dependence", "inverse", "sculpting"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_CHOSEN: dict[str, Callable[[Flags], Flags]] = {
    "background": np.logical_not,
    "signal": np.asarray,
    "all": np.ones_like,
}


@dataclass(frozen=True)
class DependenceOptions:
    """How the dependence is measured.

    Attributes:
        nuisance_range: Range of the bins of the divergence [unit of the nuisance]; events outside
            take no part in it, and their share is reported.
        signal_efficiency: Working point that separates pass from fail.
        events: Whose dependence: ``"background"``, ``"signal"`` or ``"all"``.
        n_bins: Number of equal bins of the divergence.
        max_events: Most events in the distance correlation.
        max_fit_events: Most events in the mutual information.
        n_null: Random splits for the null (a tenth as many for the distance correlation).
        seed: Seed of random splits and subsamples.
        fit_scores: Classifier for the mutual information; None leaves it out.
    """

    nuisance_range: tuple[float, float]
    signal_efficiency: float = 0.5
    events: str = "background"
    n_bins: int = 50
    max_events: int = 100_000
    max_fit_events: int = 40_000
    n_null: int = 100
    seed: int = 0
    fit_scores: FitScores | None = None


@dataclass(frozen=True)
class Dependence:
    """One measure of dependence.

    Attributes:
        measured: The value with its 68 % interval.
        null: Mean and 68 % interval of what noise alone gives.
        details: Further numbers, by name.
    """

    measured: Interval
    null: Interval
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return what metrics.json holds."""
        return {**self.measured.as_dict(), "null": self.null.as_dict(), **self.details}


@dataclass(frozen=True)
class _Background:
    """The background events: what they are called in the formulas below."""

    scores: Floats
    nuisance: Floats
    weights: Floats
    passed: Flags
    bootstrap: Bootstrap


def dependence(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    nuisance: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    bootstrap: Bootstrap,
    options: DependenceOptions,
) -> dict[str, Dependence]:
    """Return all measures of the dependence of the background's scores on a nuisance.

    Args:
        label: 1 for signal, 0 for background.
        scores: Finite scores, signal at large values.
        nuisance: The nuisance, e.g. the jet mass [GeV].
        event_weight: Weights of either sign; None means 1. The distance correlation and the mutual
            information take absolute values.
        bootstrap: Replicas of the same events; the threshold is that of the sample in all.
        options: Working point, bins, sizes.

    Shapes:
        label, scores, nuisance, event_weight: ``(n_events,)``.

    Returns:
        ``{"ks", "jsd", "distance_correlation"}`` and, with a classifier, ``"mutual_information"``.
        Distance correlation means its square (U-statistic); divergence and information are in bit.

    Raises:
        DataError: As `hepdl.evaluate.roc.roc_curve`, or the background all passes or all fails.
    """
    events = check_scored(label, scores, event_weight)
    background = _background(events, nuisance, bootstrap, options)
    found = {
        "ks": _ks(background, options),
        "jsd": _jsd(background, options),
        "distance_correlation": _distance_correlation(background, options),
    }
    if options.fit_scores is not None:
        found["mutual_information"] = _mutual_information(background, options.fit_scores, options)
    return found


def sculpting(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    nuisance: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    bootstrap: Bootstrap,
    options: DependenceOptions,
) -> Dependence:
    """Return the Jensen-Shannon divergence alone, for one working point [bit].

    Args, Shapes and Raises: as `dependence`.
    """
    events = check_scored(label, scores, event_weight)
    return _jsd(_background(events, nuisance, bootstrap, options), options)


def inverse(divergence: Dependence) -> dict[str, float | None]:
    """Return 1 / JSD with its interval, and the ceiling that the statistics of the sample set.

    A divergence of two samples of one distribution is not zero: ``ceiling`` is the inverse of its mean, which
    no score can surpass but by chance. None is infinite.

    >>> found = inverse(Dependence(Interval(0.1, 0.05, 0.2), Interval(0.01, 0.0, 0.02)))
    >>> found["value"], found["low"], found["high"], found["ceiling"]
    (10.0, 5.0, 20.0, 100.0)
    """
    measured = divergence.measured

    def one_over(number: float) -> float | None:
        return 1.0 / number if number > 0.0 else None

    return {
        "value": one_over(measured.value),
        "low": one_over(measured.high),
        "high": one_over(measured.low),
        "ceiling": one_over(divergence.null.value),
    }


def _background(
    events: ScoredEvents, nuisance: npt.ArrayLike, bootstrap: Bootstrap, options: DependenceOptions
) -> _Background:
    numbers = check_numbers(nuisance, name="nuisance values", length=len(events.scores))
    bootstrap.check_length(len(numbers))
    threshold = working_point(
        events.is_signal,
        events.scores,
        events.event_weight,
        signal_efficiency=options.signal_efficiency,
    )
    mask = _CHOSEN[options.events](events.is_signal)
    background = _Background(
        scores=events.scores[mask],
        nuisance=numbers[mask],
        weights=events.event_weight[mask],
        passed=events.scores[mask] >= threshold,
        bootstrap=bootstrap.take(mask),
    )
    _check_split(background, options.signal_efficiency)
    return background


def _check_split(background: _Background, signal_efficiency: float) -> None:
    for name, mask in (("passes", background.passed), ("fails", ~background.passed)):
        total = float(background.weights[mask].sum())
        if total <= 0.0:
            message = (
                f"background that {name} at signal efficiency {signal_efficiency:g}: "
                f"{np.count_nonzero(mask)} of {len(mask)} events with sum of weights {total:g}; "
                "choose another signal_efficiency or use more events"
            )
            raise DataError(message)


def _ks(background: _Background, options: DependenceOptions) -> Dependence:
    weights = background.weights
    ranking = rank(background.passed, background.nuisance, weights, bootstrap=background.bootstrap)
    order = np.argsort(background.nuisance, kind="stable")
    sorted_weights = weights[order]
    last = np.append(np.diff(background.nuisance[order]) != 0.0, True)

    def distance(passed: Flags) -> float:
        sums = [np.cumsum(sorted_weights * mask)[last] for mask in (passed, ~passed)]
        return float(np.max(np.abs(sums[0] / sums[0][-1] - sums[1] / sums[1][-1])))

    null = _random_splits(background.passed[order], distance, options, stream=0)
    return Dependence(Interval.of_distance(ranking.ks, ranking.ks_replicas), Interval.of_null(null))


def _jsd(background: _Background, options: DependenceOptions) -> Dependence:
    low, high = options.nuisance_range
    edges = check_edges(np.linspace(low, high, options.n_bins + 1))
    bins = bin_index(background.nuisance, edges)
    weights, passed = background.weights, background.passed

    def divergence(flags: Flags) -> float:
        sums = [bin_sums(bins, weights * mask, options.n_bins) for mask in (flags, ~flags)]
        return float(jensen_shannon(*sums))

    inside = bins >= 0
    value = divergence(passed)
    if math.isnan(value):
        message = (
            f"{np.count_nonzero(inside)} of {len(bins)} background events lie in the range of the "
            f"nuisance [{low:g}, {high:g}], and not on both sides of the cut; the nuisance spans "
            f"{background.nuisance.min():g} to {background.nuisance.max():g}: set nuisance_range"
        )
        raise DataError(message)
    columns = np.stack([weights * passed, weights * ~passed], axis=-1)
    sums = background.bootstrap.binned_sums(bins, columns, n_bins=options.n_bins)
    null = Interval.of_null(_random_splits(passed, divergence, options, stream=1))
    n_pass, n_fail = (effective_number(weights[inside & mask]) for mask in (passed, ~passed))
    n_reached = len(np.unique(bins[inside]))
    details = {
        "debiased": value - null.value,
        "expected_null": expected_null(n_reached, n_pass, n_fail),
        "share_outside_range": float(weights[~inside].sum() / weights.sum()),
    }
    measured = Interval.of_distance(value, jensen_shannon(sums[:, :, 0], sums[:, :, 1]))
    return Dependence(measured, null, details)


def _distance_correlation(background: _Background, options: DependenceOptions) -> Dependence:
    generator = np.random.default_rng([options.seed, 2])
    index = unweighted_sample(background.weights, options.max_events, generator)
    scores, nuisance = background.scores[index], background.nuisance[index]
    found = distance_correlation(scores, nuisance)
    null = distance_correlation_null(
        scores, nuisance, n_null=max(options.n_null // 10, 4), generator=generator
    )
    # To first order the error vanishes for independent numbers; the null is the second order.
    error = math.hypot(found.error, float(np.std(null, ddof=1)))
    return Dependence(
        Interval(found.value, found.value - error, found.value + error),
        Interval.of_null(null),
        {"n_events": float(len(index))},
    )


def _mutual_information(
    background: _Background, fit: FitScores, options: DependenceOptions
) -> Dependence:
    generator = np.random.default_rng([options.seed, 3])
    index = unweighted_sample(background.weights, options.max_fit_events, generator)
    scores, nuisance = background.scores[index], background.nuisance[index]
    measured, null = (
        mutual_information(scores, values, fit_scores=fit, generator=generator)
        for values in (nuisance, generator.permutation(nuisance))
    )
    return Dependence(measured, null, {"n_events": float(len(index))})


def _random_splits(
    passed: Flags, measure: Callable[[Flags], float], options: DependenceOptions, *, stream: int
) -> Floats:
    """Return the measure for random splits into as many passing and failing events."""
    generator = np.random.default_rng([options.seed, stream])
    draws = np.array([measure(generator.permutation(passed)) for _ in range(options.n_null)])
    # Signed weights can leave a random half without a positive sum; such a split has no shape.
    known: Floats = draws[np.isfinite(draws)]
    return known
