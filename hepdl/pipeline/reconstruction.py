"""The reconstruction of an analysis: one for all its models, fitted on the training part.

Models take candidate assignments whole (``Inputs.assignments``), or numbers of the best one as flat
features: ``best_score``, and ``best_<feature>`` for everything that an assignment has, for example
``best_mass_higgs`` or ``best_pt_b1``.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace

import torch

from hepdl.errors import ConfigError, DataError, HepdlError, unknown_name
from hepdl.events import AssignedEvents, AssignmentInputs, Events, Inputs
from hepdl.events.reconstruction import ReconstructionRecipe
from hepdl.models.reconstruction.fitted import Reconstruction, known_features
from hepdl.models.reconstruction.ranking_trees import RankingOptions
from hepdl.pipeline import parts
from hepdl.pipeline.config import AnalysisConfig
from hepdl.schema import Schema

__all__ = [
    "PREFIX",
    "Reconstructor",
    "assign",
    "covers",
    "joint_needs",
    "needs_of",
    "reconstruction_of",
    "reconstruction_problems",
    "union",
    "with_assignments",
]

log = logging.getLogger(__name__)

PREFIX = "best_"
SCORE = "best_score"


@dataclass(frozen=True)
class Reconstructor:
    """Makes the reconstruction of an analysis for any training part.

    Attributes:
        config: The configuration.
        needs: What all models of the analysis take together, or None.
    """

    config: AnalysisConfig
    needs: AssignmentInputs | None

    @classmethod
    def of(cls, config: AnalysisConfig, schema: Schema) -> Reconstructor | None:
        """Return that of an analysis, or None if it has none."""
        if config.reconstruction is None:
            return None
        return cls(config, joint_needs(config, schema))

    @property
    def seed(self) -> int:
        """Of everything that is random."""
        assert self.config.reconstruction is not None
        return self.config.reconstruction.seed

    def unfitted(self) -> Reconstruction:
        """Return a new reconstruction."""
        made = reconstruction_of(self.config)
        assert made is not None
        return made


def reconstruction_of(config: AnalysisConfig) -> Reconstruction | None:
    """Return the reconstruction of an analysis, not fitted; None if it has none.

    Raises:
        ConfigError: The section says something that cannot be.
    """
    wanted = config.reconstruction
    if wanted is None:
        return None
    try:
        options = RankingOptions(**wanted.options)
    except TypeError as error:
        known = ", ".join(RankingOptions.__dataclass_fields__)
        message = f"reconstruction.options: {error}; there are {known}"
        raise ConfigError(message) from error
    return Reconstruction(
        ReconstructionRecipe.from_mapping(wanted.recipe),
        ranking=wanted.ranking,
        features=wanted.features,
        options=options,
    )


def needs_of(inputs: Inputs, fields: Collection[str]) -> AssignmentInputs | None:
    """Return the assignments that a model needs, whole or for its flat features; None for none.

    Args:
        inputs: Of the model.
        fields: Flat fields of the events: a field that is called ``best_…`` is only that.
    """
    best = tuple(
        name.removeprefix(PREFIX)
        for name in inputs.features
        if name.startswith(PREFIX) and name not in fields and name != SCORE
    )
    wanted = inputs.assignments
    if wanted is None:
        needs_score = SCORE in inputs.features and SCORE not in fields
        return AssignmentInputs(1, best) if best or needs_score else None
    return AssignmentInputs(wanted.n_best, tuple(dict.fromkeys((*wanted.features, *best))))


def joint_needs(config: AnalysisConfig, schema: Schema) -> AssignmentInputs | None:
    """Return what all models of an analysis need together, so that it is made once."""
    found: list[AssignmentInputs] = []
    for name, model in config.models.items():
        with torch.random.fork_rng(devices=[]):
            built = parts.build(
                "models", model.model, model.options, where=f"models.{name}.options"
            )
        needed = needs_of(built.inputs, schema.flat_fields)
        found += [] if needed is None else [needed]
    if not found:
        return None
    features = [feature for needed in found for feature in needed.features]
    return AssignmentInputs(max(needed.n_best for needed in found), tuple(dict.fromkeys(features)))


def assign(
    events: Events, reconstruction: Reconstruction | None, needed: AssignmentInputs
) -> AssignedEvents:
    """Return the assignments of events; events without a single one are counted in a warning.

    Raises:
        DataError: There is no reconstruction, or the events do not have what it takes.
    """
    if reconstruction is None:
        message = (
            f"the model takes the best {needed.n_best} assignments with {list(needed.features)}; "
            "they come from a reconstruction: add the section reconstruction to the analysis"
        )
        raise DataError(message)
    assigned = reconstruction.assign(events, needed)
    n_without = int((~assigned.mask.any(dim=1)).sum()) if len(assigned) else 0
    if n_without:
        log.warning(
            "%d of %d events have too few objects for any assignment: their assignments are "
            "masked, and best_… features are 0",
            n_without,
            len(events),
        )
    return assigned


def with_assignments(events: Events, inputs: Inputs, assigned: AssignedEvents) -> Events:
    """Return the events with what a model takes of their assignments.

    Args:
        events: The events.
        inputs: Of the model.
        assigned: At least what the model needs.
    """
    columns = {}
    for name in inputs.features:
        if name in events.observers or name in events.feature_names:
            continue
        if name == SCORE:
            columns[name] = assigned.score[:, 0]
        elif name.startswith(PREFIX):
            place = assigned.feature_names.index(name.removeprefix(PREFIX))
            columns[name] = assigned.features[:, 0, place]
    if columns:
        events = replace(events, observers={**events.observers, **columns})
    wanted = inputs.assignments
    if wanted is None:
        return events
    return replace(events, assignments=assigned.best(wanted.n_best, wanted.features))


def covers(found: AssignedEvents, needed: AssignmentInputs) -> bool:
    """Whether assignments hold all that is needed."""
    return found.n_best >= needed.n_best and set(needed.features) <= set(found.feature_names)


def union(one: AssignmentInputs, other: AssignmentInputs | None) -> AssignmentInputs:
    """Return what serves both."""
    if other is None:
        return one
    features = tuple(dict.fromkeys((*other.features, *one.features)))
    return AssignmentInputs(max(one.n_best, other.n_best), features)


def reconstruction_problems(config: AnalysisConfig, schema: Schema, *, file: str) -> list[str]:
    """Return what is wrong with the section, and with what models take from it.

    Args:
        config: The analysis.
        schema: What the files hold.
        file: Name of the configuration, for messages.
    """
    try:
        made = reconstruction_of(config)
    except HepdlError as error:
        return [f"{error} (in {file})"]
    known = (
        () if made is None else (SCORE, *(PREFIX + name for name in known_features(made.recipe)))
    )
    problems = [] if made is None else _schema_problems(made, schema, file)
    for name, model in config.models.items():
        where = f"models.{name}.options"
        if parts.check("models", model.model, model.options, where=where):
            continue  # a wrong option is named elsewhere
        try:
            with torch.random.fork_rng(devices=[]):
                inputs = parts.build("models", model.model, model.options, where=where).inputs
        except HepdlError:
            continue  # and so is a refused one
        needed = needs_of(inputs, schema.flat_fields)
        if needed is not None and made is None:
            problems.append(
                f"models.{name} in {file} takes assignments of a decay, and the analysis has no "
                "section reconstruction; add one (`reconstruction: {}` is that of ttH → lepton + jets)"
            )
        elif needed is not None:
            problems += [
                unknown_name(
                    "feature of an assignment", PREFIX + feature, known, where=f"{where} in {file}"
                )
                for feature in needed.features
                if PREFIX + feature not in known
            ]
    return problems


def _schema_problems(made: Reconstruction, schema: Schema, file: str) -> list[str]:
    """Return the fields and columns of the recipe that the schema does not have."""
    where = f"reconstruction in {file}"
    problems = [
        unknown_name("field of the schema", name, schema.flat_fields, where=where)
        for name in made.recipe.flat_fields
        if name not in schema.flat_fields
    ]
    for collection, columns in made.recipe.collections.items():
        if collection not in schema.collections:
            problems.append(unknown_name("collection", collection, schema.collections, where=where))
            continue
        branches = schema.collections[collection].branches
        problems += [
            unknown_name(f"column of {collection}", column, branches, where=where)
            for column in columns
            if column not in branches
        ]
    column = made.recipe.truth_column
    if column is not None and made.ranking == "boosted_trees":
        groups = schema.collections.values()
        if not any(column in group.branches for group in groups):
            names = [name for group in groups for name in group.branches]
            problems.append(unknown_name("column", column, names, where=f"{where}, truth.column"))
    return problems
