"""The candidate assignments of events: momenta, features and truth of the chosen ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hepdl.errors import DataError, unknown_name
from hepdl.events.assigned import AssignedEvents, Truth
from hepdl.events.containers import Events
from hepdl.events.features import refuse_truth
from hepdl.events.reconstruction import CandidateSource, ObjectSource, ReconstructionRecipe
from hepdl.events.trees import FOUR_VECTOR_COLUMNS, four_vectors
from hepdl.kinematics import (
    CLASSIFICATION_FEATURES,
    RECONSTRUCTION_FEATURES,
    Assignments,
    Candidates,
    Correctness,
    Decay,
    assign,
    candidate_features,
    compare_with_truth,
    from_pt_eta_phi,
    hardest_members,
    highest_tags,
    neutrinos_of,
    pad,
    places_of_partons,
    pt,
    tth_assignment_features,
)

__all__ = ["CandidateEvents", "assignment_feature_names", "candidates_of"]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]

# The names in a decay that the features of ATLAS' lists are made of.
_TTH_NAMES = frozenset(
    ("higgs", "b1", "b2", "top_lep", "top_had", "w_lep", "w_had", "tt", "b_lep", "b_had", "q1",
     "q2", "lepton")
)  # fmt: skip


@dataclass(frozen=True)
class CandidateEvents:
    """All assignments of some events, and what is known of the objects.

    Attributes:
        assignments: The assignments, not written out.
        momenta: Four-vectors of each kind of object [GeV], padded.
        tags: Tag bins of the objects that have them, padded.
        truth: Place of the object that is matched to each leaf, or None without truth.
        truth_leaves: The leaves of which truth can tell.
    """

    assignments: Assignments
    momenta: dict[str, Array]
    tags: dict[str, IntArray]
    truth: IntArray | None
    truth_leaves: tuple[str, ...]

    def features(self, names: Sequence[str], chosen: IntArray | None = None) -> Array:
        """Return features of assignments, 0 where there is none or it is not finite.

        Args:
            names: Of ``assignment_feature_names``.
            chosen: Which assignments of each event (see ``k_best``); without it, all.

        Shapes:
            chosen ``(n_events, n_chosen)`` → ``(n_events, n_chosen, n_features)``.

        Raises:
            DataError: There is no such feature.
        """
        decay = self.assignments.decay
        known = assignment_feature_names(decay, self.assignments.collections, tagged=self.tags)
        for name in names:
            if name not in known:
                raise DataError(unknown_name("feature", name, known, where="of an assignment"))
        found: dict[str, Array] = {}
        if _is_tth(decay) and "jets" in self.tags:
            tth = (*RECONSTRUCTION_FEATURES, *CLASSIFICATION_FEATURES)
            if set(names) & set(tth):
                found |= tth_assignment_features(
                    self.assignments, self.momenta, self.tags["jets"], chosen
                )
        if set(names) - set(found):
            found = candidate_features(self.assignments, self.momenta, chosen) | found
            for leaf, collection in zip(decay.leaves, self.assignments.collections, strict=True):
                if f"b_tag_{leaf}" in names and f"b_tag_{leaf}" not in found:
                    values = self.tags[collection].astype(np.float64)
                    found[f"b_tag_{leaf}"] = self.assignments.values(leaf, values, chosen)
        n_chosen = len(self.assignments.table) if chosen is None else chosen.shape[1]
        if not names:
            return np.zeros((len(self.assignments.mask), n_chosen, 0))
        values = np.stack([found[name] for name in names], axis=-1)
        values[~np.isfinite(values)] = 0.0
        return values

    def leaves(self, chosen: IntArray) -> Array:
        """Return px, py, pz, energy and tag of each leaf, ``(n_events, n_chosen, n_leaves, 5)``."""
        decay = self.assignments.decay
        p4 = self.assignments.momenta(self.momenta, chosen)[:, :, : len(decay.leaves)]
        found = np.concatenate([p4, np.zeros((*p4.shape[:3], 1))], axis=3)
        for row, (leaf, collection) in enumerate(
            zip(decay.leaves, self.assignments.collections, strict=True)
        ):
            if collection in self.tags:
                values = self.tags[collection].astype(np.float64)
                found[:, :, row, 4] = np.nan_to_num(self.assignments.values(leaf, values, chosen))
        return found

    def correctness(self, chosen: IntArray | None = None) -> Correctness | None:
        """Return how right assignments are; None without truth."""
        if self.truth is None:
            return None
        return compare_with_truth(
            self.assignments.decay,
            self.assignments.members(chosen),
            self.truth,
            collections=self.assignments.collections,
            leaves=self.truth_leaves,
        )

    def assigned(
        self, chosen: IntArray, score: Array, feature_names: Sequence[str]
    ) -> AssignedEvents:
        """Return the chosen assignments as models take them.

        Shapes:
            chosen ``(n_events, n_best)``, -1 for none; score ``(n_events, n_best)``.
        """
        right = self.correctness(chosen)
        mask = chosen >= 0
        return AssignedEvents(
            self.assignments.decay,
            leaves=torch.from_numpy(self.leaves(chosen).astype(np.float32)),
            features=torch.from_numpy(self.features(feature_names, chosen).astype(np.float32)),
            score=torch.from_numpy(np.where(mask, score, 0.0).astype(np.float32)),
            mask=torch.from_numpy(mask),
            feature_names=tuple(feature_names),
            truth=None
            if right is None
            else Truth(torch.from_numpy(right.is_right), torch.from_numpy(right.is_known)),
        )


def assignment_feature_names(
    decay: Decay, objects: Sequence[str], *, tagged: Collection[str]
) -> tuple[str, ...]:
    """Return the names of what can be computed from an assignment.

    Args:
        decay: The decay.
        objects: Name of the objects of each leaf.
        tagged: Names of the objects that have a b-tag.
    """
    names: list[str] = []
    if _is_tth(decay) and "jets" in tagged:
        names += [*RECONSTRUCTION_FEATURES, *CLASSIFICATION_FEATURES]
    for particle in decay.particles:
        names += [f"mass_{particle.name}", f"pt_{particle.name}"]
        daughters = particle.daughters
        names += [
            f"delta_r_{one}_{other}"
            for i, one in enumerate(daughters)
            for other in daughters[i + 1 :]
        ]
    first = decay.leaves[0]
    for leaf in decay.leaves:
        names += [f"pt_{leaf}", f"eta_{leaf}", f"energy_{leaf}"]
        names += [f"delta_phi_{first}_{leaf}"] if leaf != first else []
    pairs = zip(decay.leaves, objects, strict=True)
    names += [f"b_tag_{leaf}" for leaf, name in pairs if name in tagged]
    return tuple(dict.fromkeys(names))


def candidates_of(events: Events, recipe: ReconstructionRecipe) -> CandidateEvents:
    """Return all assignments of the objects of some events; some 10 kB an event for ttH.

    Args:
        events: With the collections and flat fields of the recipe.
        recipe: What is assigned to what.

    Raises:
        DataError: A collection, column or field is not there, or an event has no lepton.
    """
    momenta: dict[str, Array] = {}
    masks: dict[str, Mask] = {}
    tags: dict[str, IntArray] = {}
    # The neutrino needs its lepton first.
    for source in sorted(recipe.objects, key=lambda source: bool(source.met)):
        momenta[source.name], masks[source.name], tag = _objects(events, source, momenta)
        if tag is not None:
            tags[source.name] = tag
    chosen: dict[str, Mask] = {}
    candidates: dict[str, Candidates] = {}
    for kind in sorted(recipe.candidates, key=lambda kind: kind.without is not None):
        candidates[kind.kind] = _candidates(kind, momenta, masks, tags, chosen)
    assignments = assign(recipe.decay, candidates)
    return CandidateEvents(
        assignments,
        momenta,
        tags,
        _truth(events, recipe, assignments),
        tuple(leaf for leaf, _ in recipe.truth_codes),
    )


def _is_tth(decay: Decay) -> bool:
    return set(decay.names) >= _TTH_NAMES


def _objects(
    events: Events, source: ObjectSource, momenta: dict[str, Array]
) -> tuple[Array, Mask, IntArray | None]:
    """Return four-vectors, which of them are real, and tags, if there are any."""
    if source.met:
        assert source.lepton is not None
        met, met_phi = (_field(events, name) for name in source.met)
        found = neutrinos_of(momenta[source.lepton][:, 0], met, met_phi, w_mass=source.w_mass)
        both = np.stack([np.ones(len(met), dtype=bool), found.is_real], axis=1)
        return found.p4, both, None
    if source.four_vector:
        p_t, eta, phi, energy = (_field(events, name) for name in source.four_vector)
        p4 = np.asarray(from_pt_eta_phi(p_t, eta, phi, energy=energy))[:, None]
        return p4, p4[..., 3] > 0.0, None
    assert source.collection is not None
    if source.collection not in events.collections:
        where = f"objects {source.name} of a reconstruction"
        raise DataError(
            unknown_name("collection", source.collection, events.collections, where=where)
        )
    rows = events.collections[source.collection]
    tag = () if source.b_tag is None else (source.b_tag,)
    refuse_truth(events, source.collection, (*FOUR_VECTOR_COLUMNS, *tag))
    offsets = rows.offsets.cpu().numpy()
    p4, mask = pad(four_vectors(rows, where=source.collection), offsets)
    if source.b_tag is None:
        return p4, mask, None
    if source.b_tag not in rows.columns:
        where = f"b_tag of {source.name}"
        raise DataError(unknown_name("column", source.b_tag, rows.columns, where=where))
    column = rows.values[:, rows.columns.index(source.b_tag)].cpu().numpy()
    return p4, mask, pad(column.astype(np.int64), offsets)[0]


def _candidates(
    kind: CandidateSource,
    momenta: dict[str, Array],
    masks: dict[str, Mask],
    tags: dict[str, IntArray],
    chosen: dict[str, Mask],
) -> Candidates:
    """Return the candidates of one kind; which objects they are is added to ``chosen``."""
    p4, mask = momenta[kind.of], masks[kind.of]
    # Both solutions for a neutrino have the same pT: the first one stays first.
    p_t = np.where(mask, pt(p4), 0.0)
    left = mask if kind.without is None else mask & ~chosen[kind.without]
    is_it = highest_tags(tags[kind.of], p_t, left, n=kind.n) if kind.by_tag else left
    members = hardest_members(p_t, is_it, kind.n)
    chosen[kind.kind] = np.zeros_like(mask)
    event, place = np.nonzero(members >= 0)
    chosen[kind.kind][event, members[event, place]] = True
    return Candidates(kind.of, members)


def _truth(
    events: Events, recipe: ReconstructionRecipe, assignments: Assignments
) -> IntArray | None:
    """Return the true place of each leaf in its collection; None if truth is not known."""
    if recipe.truth_column is None:
        return None
    codes = dict(recipe.truth_codes)
    of_object = {source.name: source.collection for source in recipe.objects}
    found = np.full((len(events), len(recipe.decay.leaves)), -1, dtype=np.int64)
    for name in dict.fromkeys(assignments.collections):
        rows = events.collections.get(of_object[name] or "")
        if rows is None or recipe.truth_column not in rows.columns:
            continue
        column = rows.values[:, rows.columns.index(recipe.truth_column)].cpu().numpy()
        parton, mask = pad(column.astype(np.int64), rows.offsets.cpu().numpy())
        own = {
            leaf: codes[leaf]
            for leaf, collection in zip(recipe.decay.leaves, assignments.collections, strict=True)
            if collection == name and leaf in codes
        }
        places = places_of_partons(recipe.decay, parton, mask, codes=own)
        found = np.where(places >= 0, places, found)
        codes = {leaf: code for leaf, code in codes.items() if leaf not in own}
    # Data have no truth: then a leaf with a code has no column.
    return None if codes else found


def _field(events: Events, name: str) -> Array:
    if name not in events.observers:
        where = "field of an object of a reconstruction"
        raise DataError(unknown_name("field", name, events.observers, where=where))
    if name in events.truth_names:
        message = f"field {name!r} of a reconstruction is truth, which data do not have"
        raise DataError(message)
    return np.asarray(events.observers[name].cpu().numpy(), dtype=np.float64)
