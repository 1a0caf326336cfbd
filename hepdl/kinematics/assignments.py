"""Candidate assignments: which measured object is which leaf of a decay.

Every leaf takes its member (a jet, the lepton, one of the two neutrino solutions) from a short list
of candidates of its kind, at most ``n_slots`` of them in each event. The combinations of slots are
the same for all events, so they are written down once, in a table, each only once under the
symmetries of the decay; what an event does not have, or would use twice, is masked. So an
assignment is a row of the table, and an event with too few objects simply has no valid one.

Reference:
    The χ² of masses as a measure of an assignment: S. Snyder, "Measurement of the top quark mass
    at D0", FERMILAB-THESIS-1995-27, and most top analyses since; candidates by rank of b-tag (four
    b-jets, the others light) as ATLAS' reconstruction of ttH(bb), arXiv:1712.08895.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.kinematics.decays import Decay

__all__ = ["Assignments", "Candidates", "assign", "chi_square", "joined_slots", "k_best"]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Above this the table of combinations alone takes hundreds of megabytes.
_LARGEST_TABLE = 3_000_000


@dataclass(frozen=True)
class Candidates:
    """What leaves of one kind may be.

    Attributes:
        collection: Name of the collection that they are taken from; two kinds may share one.
        members: Their places in it, -1 for an empty slot. Identical daughters come out in the
            order of the slots.

    Shapes:
        members ``(n_events, n_slots)``.
    """

    collection: str
    members: IntArray


@dataclass(frozen=True)
class Assignments:
    """All assignments of all events, without writing them out.

    Attributes:
        decay: The decay.
        collections: Collection of each leaf.
        slots: Place of the candidate in its collection, for each leaf and slot; -1 if none.
        table: Slot of each leaf, for each assignment.
        mask: True where the event has all members, and none of them twice.

    Shapes:
        slots ``(n_events, n_leaves, n_slots)``, table ``(n_assignments, n_leaves)``,
        mask ``(n_events, n_assignments)``.
    """

    decay: Decay
    collections: tuple[str, ...]
    slots: IntArray
    table: IntArray
    mask: Mask

    def members(self, chosen: IntArray | None = None) -> IntArray:
        """Return the place of each leaf in its collection, -1 in assignments that are not there.

        Args:
            chosen: Rows of the table for each event, -1 for none (see ``k_best``); without it, all.

        Shapes:
            chosen ``(n_events, n_chosen)`` → ``(n_events, n_chosen, n_leaves)``.
        """
        rows = self.rows(chosen)
        leaves = range(len(self.collections))
        return np.stack([self._members_of(leaf, rows) for leaf in leaves], axis=-1)

    def rows(self, chosen: IntArray | None) -> IntArray:
        """Return the chosen rows of the table; without a choice all of each event, -1 for none."""
        if chosen is not None:
            return chosen
        return np.where(self.mask, np.arange(len(self.table)), -1)

    def _members_of(self, leaf: int, rows: IntArray) -> IntArray:
        """Return the place of one leaf in its collection, -1 where there is no assignment."""
        if len(self.table) == 0:
            return np.full(rows.shape, -1, dtype=np.int64)
        place = np.take_along_axis(self.slots[:, leaf], self.table[rows, leaf], axis=1)
        return np.where(rows < 0, -1, place)

    def momenta(self, momenta: Mapping[str, Array], chosen: IntArray | None = None) -> Array:
        """Return the four-vectors of the leaves and then of the particles [GeV].

        Leaves come in the order of ``decay.leaves``, particles in that of ``decay.particles``, and
        everything of an assignment that is not there is 0. Of all assignments this is some 70 kB an
        event for ttH: ask for the best few, or go through the events in pieces.

        Args:
            momenta: Four-vectors of each collection, padded.
            chosen: As for ``members``.

        Shapes:
            momenta ``(n_events, n_members, 4)`` each → ``(n_events, n_chosen, n_leaves +
            n_particles, 4)``.
        """
        members = self.members(chosen)
        names = self.decay.names
        found = np.zeros((*members.shape[:2], len(names), 4))
        for column, collection in enumerate(self.collections):
            found[:, :, column] = _take(_of(momenta, collection), members[..., column], 0.0)
        for row, particle in enumerate(self.decay.particles, start=len(self.decay.leaves)):
            for daughter in particle.daughters:
                found[:, :, row] += found[:, :, names.index(daughter)]
        return found

    def values(self, leaf: str, values: Array, chosen: IntArray | None = None) -> Array:
        """Return a value of the members that are one leaf, e.g. its b-tag; NaN where there is none.

        Shapes:
            values ``(n_events, n_members)`` of the leaf's collection → ``(n_events, n_chosen)``.
        """
        members = self._members_of(self.decay.leaves.index(leaf), self.rows(chosen))
        return _take(np.asarray(values, dtype=np.float64), members, np.nan)


def assign(decay: Decay, candidates: Mapping[str, Candidates]) -> Assignments:
    """Return all assignments of candidates to the leaves of a decay.

    Args:
        decay: The decay.
        candidates: For each kind of leaf.

    Raises:
        ConfigError: A kind of leaf has no candidates, or there are millions of combinations.
        DataError: Candidates are not of the same events.
    """
    for name, kind in zip(decay.leaves, decay.kinds, strict=True):
        if kind not in candidates:
            where = f"leaf {name} of the decay"
            raise ConfigError(unknown_name("kind of candidates", kind, candidates, where=where))
    n_slots = [candidates[kind].members.shape[1] for kind in decay.kinds]
    sizes = {kind: len(candidates[kind].members) for kind in decay.kinds}
    n_events = sizes[decay.kinds[0]]
    if set(sizes.values()) != {n_events}:
        message = f"candidates are of different numbers of events: {sizes}"
        raise DataError(message)
    slots = np.full((n_events, len(decay.leaves), max(n_slots)), -1, dtype=np.int64)
    for leaf, kind in enumerate(decay.kinds):
        slots[:, leaf, : n_slots[leaf]] = candidates[kind].members
    table = _table(decay, n_slots)
    collections = tuple(candidates[kind].collection for kind in decay.kinds)
    names = sorted(set(collections))
    source = np.array([names.index(name) for name in collections], dtype=np.int64)
    mask = np.empty((n_events, len(table)), dtype=np.bool_)
    _find_valid(slots, table, source, mask)
    return Assignments(decay, collections, slots, table, mask)


def chi_square(assignments: Assignments, momenta: Mapping[str, Array]) -> Array:
    """Return the sum of squared pulls of the known masses, for each assignment.

    A pull is the difference from the particle's mass in units of its resolution.

    Args:
        assignments: The assignments.
        momenta: Four-vectors of each collection, padded [GeV].

    Shapes:
        momenta ``(n_events, n_members, 4)`` each → ``(n_events, n_assignments)``, infinite where
        the assignment is masked.

    Raises:
        ConfigError: No particle of the decay has a mass.
    """
    decay = assignments.decay
    known = [i for i, particle in enumerate(decay.particles) if particle.mass is not None]
    if not known:
        listed = ", ".join(particle.name for particle in decay.particles)
        message = (
            f"no particle of the decay has a mass ({listed}), so no assignment is better than "
            "another; give mass and resolution [GeV] of at least one"
        )
        raise ConfigError(message)
    p4, slots = joined_slots(assignments, momenta)
    found = np.empty(assignments.mask.shape)
    _sum_of_pulls(
        p4,
        slots,
        assignments.table,
        assignments.mask,
        decay.membership[known],
        np.array([decay.particles[i].mass for i in known], dtype=np.float64),
        np.array([decay.particles[i].resolution for i in known], dtype=np.float64),
        found,
    )
    return found


def joined_slots(assignments: Assignments, momenta: Mapping[str, Array]) -> tuple[Array, IntArray]:
    """Return the members of all collections side by side, and slots that count over them.

    Shapes:
        momenta ``(n_events, n_members, 4)`` each → ``(n_events, n_all_members, 4)`` and
        ``(n_events, n_leaves, n_slots)``, -1 for an empty slot.
    """
    names = sorted(set(assignments.collections))
    blocks = [_of(momenta, name) for name in names]
    start = np.cumsum([0, *(block.shape[1] for block in blocks)])
    first = np.array([start[names.index(name)] for name in assignments.collections])
    slots = np.where(assignments.slots >= 0, assignments.slots + first[:, None], -1)
    return np.concatenate(blocks, axis=1), slots


def k_best(cost: Array, k: int) -> IntArray:
    """Return the ``k`` assignments of smallest cost, the best first; the first of equal ones.

    Args:
        cost: A χ², or minus a score; not finite for assignments that are not there.
        k: How many.

    Shapes:
        cost ``(n_events, n_assignments)`` → ``(n_events, k)``, -1 where there are no more.

    >>> k_best(np.array([[3.0, 1.0, np.inf]]), 3)
    array([[ 1,  0, -1]])
    """
    found = np.full((len(cost), k), -1, dtype=np.int64)
    if k == 0:
        return found
    _keep_smallest(np.asarray(cost, dtype=np.float64), found)
    return found


def _of(momenta: Mapping[str, Array], collection: str) -> Array:
    """Return the four-vectors of a collection."""
    if collection not in momenta:
        where = "four-vectors of an assignment"
        raise DataError(unknown_name("collection", collection, momenta, where=where))
    return np.asarray(momenta[collection], dtype=np.float64)


def _take(values: Array, members: IntArray, absent: float) -> Array:
    """Return the values of some members of each event; ``absent`` for those that are -1."""
    found = np.full((*members.shape, *values.shape[2:]), absent)
    event, place = np.nonzero(members >= 0)
    found[event, place] = values[event, members[event, place]]
    return found


def _table(decay: Decay, n_slots: list[int]) -> IntArray:
    """Return the slots of all leaves for each assignment, one for each orbit of the symmetries."""
    table = np.zeros((1, 0), dtype=np.int64)
    for leaf, kind in enumerate(decay.kinds):
        before = [i for i in range(leaf) if decay.kinds[i] == kind]
        grown = np.repeat(table, n_slots[leaf], axis=0)
        slot = np.tile(np.arange(n_slots[leaf]), len(table))
        if len(grown) > _LARGEST_TABLE:
            message = (
                f"the {len(decay.leaves)} leaves of the decay with {', '.join(map(str, n_slots))} "
                f"candidates have more than {_LARGEST_TABLE} assignments; take fewer candidates"
            )
            raise ConfigError(message)
        is_free = (grown[:, before] != slot[:, None]).all(axis=1)
        table = np.column_stack([grown[is_free], slot[is_free]])
    # Of assignments that are the same, the first in lexicographic order stays.
    digits = max(n_slots) ** np.arange(len(decay.leaves))[::-1]
    order = table @ digits
    is_first = np.ones(len(table), dtype=bool)
    for symmetry in decay.symmetries[1:]:
        is_first &= order <= table[:, symmetry] @ digits
    return np.ascontiguousarray(table[is_first])


@nb.njit(cache=True, nogil=True)
def _find_valid(slots: IntArray, table: IntArray, source: IntArray, mask: Mask) -> None:
    """Set the mask of each assignment; ``source`` is a number for the collection of each leaf."""
    n_leaves = table.shape[1]
    for n in range(len(slots)):
        for a in range(len(table)):
            is_valid = True
            for i in range(n_leaves):
                member = slots[n, i, table[a, i]]
                if member < 0:
                    is_valid = False
                    break
                for j in range(i):
                    if source[i] == source[j] and member == slots[n, j, table[a, j]]:
                        is_valid = False
                if not is_valid:
                    break
            mask[n, a] = is_valid


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _sum_of_pulls(
    p4: Array,
    slots: IntArray,
    table: IntArray,
    mask: Mask,
    membership: Mask,
    masses: Array,
    resolutions: Array,
    found: Array,
) -> None:
    """Fill the χ² of each assignment; slots count over all collections together."""
    n_leaves = table.shape[1]
    for n in range(len(slots)):
        for a in range(len(table)):
            if not mask[n, a]:
                found[n, a] = np.inf
                continue
            total = 0.0
            for p in range(len(masses)):
                px, py, pz, e = 0.0, 0.0, 0.0, 0.0
                for i in range(n_leaves):
                    if membership[p, i]:
                        member = slots[n, i, table[a, i]]
                        px += p4[n, member, 0]
                        py += p4[n, member, 1]
                        pz += p4[n, member, 2]
                        e += p4[n, member, 3]
                mass2 = (e + pz) * (e - pz) - px * px - py * py
                pull = (np.sqrt(max(mass2, 0.0)) - masses[p]) / resolutions[p]
                total += pull * pull
            found[n, a] = total


@nb.njit(cache=True, nogil=True)
def _keep_smallest(cost: Array, found: IntArray) -> None:
    """Fill the places of the smallest finite costs of each row, in ascending order."""
    k = found.shape[1]
    for n in range(len(cost)):
        n_kept = 0
        for a in range(cost.shape[1]):
            value = cost[n, a]
            if not np.isfinite(value):
                continue
            if n_kept == k:
                if value >= cost[n, found[n, k - 1]]:
                    continue
                n_kept -= 1
            place = n_kept
            while place > 0 and value < cost[n, found[n, place - 1]]:
                found[n, place] = found[n, place - 1]
                place -= 1
            found[n, place] = a
            n_kept += 1
