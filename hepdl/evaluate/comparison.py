"""The difference of two models over several trainings, with both parts of its error.

A difference is the mean over n seeds; its variance is that of the paired bootstrap of the test
events plus the variance of the mean over seeds, (seed spread)^2 / n. The area is compared as a
difference, the background rejection as the logarithm of the ratio: its error is relative, and the
logarithm treats "twice as good" and "twice as bad" alike.

Reference:
    B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall 1993
    (paired bootstrap); X. Bouthillier et al., MLSys 2021, arXiv:2103.03098 (variance of trainings).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.intervals import spread
from hepdl.evaluate.bootstrap.ranking import Ranking

__all__ = ["Difference", "compare_models", "difference"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """First model minus second model.

    Attributes:
        metric: ``"auc"`` or ``"log_background_rejection_0.5"`` (natural logarithm of the ratio).
        value: Mean over the seeds.
        bootstrap_error: Standard deviation over replicas of the test events, both models on the
            same replicas.
        seed_error: Spread between trainings divided by the root of their number; None with one
            seed.
        n_seeds: Trainings of the model that has fewer.
        error: Both parts in quadrature; with one seed the bootstrap alone.
        significance: value / error; nan if the value is not finite or the error is zero.
        note: What a reader must know, else empty.
    """

    metric: str
    value: float
    bootstrap_error: float
    seed_error: float | None
    n_seeds: int
    error: float
    significance: float
    note: str = ""

    def as_dict(self) -> dict[str, float | str | None]:
        """Return the fields for JSON; numbers that are not finite become None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def difference(
    metric: str,
    first: tuple[Floats, Floats],
    second: tuple[Floats, Floats],
) -> Difference:
    """Return first minus second for any number that was computed in the same replicas.

    With equally many seeds the seed spread is that of the pairs (first seed with first seed, and
    so on); otherwise the variances of the two means are added, and the variance of a model with
    one seed is unknown and counts as zero, which the note says.

    Args:
        metric: Name of the number.
        first: Value per seed and replicas per seed of the first model.
        second: The same of the second model.

    Shapes:
        each: ``(n_seeds,)`` and ``(n_seeds, n_replicas)``.

    Raises:
        DataError: A model has no seed, or the replicas are not the same number.
    """
    (values_1, replicas_1), (values_2, replicas_2) = first, second
    n_seeds = min(len(values_1), len(values_2))
    if n_seeds == 0 or replicas_1.shape[-1] != replicas_2.shape[-1]:
        message = (
            f"{metric}: {len(values_1)} and {len(values_2)} seeds, {replicas_1.shape[-1]} and "
            f"{replicas_2.shape[-1]} replicas; a paired difference needs at least one seed of "
            "each model and the same bootstrap"
        )
        raise DataError(message)
    with np.errstate(invalid="ignore"):  # infinite minus infinite is nan, and is reported as such
        value = float(np.mean(values_1) - np.mean(values_2))
        bootstrap_error = spread(np.mean(replicas_1, axis=0) - np.mean(replicas_2, axis=0))
        seed_error = _seed_error(values_1, values_2)
    error = math.hypot(bootstrap_error, seed_error or 0.0)
    is_known = math.isfinite(value) and error > 0.0
    return Difference(
        metric=metric,
        value=value,
        bootstrap_error=bootstrap_error,
        seed_error=seed_error,
        n_seeds=n_seeds,
        error=error,
        significance=value / error if is_known else math.nan,
        note=_note(values_1, values_2, value),
    )


def compare_models(first: Sequence[Ranking], second: Sequence[Ranking]) -> list[Difference]:
    """Return the differences of two models in area and logarithm of each rejection.

    Args:
        first: One ranking per seed of the first model.
        second: One ranking per seed of the second model, of the same events and bootstrap.

    Returns:
        ``auc`` first, then ``log_background_rejection_<signal efficiency>``; above zero, the first
        model is better. ``exp(value)`` is the ratio of the rejections.

    Raises:
        DataError: A model has no seed, or the working points or bootstraps differ.
    """
    points = {tuple(ranking.signal_efficiencies) for ranking in (*first, *second)}
    if len(points) != 1:
        message = (
            f"{len(points)} different sets of working points among {len(first)} and {len(second)} "
            "rankings; compare rankings with the same signal_efficiencies, at least one a model"
        )
        raise DataError(message)
    if len({ranking.fingerprint for ranking in (*first, *second)}) != 1:
        message = (
            "the rankings come from bootstraps of different events or seeds; a paired difference "
            "needs the same events and the same Bootstrap for every model and seed"
        )
        raise DataError(message)
    found = [difference("auc", _areas(first), _areas(second))]
    for k, efficiency in enumerate(points.pop()):
        name = f"log_background_rejection_{efficiency:g}"
        found.append(difference(name, _log_rejections(first, k), _log_rejections(second, k)))
    return found


def _areas(rankings: Sequence[Ranking]) -> tuple[Floats, Floats]:
    values = np.array([ranking.auc for ranking in rankings])
    return values, np.array([ranking.auc_replicas for ranking in rankings])


def _log_rejections(rankings: Sequence[Ranking], k: int) -> tuple[Floats, Floats]:
    values = np.array([ranking.background_rejection[k] for ranking in rankings])
    replicas = np.array([ranking.rejection_replicas[:, k] for ranking in rankings])
    return np.log(values), np.log(replicas)


def _seed_error(values_1: Floats, values_2: Floats) -> float | None:
    n_1, n_2 = len(values_1), len(values_2)
    if max(n_1, n_2) == 1:
        return None
    if n_1 == n_2:
        return float(np.std(values_1 - values_2, ddof=1)) / math.sqrt(n_1)
    variances = [float(np.var(v, ddof=1)) / len(v) for v in (values_1, values_2) if len(v) > 1]
    return math.sqrt(sum(variances))


def _note(values_1: Floats, values_2: Floats, value: float) -> str:
    notes = []
    if max(len(values_1), len(values_2)) == 1:
        notes.append("one seed: the spread between trainings is not included")
    elif min(len(values_1), len(values_2)) == 1:
        which = "first" if len(values_1) == 1 else "second"
        notes.append(f"one seed of the {which} model: its spread is not included")
    if not math.isfinite(value):
        notes.append("no background passes a working point: the ratio is unbounded")
    return "; ".join(notes)
