"""How far the seeds of one model lie apart, and its folds; and what these numbers are made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.bootstrap.ranking import Ranking
from hepdl.evaluate.roc import roc_curve
from hepdl.pipeline.scores import ModelScores

__all__ = ["Cards", "Sample", "fold_numbers", "seed_spread", "spread"]

Floats = npt.NDArray[np.float64]

# Where folds are compared, and dependences: half of the signal passes.
WORKING_POINT = 0.5


@dataclass(frozen=True)
class Sample:
    """Some of the test events, with their weights and replicas.

    Attributes:
        selection: ``"all"``, or the expression of the window.
        index: Positions in the data set.
        label: 1 for signal, 0 for background.
        weight: Evaluation weights.
        bootstrap: Replicas of these events.

    Shapes:
        index, label, weight: ``(n_events,)``.
    """

    selection: str
    index: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    weight: Floats
    bootstrap: Bootstrap


@dataclass(frozen=True)
class Cards:
    """What was saved with the models of one name.

    Attributes:
        by_seed: Of each seed, one for each fold; one without folds. Nothing for a map of scores.
        chosen: Of the seed that the validation part chose, in each fold.
    """

    by_seed: Mapping[int, Sequence[Mapping[str, Any]]]
    chosen: Sequence[Mapping[str, Any]]

    @property
    def chosen_seed(self) -> int | None:
        """The seed that was chosen; None if the folds chose different ones, or it has none."""
        found = {_whole(card["seed"]) for card in self.chosen}
        return found.pop() if len(found) == 1 else None


def _whole(value: Any) -> int | None:
    """Return a whole number; None of what a map of scores does not have."""
    return None if value is None else int(value)


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean and standard deviation of single trainings; None where one is not finite.

    >>> spread([1.0, 3.0])
    {'mean': 2.0, 'standard_deviation': 1.4142135623730951}
    >>> spread([0.1, 0.1, 0.1])["standard_deviation"]
    0.0
    """
    mean = float(np.mean(values))
    if len(values) < 2 or not math.isfinite(mean):
        return {"mean": mean if math.isfinite(mean) else None, "standard_deviation": None}
    # The mean of equal values is rounded, and would leave a spread of 1e-16.
    deviation = 0.0 if min(values) == max(values) else float(np.std(values, ddof=1))
    return {"mean": mean, "standard_deviation": deviation}


def seed_spread(rankings: Sequence[Ranking]) -> dict[str, Any]:
    """Return the spread between seeds, as ``seed_spread`` in ``metrics.json``.

    Args:
        rankings: Of the same events by each seed.
    """
    efficiencies = rankings[0].signal_efficiencies
    rejections = np.array([ranking.background_rejection for ranking in rankings])
    return {
        "n": len(rankings),
        "auc": spread([float(ranking.auc) for ranking in rankings]),
        "background_rejection": {
            f"{efficiency:g}": spread(column.tolist())
            for efficiency, column in zip(efficiencies, rejections.T, strict=True)
        },
    }


def fold_numbers(
    scores: ModelScores, cards: Cards, sample: Sample, fold: npt.NDArray[np.integer]
) -> dict[str, Any]:
    """Return ``folds`` and ``fold_spread`` of ``metrics.json``: the chosen model of each fold alone.

    Args:
        scores: Scores of all events of the data set.
        cards: What was saved with the models.
        sample: The test events.
        fold: Their folds.

    Shapes:
        fold: ``(n_test,)``.
    """
    chosen = scores.chosen[sample.index]
    by_fold: dict[str, dict[str, Any]] = {}
    for number, card in enumerate(cards.chosen):
        inside = fold == number
        curve = roc_curve(sample.label[inside], chosen[inside], sample.weight[inside])
        area = curve.area()
        passing = float(curve.background_efficiency_at([WORKING_POINT])[0])
        rejection = 1.0 / passing if passing > 0.0 else math.inf
        by_fold[str(number)] = {
            "auc": float(area),
            "background_rejection": rejection if math.isfinite(rejection) else None,
            "n_entries": int(inside.sum()),
            "chosen_seed": _whole(card["seed"]),
            "best_epoch": _whole(card["best_epoch"]),
            "best_validation_auc": float(card["best_validation_auc"]),
        }
    areas = [float(entry["auc"]) for entry in by_fold.values()]
    rejections = [entry["background_rejection"] for entry in by_fold.values()]
    spreads = {"n": len(areas), "auc": spread(areas)}
    if None not in rejections:
        spreads["background_rejection"] = {f"{WORKING_POINT:g}": spread(rejections)}
    return {"folds": by_fold, "fold_spread": spreads}
