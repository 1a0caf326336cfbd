"""What the variations of the events do to each model, as ``systematics`` in ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.bootstrap.ranking import Ranking, rank
from hepdl.evaluate.bootstrap.yields import Yields, yields_above
from hepdl.evaluate.comparison import difference
from hepdl.evaluate.inputs.scored import check_scored
from hepdl.evaluate.kolmogorov_smirnov import kolmogorov_smirnov
from hepdl.evaluate.roc import roc_curve
from hepdl.pipeline.dataset import Dataset, evaluation_weights
from hepdl.pipeline.numbers import separation
from hepdl.pipeline.progress import progress
from hepdl.pipeline.scores import Scores, score_models, write_scores
from hepdl.pipeline.spreads import Sample
from hepdl.pipeline.stages.prepare import load_dataset, load_normalisation, load_varied
from hepdl.pipeline.systematics import tested_alone, varied_dataset
from hepdl.pipeline.work import Work

__all__ = ["Version", "distances_between", "score_variations", "variation_numbers"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Version:
    """The tested events as they are, or as a variation has them.

    Attributes:
        sample: The events with their evaluation weights.
        scores: Scores of all events that ``sample.index`` points to.
        yield_weight: Physical weights of the sample's events; without a luminosity their event weights.

    Shapes:
        yield_weight ``(n_events,)``.
    """

    sample: Sample
    scores: Scores
    yield_weight: Floats

    @classmethod
    def of(
        cls, dataset: Dataset, sample: Sample, scores: Scores, physical: Floats | None
    ) -> Version:
        """Return the version of a sample.

        Args:
            dataset: All events.
            sample: Some of them.
            scores: Of all events.
            physical: Physical weights of all events, if there is a luminosity.
        """
        weight = dataset.events.event_weight.numpy() if physical is None else physical
        return cls(sample, scores, np.asarray(weight[sample.index], dtype=np.float64))


def score_variations(work: Work) -> dict[str, Version]:
    """Score the tested events of each variation, and write ``scores_<variation>.root``.

    Raises:
        DataError: The events of a variation cannot be used.
    """
    config, schema = work.analysis.config, work.analysis.schema
    nominal, normalisation = load_dataset(work), load_normalisation(work)
    found = {}
    for name in config.systematics.ttrees:
        events = load_varied(work.folder, name)
        varied = tested_alone(varied_dataset(events, nominal, config, schema))
        physical = None
        if normalisation is not None:
            physical = normalisation.weights(varied.events, varied.part)
        index = np.arange(len(varied))
        try:
            weight = evaluation_weights(varied, index, config.weights.evaluation.flatten)
        except DataError as error:
            message = f"variation {name}: {error}"
            raise DataError(message) from error
        scores = score_models(work, varied)
        path = work.folder.path / f"scores_{name}.root"
        write_scores(path, varied, scores, config, physical=physical)
        sample = Sample(
            selection=name,
            index=index,
            label=varied.label,
            weight=weight,
            bootstrap=Bootstrap(
                varied.groups(index), n_replicas=config.evaluate.bootstrap_replicas
            ),
        )
        found[name] = Version.of(varied, sample, scores, physical)
    return found


def variation_numbers(
    nominal: Version,
    variations: Mapping[str, Version],
    rankings: Mapping[str, Sequence[Ranking]],
    *,
    signal_efficiencies: Sequence[float],
) -> dict[str, dict[str, Any]]:
    """Return ``systematics`` of each model.

    The difference to nominal is paired by event, and so are the ratios of yields: cuts are those that keep
    the given shares of the nominal signal, by the chosen seed.

    Args:
        nominal: The nominal test events.
        variations: The same of each variation.
        rankings: Of the nominal test events by each seed of each model.
        signal_efficiencies: The working points.
    """
    found: dict[str, dict[str, Any]] = {}
    with progress("evaluating variations", len(nominal.scores) * len(variations)) as advance:
        for model in nominal.scores:
            of_model = {}
            for name, varied in variations.items():
                of_model[name] = _numbers(
                    model, nominal, varied, rankings[model], signal_efficiencies
                )
                advance(text=f"{model}, {name}")
            found[model] = of_model
    return found


def distances_between(variations: Mapping[str, Version], model: str) -> dict[str, Any]:
    """Return the distances between the scores in each two variations, both classes alike.

    Of a score that does not depend on what is varied the distance is none. The null is that of two independent
    samples; since variations share their events, the noise is smaller.

    Args:
        variations: The test events of each variation.
        model: Whose scores.

    Returns:
        Kolmogorov-Smirnov distance, the mean over the seeds, beside its null, under ``"low, high"``.
    """
    found: dict[str, Any] = {}
    for names in combinations(variations, 2):
        samples = [variations[name] for name in names]
        pairs = zip(*(version.scores[model].trainings for version in samples), strict=True)
        distances = [
            kolmogorov_smirnov(
                *(scores[v.sample.index] for scores, v in zip(pair, samples, strict=True)),
                *(v.sample.weight for v in samples),
            )
            for pair in pairs
        ]
        values = [distance.value for distance in distances]
        found[", ".join(names)] = {
            "value": float(np.mean(values)),
            "null": distances[0].null.as_dict(),
            **({"seeds": values} if len(values) > 1 else {}),
        }
    return found


def _numbers(
    model: str,
    nominal: Version,
    varied: Version,
    rankings: Sequence[Ranking],
    signal_efficiencies: Sequence[float],
) -> dict[str, Any]:
    sample = varied.sample
    own = [
        rank(
            sample.label,
            training[sample.index],
            sample.weight,
            bootstrap=sample.bootstrap,
            signal_efficiencies=signal_efficiencies,
        )
        for training in varied.scores[model].trainings
    ]
    changed = difference("auc", _areas(own), _areas(rankings)).as_dict()
    cuts = _cuts(nominal, model, signal_efficiencies)
    # Falling, and the last one keeps everything.
    thresholds = np.append(cuts, -np.inf)
    ratios = _ratios(_yields(nominal, model, thresholds), _yields(varied, model, thresholds))
    return {
        **separation(own),
        "auc_difference": changed,
        **ratios[-1],
        "working_points": {
            f"{efficiency:g}": {"cut": float(cut), **ratio}
            for efficiency, cut, ratio in zip(
                sorted(signal_efficiencies), cuts, ratios[:-1], strict=True
            )
        },
    }


def _areas(rankings: Sequence[Ranking]) -> tuple[Floats, Floats]:
    values = np.array([ranking.auc for ranking in rankings])
    return values, np.array([ranking.auc_replicas for ranking in rankings])


def _cuts(nominal: Version, model: str, signal_efficiencies: Sequence[float]) -> Floats:
    """Return the cuts on the score that keep shares of the nominal signal, falling."""
    sample = nominal.sample
    curve = roc_curve(sample.label, nominal.scores[model].chosen[sample.index], sample.weight)
    return np.asarray(curve.thresholds[curve.first_reaching(np.sort(signal_efficiencies))])


def _yields(version: Version, model: str, thresholds: Floats) -> Yields:
    sample = version.sample
    scores = version.scores[model].chosen[sample.index]
    events = check_scored(sample.label, scores, version.yield_weight)
    return yields_above(events, thresholds, sample.bootstrap)


def _ratios(nominal: Yields, varied: Yields) -> list[dict[str, Any]]:
    """Return varied over nominal yield of both classes above each cut."""
    return [
        {
            "signal_yield": _ratio(
                varied.signal[k],
                nominal.signal[k],
                varied.signal_replicas[:, k],
                nominal.signal_replicas[:, k],
            ),
            "background_yield": _ratio(
                varied.background[k],
                nominal.background[k],
                varied.background_replicas[:, k],
                nominal.background_replicas[:, k],
            ),
        }
        for k in range(len(nominal.signal))
    ]


def _ratio(
    numerator: float, denominator: float, numerators: Floats, denominators: Floats
) -> dict[str, float | None]:
    """Return a ratio with its interval; None where the nominal yield is not above 0."""
    unknown = np.full(len(numerators), np.nan)
    replicas = np.divide(numerators, denominators, out=unknown, where=denominators > 0)
    if not denominator > 0 or np.isnan(replicas).all():
        return Interval(np.nan, np.nan, np.nan).as_dict()
    return Interval.from_replicas(float(numerator / denominator), replicas).as_dict()
