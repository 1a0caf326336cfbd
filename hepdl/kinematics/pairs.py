"""All pairs of the objects of each event, and the pair that is extreme in something.

The field names such features by the pair and by what chooses it: ``Mbb_MindR`` is the mass of the
pair of b-jets that are closest in ΔR.

Reference:
    ATLAS, "Search for the standard model Higgs boson produced in association with top quarks and
    decaying into a bb pair", arXiv:1712.08895, table of input variables; class PairedSystem of its
    public software: Δη is the absolute value, means run over all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hepdl.kinematics import fourvectors

__all__ = ["Pairs", "at_largest", "at_smallest", "mean_of_pairs", "pairs_of"]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Pairs:
    """Every pair of two different objects of each event, once, in lexicographic order.

    Attributes:
        first: Index of the first object of each pair.
        second: Index of the second one, which is larger.
        mask: True where both objects are real; the values of other pairs are 0.
        mass: Mass of the pair [GeV].
        pt: Transverse momentum of the pair [GeV].
        delta_r: Distance of the two in pseudorapidity and azimuth.
        delta_eta: Absolute difference in pseudorapidity.

    Shapes:
        first, second ``(n_pairs,)``; all others ``(n_events, n_pairs)``.
    """

    first: IntArray
    second: IntArray
    mask: Mask
    mass: Array
    pt: Array
    delta_r: Array
    delta_eta: Array


def pairs_of(p4: Array, mask: Mask) -> Pairs:
    """Return all pairs of the objects of each event.

    Shapes:
        p4 ``(n_events, n_objects, 4)`` [GeV], mask ``(n_events, n_objects)`` → ``n_objects
        (n_objects - 1) / 2`` pairs.
    """
    first, second = np.triu_indices(p4.shape[1], k=1)
    both = mask[:, first] & mask[:, second]
    eta, phi = fourvectors.eta(p4), fourvectors.phi(p4)
    total = p4[:, first] + p4[:, second]
    with np.errstate(invalid="ignore"):
        # Padding has no direction: NaN here, 0 below.
        delta_eta = np.abs(eta[:, first] - eta[:, second])
        distance = np.hypot(delta_eta, fourvectors.delta_phi(phi[:, first], phi[:, second]))
    return Pairs(
        first=first,
        second=second,
        mask=both,
        mass=np.where(both, fourvectors.mass(total), 0.0),
        pt=np.where(both, fourvectors.pt(total), 0.0),
        delta_r=np.where(both, distance, 0.0),
        delta_eta=np.where(both, delta_eta, 0.0),
    )


def at_smallest(values: Array, by: Array, mask: Mask) -> Array:
    """Return the value of the pair for which ``by`` is smallest; the first of equal ones.

    Shapes:
        values, by, mask ``(n_events, n_pairs)`` → ``(n_events,)``, NaN where there is no pair.

    >>> at_smallest(np.array([[70.0, 125.0]]), np.array([[2.0, 1.0]]), np.array([[True, True]]))
    array([125.])
    """
    if values.shape[1] == 0:
        return np.full(len(values), np.nan)
    chosen = np.argmin(np.where(mask, by, np.inf), axis=1)
    found = np.take_along_axis(values, chosen[:, None], axis=1)[:, 0]
    return np.where(mask.any(axis=1), found, np.nan)


def at_largest(values: Array, by: Array, mask: Mask) -> Array:
    """Return the value of the pair for which ``by`` is largest; the first of equal ones.

    Shapes:
        values, by, mask ``(n_events, n_pairs)`` → ``(n_events,)``, NaN where there is no pair.
    """
    return at_smallest(values, -by, mask)


def mean_of_pairs(values: Array, mask: Mask) -> Array:
    """Return the mean over the pairs of each event.

    Shapes:
        values, mask ``(n_events, n_pairs)`` → ``(n_events,)``, NaN where there is no pair.
    """
    count = mask.sum(axis=1)
    total = np.where(mask, values, 0.0).sum(axis=1)
    found: Array = np.full(len(values), np.nan)
    np.divide(total, count, out=found, where=count > 0)
    return found
