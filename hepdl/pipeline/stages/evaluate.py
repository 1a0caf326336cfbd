"""Stage ``evaluate``: score every event once, then every number of the comparison."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.pipeline.assignment_report import assignment_efficiency
from hepdl.pipeline.attention import attends
from hepdl.pipeline.config import MapConfig, PosthocConfig
from hepdl.pipeline.dataset import Dataset, evaluation_weights
from hepdl.pipeline.dependence_numbers import dependence_of_folds
from hepdl.pipeline.fold_models import load_folds
from hepdl.pipeline.folders import write_json
from hepdl.pipeline.looks import looks_of, verdict_of
from hepdl.pipeline.numbers import compare_all, model_numbers
from hepdl.pipeline.progress import progress
from hepdl.pipeline.saved import SavedModel, load_card
from hepdl.pipeline.scores import Scores, score_models, write_scores
from hepdl.pipeline.sensitivity import significance_numbers
from hepdl.pipeline.shifted import shifted_numbers
from hepdl.pipeline.spreads import Cards, Sample, fold_numbers
from hepdl.pipeline.stages.prepare import load_dataset, load_normalisation, load_notes
from hepdl.pipeline.systematics import SYSTEMATIC
from hepdl.pipeline.unlabelled import DOMAIN
from hepdl.pipeline.variation_numbers import (
    Version,
    distances_between,
    score_variations,
    variation_numbers,
)
from hepdl.pipeline.work import Outcome, Work
from hepdl.pipeline.yields import Normalisation, measure_yields
from hepdl.track import flatten

__all__ = ["evaluate", "selected_test"]

log = logging.getLogger(__name__)

# Numbers of single seeds and folds, the nuisances beyond the first, and words: in metrics.json only.
_NOT_RECORDED = {
    "seeds",
    "folds",
    "dependence_on",
    "diagnosis",
    "combination",
    "posthoc",
    "systematics",
}
FORMAT_VERSION = 1


def evaluate(work: Work) -> Outcome:
    """Write ``scores.root``, that of each variation, and ``metrics.json``."""
    dataset = load_dataset(work)
    config = work.analysis.config
    normalisation = load_normalisation(work)
    physical = (
        None if normalisation is None else normalisation.weights(dataset.events, dataset.part)
    )
    scores = score_models(work, dataset)
    write_scores(work.folder.path / "scores.root", dataset, scores, config, physical=physical)
    metrics = _metrics(work, dataset, scores, normalisation)
    write_json(work.folder.path / "metrics.json", metrics)
    for name, numbers in metrics["models"].items():
        final = {key: value for key, value in numbers.items() if key not in _NOT_RECORDED}
        work.recorder.metrics(flatten(final), model=name)
    names = ("scores", *(f"scores_{name}" for name in config.systematics.ttrees))
    tables = [work.folder.path / f"{name}.root" for name in names]
    return Outcome([work.folder.path / "metrics.json", *tables])


def selected_test(
    dataset: Dataset, work: Work, window: str | None, *, against: str | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return positions and evaluation weights of test events.

    Args:
        dataset: All events.
        work: The run.
        window: An expression that they fulfil; None takes all.
        against: Name of a part of the background under ``evaluate.against``: the only background.

    Raises:
        DataError: There is no background of that part.
    """
    index = dataset.index("test")
    if window is not None:
        index = index[_fulfils(work, dataset, window, where="evaluate.window")[index]]
    if against is not None:
        where = f"evaluate.against.{against}"
        text = work.analysis.config.evaluate.against[against]
        is_it = _fulfils(work, dataset, text, where=where)
        index = index[(is_it | (dataset.label == 1))[index]]
        if not (dataset.label[index] == 0).any():
            message = (
                f"{where}: none of {int((dataset.label == 0).sum())} background entries fulfils "
                f"{text!r}: loosen it, or take it out"
            )
            raise DataError(message)
    flatten = work.analysis.config.weights.evaluation.flatten
    return index, evaluation_weights(dataset, index, flatten)


def _fulfils(work: Work, dataset: Dataset, text: str, *, where: str) -> npt.NDArray[np.bool_]:
    """Return which events fulfil an expression over flat fields."""
    expression = work.analysis.schema.expression(text, where=where)
    fields = {name: column.numpy() for name, column in dataset.events.observers.items()}
    return np.asarray(expression.evaluate(fields), dtype=bool)


