"""The numbers of ``metrics.json``: metrics of each model over its seeds, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.evaluate.bootstrap.ranking import Ranking, rank
from hepdl.evaluate.calibration import calibration_error
from hepdl.evaluate.comparison import compare_models
from hepdl.pipeline.config import EvaluateConfig
from hepdl.pipeline.dependence_numbers import dependence_of_seeds, measure_dependence
from hepdl.pipeline.fold_models import mean_card
from hepdl.pipeline.scores import ModelScores
from hepdl.pipeline.spreads import Cards, Sample, seed_spread

__all__ = ["compare_all", "model_numbers", "separation"]

Floats = npt.NDArray[np.float64]
Rankings = dict[str, list[Ranking]]


def model_numbers(
    scores: ModelScores,
    cards: Cards,
    samples: Mapping[str, Sample],
    *,
    config: EvaluateConfig,
    nuisances: Mapping[str, Floats],
) -> tuple[dict[str, Any], Rankings]:
    """Return the entry of one model in ``metrics.json``, and its rankings for the comparisons.

    Values are means over the seeds; the interval holds the bootstrap of the test events and, with
    several seeds, the error of the mean over seeds, in quadrature; ``seed_spread`` is the spread
    itself. Calibration and dependence are those of the seed that the validation part chose. A
    map of scores has one score and no seeds of its own.

    Args:
        scores: Scores of all events of the data set.
        cards: What was saved with the models.
        samples: ``"all"``, if there is one ``"window"``, and ``"against NAME"`` of each part of the
            background.
        config: The ``evaluate`` part of the configuration.
        nuisances: Values of all events by name.
    """
    seeds = sorted(scores.by_seed)
    of_seed = {seed: mean_card(cards.by_seed[seed]) for seed in seeds}
    rankings: Rankings = {}
    for name, sample in samples.items():
        rankings[name] = [
            rank(
                sample.label,
                training[sample.index],
                sample.weight,
                bootstrap=sample.bootstrap,
                signal_efficiencies=config.signal_efficiencies,
            )
            for training in scores.trainings
        ]
    everything = samples["all"]
    best = scores.chosen[everything.index]
    card = mean_card(cards.chosen)
    numbers: dict[str, Any] = {
        **separation(rankings["all"]),
        "n_parameters": card["n_parameters"],
        "fit_seconds": _mean_of(list(of_seed.values()) or [card], "fit_seconds"),
        "events_per_second": _mean_of(list(of_seed.values()) or [card], "events_per_second"),
        "best_epoch": card["best_epoch"],
        "chosen_seed": cards.chosen_seed,
        "expected_calibration_error": calibration_error(
            everything.label, best, everything.weight, bootstrap=everything.bootstrap
        ).error.as_dict(),
        "seeds": {
            str(seed): {
                "auc": ranking.auc,
                "background_rejection": {
                    f"{e:g}": _finite(r)
                    for e, r in zip(
                        ranking.signal_efficiencies, ranking.background_rejection, strict=True
                    )
                },
                "best_validation_auc": of_seed[seed]["best_validation_auc"],
                "best_epoch": of_seed[seed]["best_epoch"],
            }
            # A map of scores has a ranking, and no seed that it would belong to.
            for seed, ranking in zip(seeds, rankings["all"], strict=bool(seeds))
        },
    }
    if len(seeds) > 1:
        numbers["seed_spread"] = seed_spread(rankings["all"])
    against = {
        name.removeprefix("against "): separation(rankings[name])
        for name in samples
        if name.startswith("against ")
    }
    if against:
        numbers["against"] = against
    if "window" in samples:
        numbers["window"] = {
            "selection": samples["window"].selection,
            **separation(rankings["window"]),
        }
    if nuisances:
        at_events = {name: values[everything.index] for name, values in nuisances.items()}
        by_name = {
            name: measure_dependence(everything, best, values, name=name, config=config)
            for name, values in at_events.items()
        }
        first, values = next(iter(at_events.items()))
        numbers["dependence"] = by_name[first]
        numbers["dependence_on"] = by_name
        trainings = [training[everything.index] for training in scores.trainings]
        found = dependence_of_seeds(everything, trainings, values, name=first, config=config)
        for entry, value in zip(numbers["seeds"].values(), found, strict=False):
            entry["inverse_jsd"] = value
    return numbers, rankings


def compare_all(
    rankings: Mapping[str, Rankings], samples: Mapping[str, Sample], *, reference: str | None
) -> list[dict[str, Any]]:
    """Return the paired differences: with the reference, or of all pairs if there is none."""
    names = list(rankings)
    if reference is not None:
        pairs = [(name, reference) for name in names if name != reference]
    else:
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return [
        {
            "a": a,
            "b": b,
            "selection": sample.selection,
            "n_entries": len(sample.index),
            **difference.as_dict(),
        }
        for key, sample in samples.items()
        for a, b in pairs
        for difference in compare_models(rankings[a][key], rankings[b][key])
    ]


def separation(rankings: list[Ranking]) -> dict[str, Any]:
    """Return area and rejections: mean over the seeds, both errors in the interval."""
    auc = _mean_interval(
        [ranking.auc_interval() for ranking in rankings],
        np.mean([ranking.auc_replicas for ranking in rankings], axis=0),
    )
    rejections = {}
    for k, efficiency in enumerate(rankings[0].signal_efficiencies):
        name = f"{efficiency:g}"
        with np.errstate(invalid="ignore"):  # a replica without passing background is infinite
            replicas = np.mean([ranking.rejection_replicas[:, k] for ranking in rankings], axis=0)
        rejections[name] = _mean_interval(
            [ranking.rejection_intervals()[name] for ranking in rankings], replicas
        )
    return {"auc": auc, "background_rejection": rejections}


def _mean_interval(intervals: list[Interval], replicas: Floats) -> dict[str, float | None]:
    if len(intervals) == 1:
        return intervals[0].as_dict()
    values = np.array([interval.value for interval in intervals])
    value = float(np.mean(values))
    if not math.isfinite(value):
        return {"value": None, "low": min(interval.low for interval in intervals), "high": None}
    bootstrap = Interval.from_replicas(value, replicas)
    seeds = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    low = value - math.hypot(value - bootstrap.low, seeds)
    high = value + math.hypot(bootstrap.high - value, seeds)
    return Interval(value, low, high).as_dict()


def _mean_of(cards: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Return the mean over the seeds; None of what a map of scores does not have."""
    values = [card[key] for card in cards]
    return None if None in values else sum(map(float, values)) / len(values)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
