"""How right an assignment is, where truth is known. For efficiencies and training targets only.

A particle is right if its leaves are, up to the symmetries of the decay. An event in which a leaf
has no matched object still says something about the particles that are whole: each particle has a
mask of its own. Two leaves that are matched to one object (two quarks in one jet) are not matched.

Reference:
    A. Shmakov et al., "SPANet: generalized permutationless set assignment for particle physics
    using symmetry preserving attention", arXiv:2106.03898, for partial events and the efficiency
    per particle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hepdl.kinematics.decays import Decay

__all__ = ["Correctness", "compare_with_truth", "places_of_partons"]

IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Correctness:
    """Which particles of each assignment are right, and of which truth can tell.

    Attributes:
        is_right: True where all leaves of the particle are right.
        is_known: True where all leaves of the particle have a matched object of their own.
        is_overlapping: True for events in which two leaves are matched to one object, to be counted.

    Shapes:
        is_right ``(n_events, n_assignments, n_particles)``, is_known ``(n_events, n_particles)``,
        both in the order of ``decay.particles``; is_overlapping ``(n_events,)``.
    """

    is_right: Mask
    is_known: Mask
    is_overlapping: Mask


def places_of_partons(
    decay: Decay, parton: IntArray, mask: Mask, *, codes: Mapping[str, int]
) -> IntArray:
    """Return the place of the object that is matched to each leaf.

    Args:
        decay: The decay.
        parton: Code of the parton that each object is matched to.
        mask: True for real objects.
        codes: Code of each leaf that has one.

    Shapes:
        parton, mask ``(n_events, n_members)`` → ``(n_events, n_leaves)``; -1 for leaves without
        code and for those that no object, or more than one, is matched to.
    """
    found = np.full((len(parton), len(decay.leaves)), -1, dtype=np.int64)
    for column, leaf in enumerate(decay.leaves):
        if leaf in codes and parton.shape[1] > 0:
            is_it = mask & (parton == codes[leaf])
            found[:, column] = np.where(is_it.sum(axis=1) == 1, np.argmax(is_it, axis=1), -1)
    return found


def compare_with_truth(
    decay: Decay,
    members: IntArray,
    truth: IntArray,
    *,
    collections: Sequence[str],
    leaves: Sequence[str] | None = None,
) -> Correctness:
    """Compare assignments with the truth.

    Of the symmetries of the decay the one counts that makes most particles right.

    Args:
        decay: The decay.
        members: Place of each leaf in its collection; -1 if there is no such assignment.
        truth: The true places; -1 if nothing was matched.
        collections: Collection of each leaf (``Assignments.collections``).
        leaves: The leaves that are compared; without it, all. Leave out what has no truth, like the
            solution for a neutrino: then a particle is right if its other leaves are.

    Shapes:
        members ``(n_events, n_assignments, n_leaves)``, truth ``(n_events, n_leaves)``.
    """
    counts = np.array([leaves is None or leaf in leaves for leaf in decay.leaves])
    below = decay.membership & counts
    is_matched = truth >= 0
    place = np.where(is_matched & counts, truth, -1 - np.arange(len(counts)))
    is_one = (place[:, :, None] == place[:, None, :]) & ~np.eye(len(counts), dtype=bool)
    source = np.array(collections)
    is_shared = (is_one & (source[:, None] == source)).any(axis=2)
    is_known = (is_matched & ~is_shared)[:, None, :] | ~below
    known = np.asarray(is_known.all(axis=2) & below.any(axis=1))
    best = np.zeros((*members.shape[:2], len(decay.particles)), dtype=bool)
    most = np.full(members.shape[:2], -1)
    for symmetry in decay.symmetries:
        turned = members[:, :, symmetry]
        leaf_is_right = (turned == truth[:, None]) & (turned >= 0)
        is_right = (leaf_is_right[:, :, None, :] | ~below).all(axis=3) & known[:, None]
        n_right = is_right.sum(axis=2)
        best = np.where((n_right > most)[..., None], is_right, best)
        most = np.maximum(most, n_right)
    return Correctness(is_right=best, is_known=known, is_overlapping=is_shared.any(axis=1))
