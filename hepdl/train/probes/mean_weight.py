"""Event weights of either sign, replaced by their mean at each place of phase space.

A generator beyond leading order gives some events negative weights, and only the mean weight
E[w|x] of the events at one place x is physical. A regression of the weight on the features finds
it: trees that minimise the squared error to a quantity that fluctuates converge to its mean. All
weights are then positive, their spread is that of physics alone, and any loop or library takes
them. Each event gets its mean from a regression that did not see its weight, else a flexible
regression would give back the sign it has learnt by heart.

Reference:
    B. Nachman, J. Thaler, "Neural resampler for Monte Carlo reweighting with preserved
    uncertainties", Phys. Rev. D 102 (2020) 076004, arXiv:2007.11586.
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor

from hepdl.errors import DataError

__all__ = ["mean_weights"]

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

CLASSES = {"background": 0, "signal": 1}
SEED = 0
# Signs are nearly pure noise: leaves of many events, and a stop when a tenth sees no gain.
MIN_ENTRIES_PER_LEAF = 100
MAX_ROUNDS = 300
# A density is not negative; where the regression says so, it is the noise of very few events.
LEAST_SHARE_OF_MEAN = 0.01


def mean_weights(
    features: npt.NDArray[np.floating],
    label: Integers,
    event_weight: Floats,
    *,
    is_train: Mask,
    half: npt.NDArray[np.integer],
) -> Floats:
    """Return the mean weight E[w|x] of each event, for each class by itself.

    Training events of one half are given the mean by a regression on the other half, all other
    events by the mean of the two. The sum of the training weights of each class stays as it was.

    Args:
        features: The place x of each event; nan is allowed.
        label: 1 for signal, 0 for background.
        event_weight: Weights of either sign.
        is_train: The events that may be learnt from.
        half: 0 or 1; events that belong together share it.

    Shapes:
        features ``(n_events, n_features)``, the others ``(n_events,)`` → ``(n_events,)``.

    Raises:
        DataError: A class has too few training events, or no positive sum of weights.
    """
    found = np.empty(len(label))
    for name, code in CLASSES.items():
        rows = np.flatnonzero(label == code)
        found[rows] = _of_class(
            name, features[rows], event_weight[rows], is_train=is_train[rows], half=half[rows]
        )
    return found


def _of_class(
    name: str,
    features: npt.NDArray[np.floating],
    weight: Floats,
    *,
    is_train: Mask,
    half: npt.NDArray[np.integer],
) -> Floats:
    used = weight[is_train]
    total = float(used.sum())
    if not total > 0:
        message = (
            f"the weights of the {len(used)} {name} entries of the training part sum to "
            f"{total:g}, which must be positive: there is no mean weight to find; use more events"
        )
        raise DataError(message)
    if used.min() == used.max():
        return np.full(len(weight), used[0])
    means = np.stack(
        [_regress(name, features, weight, is_train & (half == k)) for k in (0, 1)], axis=1
    )
    other_half = means[np.arange(len(weight)), 1 - half]
    mean = np.where(is_train, other_half, means.mean(axis=1))
    least = LEAST_SHARE_OF_MEAN * total / len(used)
    n_raised = int((mean < least).sum())
    mean = np.maximum(mean, least)
    log.info(
        "mean weights of %d %s entries: %.1f %% of the weights were negative, %d means raised to %g",
        len(weight),
        name,
        100 * float((used < 0).mean()),
        n_raised,
        least,
    )
    return np.asarray(mean * (total / mean[is_train].sum()))


def _regress(name: str, features: npt.NDArray[np.floating], weight: Floats, chosen: Mask) -> Floats:
    """Return the mean weight of all rows from a fit to the chosen ones."""
    if chosen.sum() < 2 * MIN_ENTRIES_PER_LEAF:
        message = (
            f"mean weights (negative: reweight) need {4 * MIN_ENTRIES_PER_LEAF} training entries "
            f"of each class, half of the {name} entries are {int(chosen.sum())}; use more events, "
            "or negative: keep"
        )
        raise DataError(message)
    model = HistGradientBoostingRegressor(
        max_iter=MAX_ROUNDS,
        max_leaf_nodes=15,
        min_samples_leaf=MIN_ENTRIES_PER_LEAF,
        early_stopping=True,
        random_state=SEED,
    )
    # In units of the typical weight, so that the trees' thresholds on gains have no units.
    unit = float(np.abs(weight[chosen]).mean())
    fitted = model.fit(features[chosen], weight[chosen] / unit)
    return np.asarray(fitted.predict(features) * unit, dtype=np.float64)
