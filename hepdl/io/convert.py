"""Between the file's values and memory's: types, units, shapes, and checks on values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.schema import Schema, StoredField
from hepdl.schema.units import house_factor

__all__ = ["Chunk", "to_file", "to_table", "value_problems"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Chunk:
    """A range of entries of one file.

    Attributes:
        file: What messages call the file.
        start: Entry number of the first entry.
        columns: Branch name → what the file holds.
    """

    file: str
    start: int
    columns: Mapping[str, ak.Array]

    def error(self, field: StoredField, entry: int, problem: str) -> DataError:
        """Return the error for an entry of the chunk."""
        return DataError(
            f"{self.file}: branch {field.branch!r} ({field.name}), entry {self.start + entry}: "
            f"{problem}"
        )


def to_table(chunk: Chunk, schema: Schema) -> ak.Array:
    """Return records in the schema's words, units and types.

    Raises:
        DataError: A value does not fit its type, or the branches of a collection disagree.
    """
    columns: dict[str, Any] = {}
    jagged: dict[str, list[StoredField]] = {}
    for field in schema.fields:
        if field.collection is None:
            values = ak.to_numpy(chunk.columns[field.branch])
            columns[field.name] = _to_memory(values, field, chunk, None)
        else:
            jagged.setdefault(field.collection, []).append(field)
    for name, fields in jagged.items():
        columns[name] = _collection(fields, chunk)
    return ak.zip(columns, depth_limit=1)


def to_file(values: Array, field: StoredField) -> Array:
    """Return values in the file's unit and type."""
    factor = house_factor(field.unit)
    if factor != 1:
        values = values.astype(np.float64) / factor
    return values.astype(field.type)


def value_problems(table: ak.Array, entries: Array, schema: Schema, file: str) -> list[str]:
    """Return what is wrong with the values of selected entries.

    Args:
        table: Selected entries.
        entries: Their entry numbers in the file.
        schema: Which fields must be finite, and the classes of the label.
        file: What messages call the file.
    """
    problems = []
    branch = {field.name: field.branch for field in schema.fields}
    used = {*schema.features, *schema.nuisances, *schema.event_weights}
    for name in schema.flat_fields:
        if name not in used:
            continue
        bad = np.flatnonzero(~np.isfinite(np.asarray(table[name])))
        what = f"branch {branch[name]!r} ({name})" if name in branch else f"derived field {name!r}"
        problems += _not_finite(file, what, bad, entries, len(table), f"isfinite({name})")
    for group, collection in schema.collections.items():
        counts = ak.to_numpy(ak.num(table[group], axis=1))
        for name in collection.branches:
            values = ak.to_numpy(ak.flatten(table[group][name], axis=1))
            rows = np.flatnonzero(~np.isfinite(values))
            bad = np.unique(np.searchsorted(np.cumsum(counts), rows, side="right"))
            full = f"{group}.{name}"
            what = f"branch {branch[full]!r} ({full})"
            problems += _not_finite(file, what, bad, entries, len(table), f"all(isfinite({full}))")
    return problems + _label_problems(table, entries, schema, file)


def _not_finite(
    file: str, what: str, bad: Array, entries: Array, n_entries: int, cut: str
) -> list[str]:
    if bad.size == 0:
        return []
    problem = (
        f"{file}: {what} is not finite (as its type in memory) in {bad.size} of {n_entries} "
        f"selected entries of this chunk, the first is entry {entries[bad[0]]}: correct the file, "
        f"or add the cut '{cut}' to the selection"
    )
    return [problem]


def _label_problems(table: ak.Array, entries: Array, schema: Schema, file: str) -> list[str]:
    label = schema.label
    classes = schema.branches[label].classes if label is not None else None
    if label is None or classes is None:
        return []
    values = np.asarray(table[label])
    bad = np.flatnonzero(~np.isin(values, list(classes.values())))
    if bad.size == 0:
        return []
    known = ", ".join(f"{name} = {value}" for name, value in classes.items())
    problem = (
        f"{file}: branch {schema.branches[label].branch!r} ({label}) is {values[bad[0]]} in entry "
        f"{entries[bad[0]]}, which is none of its classes ({known}); {bad.size} entries of this "
        f"chunk are like that: correct branches.{label}.classes, or cut on {label}"
    )
    return [problem]


def _to_memory(values: Array, field: StoredField, chunk: Chunk, counts: Array | None) -> Array:
    """Convert flat values; ``counts`` tells to which entry a value of a collection belongs."""
    kind = np.dtype(field.type)
    factor = house_factor(field.unit)
    if kind.kind == "f":
        with np.errstate(over="ignore"):  # too large a value becomes inf and is reported as such
            return (values * np.float64(factor) if factor != 1 else values).astype(kind)
    if values.dtype != kind and values.size:
        low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
        if int(values.min()) < low or int(values.max()) > high:
            bad = int(np.flatnonzero((values < low) | (values > high))[0])
            entry = bad if counts is None else int(np.searchsorted(np.cumsum(counts), bad, "right"))
            problem = (
                f"{values[bad]} does not fit {field.type}; declare a wider type in {field.key}"
            )
            raise chunk.error(field, entry, problem)
    return values.astype(kind)


def _collection(fields: list[StoredField], chunk: Chunk) -> ak.Array:
    """Zip the branches of a collection, after a check that they have the same counts."""
    reference = fields[0]
    counts = ak.to_numpy(ak.num(chunk.columns[reference.branch], axis=1))
    contents = []
    for field in fields:
        raw = chunk.columns[field.branch]
        other = ak.to_numpy(ak.num(raw, axis=1))
        if not np.array_equal(counts, other):
            bad = np.flatnonzero(counts != other)
            problem = (
                f"it has {other[bad[0]]} values where {reference.branch!r} has {counts[bad[0]]}; "
                f"{bad.size} entries of this chunk are like that: these branches do not run over "
                f"the same objects, declare them in two collections"
            )
            raise chunk.error(field, int(bad[0]), problem)
        flat = _to_memory(ak.to_numpy(ak.flatten(raw, axis=1)), field, chunk, counts)
        contents.append(ak.contents.NumpyArray(flat))
    names = [field.name.partition(".")[2] for field in fields]
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    record = ak.contents.RecordArray(contents, names, length=int(offsets[-1]))
    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(offsets), record))
