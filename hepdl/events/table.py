"""Awkward tables, as the reader gives them, to events in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import awkward as ak
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hepdl.errors import DataError, SchemaError, unknown_name
from hepdl.events.assigned import join_assigned
from hepdl.events.containers import Events, Jagged, JetTrees
from hepdl.schema import Schema

__all__ = ["concatenate", "from_awkward", "with_constants"]

LABELS = {"signal": 1, "background": 0, "unlabelled": -1}


def from_awkward(
    array: ak.Array,
    schema: Schema,
    *,
    label: str,
    process: str,
    process_names: Sequence[str],
) -> Events:
    """Return the events of a table.

    A label branch of the schema wins over ``label``. Flat fields all become observers, so that
    working points and plots can use them; event numbers never go through floating point.

    Args:
        array: Records with the fields of the schema, in house units.
        schema: Roles of the fields.
        label: ``"signal"``, ``"background"`` or ``"unlabelled"``: the class of the process.
        process: Name of the process.
        process_names: Names of all processes.

    Raises:
        SchemaError: A field of the schema is not in the table.
        DataError: A label is none of the schema's classes.
    """
    missing = [
        name for name in (*schema.flat_fields, *schema.collections) if name not in array.fields
    ]
    if missing:
        raise SchemaError(
            unknown_name("field", missing[0], array.fields, where=f"schema {schema.name}")
        )
    n_events = len(array)
    flat = {name: np.asarray(array[name]) for name in schema.flat_fields}
    weight = np.ones(n_events, dtype=np.float64)
    for name in schema.event_weights:
        weight = weight * flat[name]
    identity = (schema.event_number, schema.run_number, *schema.event_weights)
    return Events(
        event_number=_integers(flat, schema.event_number, n_events),
        run_number=_integers(flat, schema.run_number, n_events),
        process=torch.full((n_events,), list(process_names).index(process), dtype=torch.int64),
        label=_labels(flat, schema, LABELS[label], n_events),
        event_weight=torch.from_numpy(weight.astype(np.float32)),
        flat=_stack(flat, schema.features, n_events),
        feature_names=schema.features,
        nuisance=_stack(flat, schema.nuisances, n_events),
        nuisance_names=schema.nuisances,
        collections={name: _jagged(array[name]) for name in schema.collections},
        observers={
            name: torch.from_numpy(np.ascontiguousarray(_wide(column)))
            for name, column in flat.items()
            if name not in identity
        },
        process_names=tuple(process_names),
        truth_names=schema.truth,
    )


def with_constants(events: Events, constants: Mapping[str, float]) -> Events:
    """Return events with further observers that have one value for all of them.

    Args:
        events: Of one process.
        constants: Value by name; none of the names is a field of the events.
    """
    columns = {
        name: torch.full((len(events),), value, dtype=torch.float64)
        for name, value in sorted(constants.items())
    }
    return replace(events, observers={**events.observers, **columns})


def concatenate(parts: Sequence[Events]) -> Events:
    """Return the events of several tables one after the other.

    Raises:
        DataError: There are no parts, or they do not have the same columns.
    """
    if not parts:
        message = "nothing to concatenate: 0 tables of events"
        raise DataError(message)
    first = parts[0]
    for part in parts[1:]:
        for one, other in zip(_layout(first), _layout(part), strict=True):
            if one != other:
                message = f"tables of events differ: {one} and {other}; read them with one schema"
                raise DataError(message)

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    return Events(
        event_number=joined("event_number"),
        run_number=joined("run_number"),
        process=joined("process"),
        label=joined("label"),
        event_weight=joined("event_weight"),
        flat=joined("flat"),
        feature_names=first.feature_names,
        nuisance=joined("nuisance"),
        nuisance_names=first.nuisance_names,
        collections={
            name: _join_jagged([part.collections[name] for part in parts])
            for name in first.collections
        },
        observers={
            name: torch.cat([part.observers[name] for part in parts]) for name in first.observers
        },
        jet_trees=_join_trees([part.jet_trees for part in parts if part.jet_trees is not None]),
        process_names=first.process_names,
        particles=None
        if first.particles is None
        else _join_jagged([part.particles for part in parts if part.particles is not None]),
        assignments=None
        if first.assignments is None
        else join_assigned([p.assignments for p in parts if p.assignments is not None]),
        truth_names=first.truth_names,
    )


def _layout(events: Events) -> tuple[str, ...]:
    """Return what events must share to stand in one table."""
    collections = {name: list(rows.columns) for name, rows in events.collections.items()}
    return (
        f"features {list(events.feature_names)}",
        f"nuisances {list(events.nuisance_names)}",
        f"observers {list(events.observers)}",
        f"collections {collections}",
        f"processes {list(events.process_names)}",
        "no jet trees" if events.jet_trees is None else "jet trees",
        f"particles {None if events.particles is None else list(events.particles.columns)}",
        "no assignments" if events.assignments is None else "assignments",
        f"truth {list(events.truth_names)}",
    )


def _integers(flat: dict[str, npt.NDArray[np.generic]], name: str | None, n_events: int) -> Tensor:
    if name is None:
        return torch.zeros(n_events, dtype=torch.int64)
    return torch.from_numpy(flat[name].astype(np.int64))


def _labels(
    flat: dict[str, npt.NDArray[np.generic]], schema: Schema, of_process: int, n_events: int
) -> Tensor:
    name = schema.label
    if name is None:
        return torch.full((n_events,), of_process, dtype=torch.int64)
    classes = schema.branches[name].classes or LABELS
    values = flat[name].astype(np.int64)
    label = np.full(n_events, -1, dtype=np.int64)
    for text, value in classes.items():
        label[values == value] = LABELS[text]
    if (label < 0).any():
        bad = int(np.argmax(label < 0))
        message = (
            f"branch {name!r}: entry {bad} has the label {values[bad]}, which is none of the "
            f"classes {dict(classes)}; add it to the classes of the schema or select it away"
        )
        raise DataError(message)
    return torch.from_numpy(label)


def _stack(flat: dict[str, npt.NDArray[np.generic]], names: Sequence[str], n_events: int) -> Tensor:
    if not names:
        return torch.zeros((n_events, 0), dtype=torch.float32)
    return torch.from_numpy(np.stack([flat[name].astype(np.float32) for name in names], axis=1))


def _wide(column: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return the column as int64 or float64."""
    return column.astype(np.float64 if column.dtype.kind == "f" else np.int64)


def _jagged(rows: ak.Array) -> Jagged:
    counts = np.asarray(ak.num(rows, axis=1), dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    columns = [np.asarray(ak.flatten(rows[name])).astype(np.float32) for name in rows.fields]
    return Jagged(
        torch.from_numpy(np.stack(columns, axis=1)), torch.from_numpy(offsets), tuple(rows.fields)
    )


def _join_jagged(parts: Sequence[Jagged]) -> Jagged:
    offsets = _join_offsets([part.offsets for part in parts])
    return Jagged(torch.cat([part.values for part in parts]), offsets, parts[0].columns)


def _join_trees(parts: Sequence[JetTrees]) -> JetTrees | None:
    if not parts:
        return None
    return JetTrees(
        torch.cat([part.features for part in parts]),
        torch.cat([part.depth for part in parts]),
        torch.cat([part.is_inner for part in parts]),
        _join_offsets([part.offsets for part in parts]),
    )


def _join_offsets(parts: Sequence[Tensor]) -> Tensor:
    counts = torch.cat([offsets.diff() for offsets in parts])
    offsets = torch.zeros(len(counts) + 1, dtype=torch.int64, device=counts.device)
    torch.cumsum(counts, 0, out=offsets[1:])
    return offsets
