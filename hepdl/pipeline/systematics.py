"""Variations of the events: further ttrees of the same files, scored by the models of the nominal events.

A varied event is tested by a model that was not trained on its nominal twin. For splits by hash and for
folds this follows from process, run and event number, which twins share; in a split by expression, whose
fields may vary, a varied event is where its twin is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from hepdl.errors import unknown_name
from hepdl.events import Events
from hepdl.events.split import PARTS, fold_of, in_validation
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.dataset import Dataset, Folds, identity_of, split_events
from hepdl.pipeline.weighting import TrainingWeigher
from hepdl.schema import Schema

__all__ = [
    "SYSTEMATIC",
    "is_trained_against",
    "systematics_problems",
    "tested_alone",
    "varied_dataset",
    "varied_schema",
]

Floats = npt.NDArray[np.float64]
Parts = npt.NDArray[np.int8]

SYSTEMATIC = "systematic"


def varied_schema(schema: Schema, ttree: str) -> Schema:
    """Return the schema of a variation: the same fields in another ttree."""
    return schema.model_copy(update={"ttree": ttree})


def is_trained_against(config: AnalysisConfig, name: str) -> bool:
    """Whether a model is decorrelated from the variations."""
    return SYSTEMATIC in config.decorrelation_of(name).nuisances


def varied_dataset(
    events: Events, nominal: Dataset, config: AnalysisConfig, schema: Schema
) -> Dataset:
    """Return a variation with the parts that its events have in the nominal data set.

    Args:
        events: All selected events of the variation.
        nominal: The nominal events.
        config: The resolved configuration.
        schema: For a split by expression.
    """
    unknown = np.full(len(events), np.nan)
    if nominal.folds is None:
        part = split_events(events, config, schema)
        if config.split.expression is not None:
            part = _as_twins(events, part, nominal)
        return Dataset(events, part, unknown, reconstructor=nominal.reconstructor)
    n_folds = nominal.folds.n
    wanted = config.weights.training
    weigher = TrainingWeigher(events, wanted, wanted.reweight_features or schema.features)
    folds = Folds(
        n_folds,
        fold_of(events.event_number.numpy(), n_folds),
        in_validation(*identity_of(events, config), fraction=config.split.validation_fraction),
        weigher,
    )
    everything = np.full(len(events), PARTS.index("test"), dtype=np.int8)
    return Dataset(events, everything, unknown, folds, nominal.reconstructor)


def tested_alone(varied: Dataset) -> Dataset:
    """Return the test events of a variation; with folds these are all of them."""
    index = varied.index("test")
    folds = varied.folds
    if folds is not None:
        folds = replace(folds, fold=folds.fold[index], validation=folds.validation[index])
    return Dataset(
        varied.events.take(torch.from_numpy(index)),
        varied.part[index],
        varied.training_weight[index],
        folds,
        varied.reconstructor,
    )


def systematics_problems(config: AnalysisConfig, schema: Schema, *, file: str) -> list[str]:
    """Return what is wrong with the section and with what uses it; an empty list if nothing is.

    Args:
        config: The resolved configuration.
        schema: What the files hold.
        file: Name of the analysis, for messages.
    """
    ttrees, problems = config.systematics.ttrees, []
    where = f"systematics.ttrees in {file}"
    if schema.ttree in ttrees:
        problems.append(
            f"{where}: {schema.ttree} is the nominal ttree of schema {schema.name}; name the others"
        )
    for name, process in config.processes.items():
        if process.simulate is not None:
            problems += [
                unknown_name("variation", ttree, config.simulate.variations, where=where)
                + f" (simulated for process {name}: add it to simulate.variations)"
                for ttree in ttrees
                if ttree not in (*config.simulate.variations, schema.ttree)
            ]
    place = f"systematics.nuisance in {file}"
    values = config.systematics.nuisance
    problems += [unknown_name("ttree", n, ttrees, where=place) for n in values if n not in ttrees]
    if not any(is_trained_against(config, name) for name in config.models):
        return problems
    if SYSTEMATIC in schema.flat_fields:
        problems.append(
            f"decorrelation.nuisances in {file}: {SYSTEMATIC} is the variation of an event, and a field of "
            f"schema {schema.name}, too: call the field something else"
        )
    if not ttrees:
        problems.append(
            f"decorrelation.nuisances in {file}: {SYSTEMATIC} needs variations; name their ttrees under "
            "systematics.ttrees"
        )
    problems += [
        f"{place}: the value of the nuisance for {ttree} is missing, e.g. {ttree}: 1"
        for ttree in ttrees
        if ttree not in values
    ]
    return problems


def _as_twins(events: Events, part: Parts, nominal: Dataset) -> Parts:
    """Return parts in which an event whose twin is there is where the twin is.

    Where entries of one collision are in several parts, the one that trains counts.
    """
    own = _names(events)
    theirs = _names(nominal.events)
    _, code = np.unique(np.concatenate([theirs, own]), axis=0, return_inverse=True)
    code = code.reshape(-1)
    found = np.full(int(code.max()) + 1, len(PARTS), dtype=np.int8)
    np.minimum.at(found, code[: len(theirs)], nominal.part)
    twin = found[code[len(theirs) :]]
    return np.where(twin < len(PARTS), twin, part).astype(np.int8)


def _names(events: Events) -> npt.NDArray[np.int64]:
    columns = (events.process, events.run_number, events.event_number)
    return np.stack([column.numpy() for column in columns], axis=1)
