"""Derived fields and the selection, applied to a table in memory."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError, SchemaError
from hepdl.schema.computed import FUNCTIONS
from hepdl.schema.functions import depth, leaf
from hepdl.schema.model import Schema

__all__ = ["add_computed", "add_derived", "complete", "select"]


def add_derived(table: ak.Array, schema: Schema) -> ak.Array:
    """Return the table with the schema's derived fields added.

    A value that does not exist (the maximum over no objects) becomes NaN.

    Args:
        table: Records with the schema's fields, in house units.
        schema: What to derive.

    Raises:
        DataError: A derived integer has no value.
    """
    namespace = _namespace(table)
    for name, derived in schema.derived.items():
        where = f"derived.{name} of schema {schema.name}"
        value = schema.expression(derived.expression, where=where).evaluate(namespace)
        namespace[name] = _per_entry(value, len(table), derived.type, where)
    columns = {name: namespace[name] for name in schema.derived}
    return ak.zip({**_fields(table), **columns}, depth_limit=1) if columns else table


def add_computed(table: ak.Array, schema: Schema) -> ak.Array:
    """Return selected entries with the fields that functions compute, as float32.

    Args:
        table: Records with the schema's fields, in house units.
        schema: What to compute.

    Raises:
        DataError: A function cannot work on an entry.
    """
    wanted = schema.computed_fields
    found: dict[str, Any] = {}
    for name, group in schema.computed.items():
        if len(table) == 0:
            found |= {key: np.zeros(0, dtype=np.float32) for key in group.names if key in wanted}
            continue
        try:
            values = FUNCTIONS[group.function].call(table, group.model_dump())
        except DataError as error:
            message = f"computed.{name} of schema {schema.name}: {error}"
            raise DataError(message) from error
        found |= {key: column.astype(np.float32) for key, column in values.items() if key in wanted}
    return ak.zip({**_fields(table), **found}, depth_limit=1) if found else table


def complete(table: ak.Array, schema: Schema) -> ak.Array:
    """Return the table with those derived and computed fields that it lacks, as reading adds them.

    So a table straight from a generator is as good as one that was written and read. One that lacks
    what is read from files is returned as it is.

    Args:
        table: Records with the schema's fields, in house units.
        schema: What to derive and compute.

    Raises:
        DataError: A field has no value for an entry.
    """
    if not {*schema.branches, *schema.collections} <= set(table.fields):
        return table
    if not set(schema.derived) <= set(table.fields):
        table = add_derived(table, schema)
    if not set(schema.computed_fields) <= set(table.fields):
        table = add_computed(table, schema)
    return table


def select(table: ak.Array, schema: Schema) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Return which entries pass every cut, and how many each cut rejected.

    An entry is charged to the first cut that it fails. Where a comparison has no value (the
    maximum over no objects), the entry fails.

    Args:
        table: Records with the schema's fields and derived fields.
        schema: Whose selection to apply.

    Shapes:
        mask ``(n_entries,)``.

    Raises:
        SchemaError: A cut does not give one true/false per entry.
    """
    namespace = _namespace(table)
    keep = np.ones(len(table), dtype=bool)
    rejected: dict[str, int] = {}
    for cut, text in schema.selection.items():
        where = f"selection.{cut} of schema {schema.name}"
        value = schema.expression(text, where=where).evaluate(namespace)
        if leaf(value) != "bool" or depth(value) != 1:
            message = f"{where}: {text!r} gives no true/false per entry but {leaf(value)}"
            raise SchemaError(message)
        passed = _filled(value, fill=False)
        rejected[cut] = int((keep & ~passed).sum())
        keep &= passed
    return keep, rejected


def _fields(table: ak.Array) -> dict[str, Any]:
    return {name: table[name] for name in table.fields}


def _namespace(table: ak.Array) -> dict[str, Any]:
    """Return flat fields as numpy arrays, collections as they are."""
    return {
        name: np.asarray(values) if values.ndim == 1 and not values.fields else values
        for name, values in _fields(table).items()
    }


def _filled(value: Any, *, fill: Any) -> npt.NDArray[Any]:
    return np.asarray(ak.fill_none(value, fill) if isinstance(value, ak.Array) else value)


def _per_entry(value: Any, n_entries: int, kind: str, where: str) -> npt.NDArray[Any]:
    if depth(value) != 1 or len(value) != n_entries:
        message = f"{where} does not give one value per entry"
        raise SchemaError(message)
    if kind.startswith("float"):
        return _filled(value, fill=np.nan).astype(kind)
    if (
        isinstance(value, ak.Array)
        and (missing := np.flatnonzero(np.asarray(ak.is_none(value)))).size
    ):
        message = (
            f"{where}: {missing.size} entries have no value, the first is entry {missing[0]}; "
            "write where(count(…) > 0, …, 0)"
        )
        raise DataError(message)
    values = _filled(value, fill=0)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values))
        message = (
            f"{where}: {bad.size} values are not finite, the first in entry {bad[0]}; "
            "use type float32"
        )
        raise DataError(message)
    return values.astype(kind)
