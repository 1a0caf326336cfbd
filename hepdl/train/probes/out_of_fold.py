"""A classifier for metrics that need one: gradient-boosted trees, scored out of fold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier

__all__ = ["fit_scores"]

Floats = npt.NDArray[np.float64]

N_FOLDS = 2
SEED = 0


def fit_scores(
    features: Floats, label: npt.NDArray[np.int64], event_weight: Floats
) -> npt.NDArray[np.float64]:
    """Return the probability of label 1 for each row, from a fit that did not see it.

    Early stopping on a tenth of each fit keeps it from finding structure in noise.

    Args:
        features: What the classifier may use.
        label: 1 or 0.
        event_weight: Not negative.

    Shapes:
        features ``(n_rows, n_features)``, label and event_weight ``(n_rows,)`` → ``(n_rows,)``.
    """
    # Equal weights are none: the bins of weighted features take most of the time.
    weight = None if np.ptp(event_weight) == 0 else event_weight
    fold = np.random.default_rng(SEED).permutation(len(label)) % N_FOLDS
    scores = np.empty(len(label))
    for k in range(N_FOLDS):
        model = HistGradientBoostingClassifier(
            max_iter=100, max_leaf_nodes=15, early_stopping=True, random_state=SEED
        )
        fitted = model.fit(
            features[fold != k], label[fold != k], None if weight is None else weight[fold != k]
        )
        scores[fold == k] = fitted.predict_proba(features[fold == k])[:, 1]
    return scores
