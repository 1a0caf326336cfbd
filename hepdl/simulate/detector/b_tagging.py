"""Pseudo-continuous b-tagging: the tightest working point that a jet passes.

Working points are named by their efficiency for b-jets in per cent: 85, 77, 70 and 60. A jet's
``b_tag`` counts those that it passes, 0 to 4. Efficiencies depend on the flavour alone; those for
c- and light jets are of the size of the inverse rejections of ATLAS' tagger MV2c10.

Reference: ATLAS, Eur. Phys. J. C 79 (2019) 970, arXiv:1907.05120, for the tagger and the points.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError
from hepdl.simulate.detector.flavour import BOTTOM, CHARM, LIGHT

__all__ = ["EFFICIENCIES", "WORKING_POINTS", "count_tags", "efficiencies", "tag_bins", "threshold"]

# Loosest first; the position plus one is the bin.
WORKING_POINTS = (85, 77, 70, 60)
EFFICIENCIES = {
    LIGHT: (1 / 33, 1 / 134, 1 / 381, 1 / 1538),
    CHARM: (1 / 3.1, 1 / 6, 1 / 12, 1 / 34.5),
    BOTTOM: (0.85, 0.77, 0.70, 0.60),
}

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]
Bins = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]


def threshold(working_point: int) -> int:
    """Return the lowest bin that passes a working point.

    >>> [threshold(point) for point in WORKING_POINTS]
    [1, 2, 3, 4]

    Raises:
        ConfigError: There is no such working point.
    """
    if working_point not in WORKING_POINTS:
        message = (
            f"working_point = {working_point!r}: the b-tagging has {WORKING_POINTS} "
            "(efficiency for b-jets in per cent)"
        )
        raise ConfigError(message)
    return WORKING_POINTS.index(working_point) + 1


def efficiencies(flavour: Ints) -> Floats:
    """Return the probability to pass each working point, loosest first; a last axis of four."""
    table = np.zeros((BOTTOM + 1, len(WORKING_POINTS)))
    for label, row in EFFICIENCIES.items():
        table[label] = row
    return np.asarray(table[flavour])


def tag_bins(flavour: Ints, uniform: Floats, is_jet: Bools) -> Bins:
    """Return the bin of each jet, drawn from its flavour; 0 where there is no jet.

    Args:
        flavour: 5, 4 or 0.
        uniform: One number in [0, 1) a jet; small ones are tight tags.
        is_jet: Which jets are real and selected.

    Shapes:
        all of one shape.
    """
    passed = uniform[..., None] < efficiencies(flavour)
    return np.where(is_jet, passed.sum(axis=-1), 0).astype(np.int8)


def count_tags(bins: Bins, *, working_point: int) -> npt.NDArray[np.int64]:
    """Return how many jets of each event pass a working point, ``(n_events, n_jets) → (n_events,)``."""
    return np.asarray((bins >= threshold(working_point)).sum(axis=1))
