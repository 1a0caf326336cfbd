"""How much the scores of a model depend on a nuisance: the entry ``dependence`` of ``metrics.json``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.dependence import DependenceOptions, dependence, inverse, sculpting
from hepdl.evaluate.efficiency import efficiencies_at
from hepdl.evaluate.uniformity import distance_between_slices, uniformity
from hepdl.pipeline.config import EvaluateConfig
from hepdl.pipeline.spreads import Sample, spread
from hepdl.train.probes import fit_scores

__all__ = ["dependence_of_folds", "dependence_of_seeds", "measure_dependence"]

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]

# The working point of the comparison: metrics.json and the published curves are at half of the signal.
WORKING_POINT = 0.5
N_EFFICIENCY_BINS = 16
# Splits for the null of single seeds, folds and further working points, of which only the mean matters.
FEW = 20


def measure_dependence(
    sample: Sample, scores: Scores, nuisance: Floats, *, name: str, config: EvaluateConfig
) -> dict[str, Any]:
    """Return how much the scores of the chosen seed depend on a nuisance.

    Scores that are nearly all alike leave nothing on one side of the cut: then there is only a
    note, since one model that learnt nothing must not cost the numbers of all others.

    Args:
        sample: The test events.
        scores: Their scores.
        nuisance: Their nuisance.
        name: Of the nuisance.
        config: Ranges and working points.

    Shapes:
        scores, nuisance ``(n_events,)``.
    """
    options = _options(sample, nuisance, name, config)
    given = (sample.label, scores, nuisance, sample.weight)
    try:
        found = dependence(
            *given, bootstrap=sample.bootstrap, options=replace(options, fit_scores=fit_scores)
        )
    except DataError as error:
        log.warning("dependence not measured: %s", error)
        return {"note": str(error)}
    numbers: dict[str, Any] = {metric: value.as_dict() for metric, value in found.items()}
    numbers["inverse_jsd"] = inverse(found["jsd"])
    numbers["slices_ks"] = _slices(sample, scores, nuisance, config.dependence.events)
    numbers["at"] = {
        f"{efficiency:g}": _at(given, sample, options, efficiency)
        for efficiency in config.signal_efficiencies
    }
    return {
        **numbers,
        "events": options.events,
        "range": list(options.nuisance_range),
        "n_bins": options.n_bins,
        "base": 2,
    }


def dependence_of_seeds(
    sample: Sample,
    trainings: Sequence[Scores],
    nuisance: Floats,
    *,
    name: str,
    config: EvaluateConfig,
) -> list[float | None]:
    """Return 1 / JSD of each training; None where it cannot be measured.

    Args:
        sample: The test events.
        trainings: Their scores by each seed.
        nuisance: Their nuisance.
        name: Of the nuisance.
        config: Ranges.

    Shapes:
        scores, nuisance ``(n_events,)``.
    """
    options = replace(_options(sample, nuisance, name, config), n_null=FEW)
    found: list[float | None] = []
    for scores in trainings:
        try:
            divergence = sculpting(
                sample.label, scores, nuisance, sample.weight,
                bootstrap=sample.bootstrap, options=options,
            )  # fmt: skip
        except DataError:
            found.append(None)
        else:
            found.append(inverse(divergence)["value"])
    return found


def dependence_of_folds(
    sample: Sample,
    scores: Scores,
    nuisance: Floats,
    fold: npt.NDArray[np.integer],
    *,
    name: str,
    config: EvaluateConfig,
) -> dict[str, Any]:
    """Return 1 / JSD of the model of each fold, their spread, and the spread that statistics give.

    The latter is the mean half width of the folds' bootstrap intervals.

    Args:
        sample: The test events.
        scores: Their scores, each by the model of its fold.
        nuisance: Their nuisance.
        fold: Their folds.
        name: Of the nuisance.
        config: Ranges.

    Shapes:
        scores, nuisance, fold ``(n_events,)``.
    """
    options = replace(_options(sample, nuisance, name, config), n_null=FEW)
    values: list[float] = []
    widths: list[float] = []
    for number in np.unique(fold):
        inside = fold == number
        try:
            divergence = sculpting(
                sample.label[inside], scores[inside], nuisance[inside], sample.weight[inside],
                bootstrap=sample.bootstrap.take(inside), options=options,
            )  # fmt: skip
        except DataError as error:
            return {"note": f"fold {number}: {error}"}
        measured = divergence.measured
        value = max(measured.value, 1e-12)
        values.append(1.0 / value)
        # To first order, since a lower end at zero has no inverse.
        widths.append(0.5 * (measured.high - measured.low) / value**2)
    return {"values": values, **spread(values), "statistical": float(np.mean(widths))}


def _options(
    sample: Sample, nuisance: Floats, name: str, config: EvaluateConfig
) -> DependenceOptions:
    wanted = config.dependence
    low, high = np.quantile(nuisance[sample.label == 0], (0.005, 0.995))
    return DependenceOptions(
        wanted.ranges.get(name, (float(low), float(high))),
        signal_efficiency=WORKING_POINT,
        events=wanted.events,
        n_bins=wanted.n_bins,
    )


def _slices(sample: Sample, scores: Scores, nuisance: Floats, events: str) -> dict[str, Any]:
    """Return the distance between the scores at small and at large nuisance."""
    chosen = {
        "background": sample.label == 0,
        "signal": sample.label == 1,
        "all": np.ones(len(sample.label), dtype=bool),
    }[events]
    try:
        found = distance_between_slices(scores[chosen], nuisance[chosen], sample.weight[chosen])
    except DataError as error:
        return {"note": str(error)}
    return {"value": found.value, "null": found.null.as_dict(), "probability": found.probability}


def _at(
    given: tuple[npt.NDArray[np.int64], Scores, Floats, Floats],
    sample: Sample,
    options: DependenceOptions,
    efficiency: float,
) -> dict[str, Any]:
    """Return divergence and uniformity of the efficiency at one working point."""
    label, scores, nuisance, weight = given
    at = replace(options, signal_efficiency=efficiency, n_null=FEW)
    try:
        divergence = sculpting(*given, bootstrap=sample.bootstrap, options=at)
        edges = np.linspace(*options.nuisance_range, N_EFFICIENCY_BINS + 1)
        binned = efficiencies_at(
            label, scores, nuisance, weight, edges=edges, signal_efficiency=efficiency
        )["background"]
        flat = uniformity(binned).as_dict()
    except DataError as error:
        return {"note": str(error)}
    return {
        "jsd": divergence.as_dict(),
        "inverse_jsd": inverse(divergence),
        "background_efficiency": flat,
    }