def _metrics(
    work: Work, dataset: Dataset, scores: Scores, normalisation: Normalisation | None
) -> dict[str, Any]:
    config = work.analysis.config
    samples = {"all": _sample(work, dataset, None)}
    if config.evaluate.window is not None:
        samples["window"] = _sample(work, dataset, config.evaluate.window)
    for name in config.evaluate.against:
        samples[f"against {name}"] = _sample(work, dataset, None, against=name)
    nuisances = set(config.evaluate.nuisances)
    for name in config.models:
        nuisances |= set(config.decorrelation_of(name).nuisances) - {SYSTEMATIC, DOMAIN}
    for wanted in config.maps.values():
        nuisances |= set(wanted.nuisances)
    models: dict[str, dict[str, Any]] = {}
    rankings: dict[str, dict[str, Any]] = {}
    with progress("evaluating", len(scores)) as advance:
        for name, found in scores.items():
            cards = _cards(work, name)
            models[name], rankings[name] = model_numbers(
                found,
                cards,
                samples,
                config=config.evaluate,
                nuisances={n: dataset.column(n) for n in sorted(nuisances)},
            )
            if dataset.folds is not None:
                fold = dataset.folds.fold[samples["all"].index]
                models[name] |= fold_numbers(found, cards, samples["all"], fold)
                if nuisances:
                    first = min(nuisances)
                    index = samples["all"].index
                    models[name]["fold_spread"]["inverse_jsd"] = dependence_of_folds(
                        samples["all"],
                        found.chosen[index],
                        dataset.column(first)[index],
                        fold,
                        name=first,
                        config=config.evaluate,
                    )
            if name in config.maps:
                models[name] |= _made_of(config.maps[name], models)
            looks = looks_of(work.folder.model(name))
            if looks:
                models[name]["diagnosis"] = verdict_of(looks)
            advance(text=name)
    physical = (
        None if normalisation is None else normalisation.weights(dataset.events, dataset.part)
    )
    nominal = Version.of(dataset, samples["all"], scores, physical)
    if config.systematics.ttrees:
        _add_systematics(work, models, rankings, nominal)
    if normalisation is not None:
        significances = significance_numbers(work, dataset, nominal, normalisation)
        for name, significance in significances.items():
            models[name]["significance"] = significance
    if config.evaluate.ams is not None:
        for name, numbers in shifted_numbers(dataset, scores, config).items():
            models[name]["ams"] = numbers
    assignments = assignment_efficiency(dataset, _attentive(work), device=work.device)
    return {
        "format_version": FORMAT_VERSION,
        "analysis": config.analysis,
        "data": {
            **load_notes(work),
            "splits": dataset.counts(),
            **({} if dataset.folds is None else {"folds": dataset.fold_counts()}),
        },
        **_yields(dataset, physical),
        "models": models,
        "comparisons": compare_all(rankings, samples, reference=config.evaluate.reference),
        **({} if assignments is None else {"assignments": assignments}),
    }


def _add_systematics(
    work: Work,
    models: dict[str, dict[str, Any]],
    rankings: Mapping[str, Mapping[str, Any]],
    nominal: Version,
) -> None:
    """Add what the variations do to each model."""
    variations = score_variations(work)
    found = variation_numbers(
        nominal,
        variations,
        {name: of_model["all"] for name, of_model in rankings.items()},
        signal_efficiencies=work.analysis.config.evaluate.signal_efficiencies,
    )
    for name, entry in found.items():
        models[name]["systematics"] = entry
        if len(variations) > 1:
            models[name]["variation_ks"] = distances_between(variations, name)


def _attentive(work: Work) -> dict[str, tuple[SavedModel, ...]]:
    """Return the networks that choose among assignments, of each fold."""
    config = work.analysis.config
    names = () if config.reconstruction is None else tuple(config.models)
    found = {name: load_folds(work.folder.model(name)) for name in names}
    return {name: saved for name, saved in found.items() if attends(saved[0])}


def _yields(dataset: Dataset, physical: npt.NDArray[np.float64] | None) -> dict[str, Any]:
    if physical is None:
        return {}
    return {"yields": measure_yields(dataset.events, physical, dataset.index("test"))}


def _made_of(wanted: MapConfig, models: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a map of scores is made, and its members with their chosen seeds."""
    members = {member: models[member]["chosen_seed"] for member in wanted.members}
    found: dict[str, Any] = {"method": wanted.method, "members": members}
    if isinstance(wanted, PosthocConfig):
        found |= {"nuisances": list(wanted.nuisances), "options": wanted.options}
    return {wanted.kind: found}


def _cards(work: Work, name: str) -> Cards:
    """Return what was saved with every model, by seed and fold, and with the chosen ones."""
    config = work.analysis.config
    folds = config.split.fold_numbers
    return Cards(
        by_seed={
            seed: [load_card(work.folder.model(name, seed, fold)) for fold in folds]
            for seed in (config.train_of(name).seeds if name in config.models else ())
        },
        chosen=[load_card(work.folder.model(name, fold=fold)) for fold in folds],
    )


def _sample(
    work: Work, dataset: Dataset, window: str | None, *, against: str | None = None
) -> Sample:
    index, weight = selected_test(dataset, work, window, against=against)
    config = work.analysis.config.evaluate
    groups = dataset.groups(index)
    return Sample(
        selection=f"against {against}" if against is not None else window or "all",
        index=index,
        label=dataset.label[index],
        weight=weight,
        bootstrap=Bootstrap(groups, n_replicas=config.bootstrap_replicas),
    )
