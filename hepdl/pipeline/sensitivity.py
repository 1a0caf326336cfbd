"""The expected significance of each model, as ``significance`` in ``metrics.json``.

Cut and bins are chosen on events that the model was not trained on and whose significance is not measured: the
validation part; with folds the validation events of the other folds, by the model of the fold that is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.evaluate.binned_significance import binned_significance, equal_signal_edges
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.significance import significance_scan
from hepdl.pipeline.config import EvaluateConfig
from hepdl.pipeline.dataset import Dataset
from hepdl.pipeline.mapped import load_maps, nuisances_of, transformed
from hepdl.pipeline.progress import progress
from hepdl.pipeline.scores import score_rows
from hepdl.pipeline.variation_numbers import Version
from hepdl.pipeline.work import Work
from hepdl.pipeline.yields import Normalisation

__all__ = ["FEWEST_BACKGROUND", "N_BINS", "Choice", "choose", "measure", "significance_numbers"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# A cut that leaves fewer effective entries of background has an error of more than a third of it.
FEWEST_BACKGROUND = 10.0
N_BINS = 8


@dataclass(frozen=True)
class Choice:
    """A cut and bins of the score.

    Attributes:
        cut: ``score >= cut`` passes; the largest significance with enough background.
        inner_edges: Edges between bins of equal signal.
        is_limited: Whether a tighter cut seemed better, but left too little background to know.

    Shapes:
        inner_edges ``(n_bins - 1,)``.
    """

    cut: float
    inner_edges: Floats
    is_limited: bool


def significance_numbers(
    work: Work, dataset: Dataset, test: Version, normalisation: Normalisation
) -> dict[str, dict[str, Any]]:
    """Return the significance of each model; a note where the sample cannot tell.

    Args:
        work: The run; all models are fitted.
        dataset: All events.
        test: The test events with their physical weights.
        normalisation: What weights are worth.
    """
    config = work.analysis.config
    found = {}
    folds = config.split.fold_numbers
    with progress("significances", len(test.scores)) as advance:
        for name in test.scores:
            choices = []
            for fold in folds:
                rows = dataset.of_fold(fold).index("validation")
                scores = (
                    test.scores[name].chosen[rows]
                    if fold is None
                    else _scores_of_fold(work, dataset, name, fold, rows)
                )
                weight = _scaled(dataset, rows, normalisation)
                chosen = None
                if weight is not None:
                    label = dataset.label[rows]
                    chosen = choose(label, scores, weight, config.evaluate.background_uncertainty)
                if chosen is not None:
                    choices.append(chosen)
            if len(choices) < len(folds):
                found[name] = {
                    "note": "no cut leaves enough background among the validation events to be chosen: "
                    f"{FEWEST_BACKGROUND:g} effective entries are needed"
                }
            else:
                sample = test.sample
                fold_of = None if dataset.folds is None else dataset.folds.fold[sample.index]
                found[name] = measure(test, name, choices, config.evaluate, fold=fold_of)
            advance(text=name)
    return found


def choose(
    label: Integers, scores: npt.ArrayLike, weight: Floats, uncertainty: float
) -> Choice | None:
    """Return the best cut and bins of equal signal, or None if the sample knows no cut well enough.

    Args:
        label: 1 for signal, 0 for background.
        scores: Of a sample that is not the one to be measured.
        weight: Physical weights that stand for all events.
        uncertainty: Of the background, relative.

    Shapes:
        label, scores, weight ``(n_events,)``.
    """
    # Errors are not looked at here.
    bootstrap = Bootstrap(np.arange(len(label)), n_replicas=1)
    scan = significance_scan(
        label, scores, weight, bootstrap=bootstrap, relative_background_uncertainty=uncertainty
    )
    best = scan.best(fewest_background=FEWEST_BACKGROUND)
    if best is None:
        return None
    without_limit = scan.best(fewest_background=0.0)
    assert without_limit is not None
    return Choice(
        cut=float(scan.thresholds[best]),
        inner_edges=equal_signal_edges(label, scores, weight, n_bins=N_BINS),
        is_limited=bool(scan.value[without_limit] > scan.value[best]),
    )


def measure(
    test: Version,
    name: str,
    choices: Sequence[Choice],
    config: EvaluateConfig,
    *,
    fold: npt.NDArray[np.integer] | None = None,
) -> dict[str, Any]:
    """Return the significance of the test events for cuts and bins that others chose.

    Args:
        test: The test events with their physical weights.
        name: The model.
        choices: One, or one for each fold.
        config: Luminosity and uncertainty.
        fold: The fold of each test event, or None.

    Shapes:
        fold ``(n_test,)``.
    """
    sample = test.sample
    scores = test.scores[name].chosen[sample.index].astype(np.float64)
    fold = np.zeros(len(scores), dtype=np.int64) if fold is None else fold
    # Cuts differ from fold to fold; distances from the cut have one cut at 0.
    distance = scores - np.array([choice.cut for choice in choices])[fold]
    n_bins = 1 + max(len(choice.inner_edges) for choice in choices)
    bins = np.zeros(len(scores))
    for number, choice in enumerate(choices):
        inside = fold == number
        place = np.searchsorted(choice.inner_edges, scores[inside], side="right")
        # Where ties left fewer bins, the highest ones are those of the others.
        bins[inside] = n_bins - 1 - len(choice.inner_edges) + place
    scan = significance_scan(
        sample.label,
        distance,
        test.yield_weight,
        bootstrap=sample.bootstrap,
        relative_background_uncertainty=config.background_uncertainty,
        thresholds=[0.0],
    )
    binned = binned_significance(
        sample.label,
        bins,
        test.yield_weight,
        inner_edges=np.arange(1, n_bins) - 0.5,
        bootstrap=sample.bootstrap,
        relative_background_uncertainty=config.background_uncertainty,
    )
    return {
        **scan.interval(0).as_dict(),
        "luminosity": config.luminosity,
        "background_uncertainty": config.background_uncertainty,
        "signal": float(scan.yields.signal[0]),
        "background": float(scan.yields.background[0]),
        "signal_efficiency": float(scan.signal_efficiency[0]),
        "n_background_entries": int(scan.yields.n_background[0]),
        "n_background_effective": float(scan.yields.n_effective[0]),
        "is_limited_by_statistics": any(choice.is_limited for choice in choices),
        "cut": choices[0].cut if len(choices) == 1 else None,
        "cuts": [choice.cut for choice in choices],
        "binned": {
            **binned.total.as_dict(),
            "bias": float(binned.bias) if np.isfinite(binned.bias) else None,
            "n_bins": n_bins,
            "n_without_background": binned.n_without_background,
            "n_background_effective": [float(n) for n in binned.yields.n_effective],
            "inner_edges": [choice.inner_edges.tolist() for choice in choices],
        },
    }


def _scores_of_fold(
    work: Work, dataset: Dataset, name: str, fold: int, rows: Integers
) -> npt.NDArray[np.float32]:
    """Return the scores of some events by the chosen model of one fold."""
    wanted = work.analysis.config.maps.get(name)
    if wanted is None:
        return score_rows(work, dataset, work.folder.model(name, fold=fold), rows)
    members = [_scores_of_fold(work, dataset, m, fold, rows) for m in wanted.members]
    fitted = load_maps(work.folder.model(name))[fold]
    nuisance = nuisances_of(dataset, wanted.nuisances, rows)
    return transformed(fitted, np.column_stack(members), nuisance)


def _scaled(dataset: Dataset, rows: Integers, normalisation: Normalisation) -> Floats | None:
    """Return physical weights of some events, scaled so that each class has its whole yield.

    None if the weights of a class do not sum to something positive.
    """
    events = dataset.events
    worth = normalisation.per_weight[events.process.numpy()]
    weight = np.asarray(events.event_weight.numpy() * worth, dtype=np.float64)
    some, label = np.asarray(weight[rows]), dataset.label[rows]
    for code in (0, 1):
        total = some[label == code].sum()
        if not total > 0:
            return None
        some[label == code] *= weight[dataset.label == code].sum() / total
    return some
