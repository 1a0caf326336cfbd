"""Domain adaptation: events without labels, data say, beside the simulated ones in a training.

Processes with ``label: unlabelled`` are read like all others, and are in no part of the split: no number,
weight or picture knows them. A network whose decorrelation names the nuisance ``domain`` has all of them
in its training part, with ``domain`` 1 (0 for labelled events), the label -1 and no weight in the loss of
the classification; the penalty gives them together the weight of the labelled events.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from hepdl.events import Events
from hepdl.events.split import PARTS
from hepdl.events.table import concatenate
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.dataset import Dataset
from hepdl.schema import Schema

__all__ = ["DOMAIN", "is_adapted", "unlabelled_problems", "with_unlabelled"]

DOMAIN = "domain"


def is_adapted(config: AnalysisConfig, name: str) -> bool:
    """Whether a model is trained beside unlabelled events."""
    return DOMAIN in config.decorrelation_of(name).nuisances


def with_unlabelled(base: Dataset, unlabelled: Events) -> Dataset:
    """Return a data set whose training part also holds events without labels.

    Args:
        base: The labelled events, of one fold.
        unlabelled: All of the others; truth is not known of them and becomes NaN.
    """
    labelled = base.events
    count = len(unlabelled)
    columns = {
        name: unlabelled.observers.get(name, _unknown(column, count))
        for name, column in labelled.observers.items()
    }
    others = replace(
        unlabelled,
        process=torch.zeros_like(unlabelled.process),
        process_names=labelled.process_names,
        observers=columns,
        truth_names=labelled.truth_names,
    )
    train = np.full(count, PARTS.index("train"), dtype=np.int8)
    return replace(
        base,
        events=concatenate([_marked(labelled, 0.0), _marked(others, 1.0)]),
        part=np.concatenate([base.part, train]),
        training_weight=np.concatenate([base.training_weight, np.zeros(count)]),
        _trees={},
        _particles={},
        _assigned={},
    )


def unlabelled_problems(config: AnalysisConfig, schema: Schema, *, file: str) -> list[str]:
    """Return what is wrong with unlabelled processes and their use; an empty list if nothing is.

    Args:
        config: The resolved configuration.
        schema: What the files hold.
        file: Name of the analysis, for messages.
    """
    names, problems = config.unlabelled, []
    where = f"decorrelation.nuisances in {file}"
    if schema.label is not None:
        problems += [
            f"processes.{name}.label in {file}: unlabelled, and schema {schema.name} has the label branch "
            f"{schema.label}, which wins; give the processes labels, and the branch another role"
            for name in names
        ]
    adapted = [name for name in config.models if is_adapted(config, name)]
    if adapted and DOMAIN in schema.flat_fields:
        problems.append(
            f"{where}: {DOMAIN} says whether an event has a label, and is a field of schema {schema.name}, "
            "too: call the field something else"
        )
    if adapted and not names:
        problems.append(
            f"{where}: {DOMAIN} needs events of a second domain; give a process the label unlabelled"
        )
    if names and not adapted:
        problems.append(
            f"processes.{names[0]}.label in {file}: unlabelled events are for a decorrelation with the "
            f"nuisance {DOMAIN}, and no model has one"
        )
    return problems


def _unknown(column: torch.Tensor, count: int) -> torch.Tensor:
    value = float("nan") if column.dtype.is_floating_point else -1
    return torch.full((count,), value, dtype=column.dtype)


def _marked(events: Events, value: float) -> Events:
    """Return events with the domain as an observer."""
    column = torch.full((len(events),), value, dtype=torch.float64)
    return replace(events, observers={**events.observers, DOMAIN: column})
