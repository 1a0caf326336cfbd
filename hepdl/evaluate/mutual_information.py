"""Mutual information of two sets of numbers, from a classifier that tells pairs from shuffles.

A classifier that separates the joint sample (x, y) from the shuffled one (x, y of another event)
estimates the ratio of the densities; its mean logarithm is bounded from above by the information
(Donsker-Varadhan): a weak classifier can only understate the dependence.

Reference:
    M. D. Donsker and S. R. S. Varadhan, Commun. Pure Appl. Math. 36 (1983) 183;
    M. I. Belghazi et al., ICML 2018, arXiv:1801.04062; S. Mukherjee, H. Asnani and S. Kannan,
    UAI 2019, arXiv:1906.01824 (with a classifier).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.evaluate.inputs.scored import check_numbers, check_weights

__all__ = ["FitScores", "mutual_information"]

Floats = npt.NDArray[np.float64]

FitScores = Callable[[Floats, npt.NDArray[np.int64], Floats], Floats]

# A probability is never taken closer to 0 or 1 than this: one overconfident event must not decide.
_CLIP = 1e-6


def mutual_information(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    fit_scores: FitScores,
    generator: np.random.Generator,
) -> Interval:
    """Return a lower estimate of the mutual information [bit].

    Args:
        x: First number of each event, e.g. the score.
        y: Second number, e.g. the jet mass [GeV].
        event_weight: Weights, not negative; None means 1.
        fit_scores: ``(X, y, w) -> probabilities`` of a classifier for events that it was not
            fitted on (out of fold); ``X`` is ``(2 n_events, 2)``, label 1 for true pairs.
        generator: Source of the shuffle.

    Shapes:
        x, y, event_weight: ``(n_events,)``.

    Raises:
        DataError: Lengths differ, a number is not finite, or weights are negative.
    """
    first = check_numbers(x, name="first numbers")
    second = check_numbers(y, name="second numbers", length=len(first))
    weights = check_weights(event_weight, len(first))
    if weights.min() < 0.0 or weights.sum() <= 0.0:
        message = (
            f"event weights from {weights.min():g} with sum {weights.sum():g}; mutual information "
            "needs weights that are not negative: use their absolute values"
        )
        raise DataError(message)
    shuffle = generator.permutation(len(first))
    # The weight of a shuffled pair is the product, so that both marginals stay what they were.
    shuffled_weight = weights * weights[shuffle]
    weights, shuffled_weight = weights / weights.sum(), shuffled_weight / shuffled_weight.sum()
    pairs = np.stack([np.tile(first, 2), np.concatenate([second, second[shuffle]])], axis=-1)
    label = np.repeat(np.array([1, 0], dtype=np.int64), len(first))
    probability = check_numbers(
        fit_scores(pairs, label, np.concatenate([weights, shuffled_weight]) * len(first)),
        name="scores of fit_scores",
        length=2 * len(first),
    )
    clipped = np.clip(probability, _CLIP, 1.0 - _CLIP)
    log_ratio = np.log(clipped) - np.log1p(-clipped)
    joint, shuffled = log_ratio[: len(first)], np.exp(log_ratio[len(first) :])
    mean, mean_ratio = float(joint @ weights), float(shuffled @ shuffled_weight)
    value = (mean - math.log(mean_ratio)) / math.log(2.0)
    variance = np.sum((weights * (joint - mean)) ** 2) + np.sum(
        (shuffled_weight * (shuffled / mean_ratio - 1.0)) ** 2
    )
    error = math.sqrt(float(variance)) / math.log(2.0)
    return Interval(value, value - error, value + error)
