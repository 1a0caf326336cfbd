"""Planing: training weights that take the class information out of a nuisance.

The events of each class get weights that make the spectrum of the nuisance the same for signal and background, so that
it no longer helps to tell them apart. With ``planing`` p below 1 the weights are to the power p. Of several nuisances each spectrum is the
same by itself; what their correlations say about the class remains. Only what the nuisance alone says is taken out: a
score of features that depend on it may still follow it.

Reference: S. Chang, T. Cohen and B. Ostdiek, "What is the machine learning?", Phys. Rev. D 97 (2018) 056009,
arXiv:1709.10106; L. Bradshaw, R. K. Mishra, A. Mitridate and B. Ostdiek, "Mass agnostic jet taggers", SciPost Phys. 8 (2020)
011, arXiv:1908.08959.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hepdl.events.split import PARTS
from hepdl.events.weights import CLASSES, Flattener
from hepdl.pipeline.dataset import Dataset

__all__ = ["planed"]


def planed(base: Dataset, nuisances: tuple[str, ...], strength: float) -> Dataset:
    """Return the data set with planed training weights; each class of each part keeps its sum of weights.

    Args:
        base: Of one fold.
        nuisances: Flat fields.
        strength: Power of the weights, in [0, 1].

    Raises:
        DataError: A nuisance is not finite, or the classes have no range of it in common.
    """
    train = base.part == PARTS.index("train")
    columns = base.columns(nuisances)
    flattener = Flattener.fit(
        {name: column[train] for name, column in columns.items()},
        base.label[train],
        base.training_weight[train],
    )
    factor = flattener.weights(columns, base.label) ** strength
    weight = base.training_weight * factor
    for part in (PARTS.index("train"), PARTS.index("validation")):
        for code in CLASSES:
            inside = (base.part == part) & (base.label == code)
            total = weight[inside].sum()
            if total > 0:
                weight[inside] *= base.training_weight[inside].sum() / total
    return replace(base, training_weight=np.where(np.isfinite(weight), weight, 0.0))
