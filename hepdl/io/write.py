"""Write tables to ROOT files: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import uproot

from hepdl.errors import DataError, EnvironmentFailure, HepdlError, unknown_name
from hepdl.io.convert import to_file
from hepdl.schema import Schema, StoredField

__all__ = ["write_root", "write_table"]

# LZ4 reads twice as fast as ZSTD at 15 % more size. Unlike ZSTD, its blocks carry a checksum that
# uproot looks at; blocks that do not get smaller are stored as they are, without one.
COMPRESSION = uproot.LZ4(4)
# Uncompressed size of what is appended at once: one basket of each branch.
CHUNK_BYTES = 8_000_000


def write_root(
    array: ak.Array,
    path: Path | str,
    schema: Schema,
    *,
    variations: Mapping[str, ak.Array] | None = None,
) -> None:
    """Write a table as the TTree that the schema describes, in the file's units.

    Derived fields are left out: reading computes them again. A collection gets a counter branch
    ``n<collection>``.

    Args:
        array: Records with the schema's fields, in house units.
        path: The file; replaced if it exists, never half written. Its folder is made.
        schema: Names, types and units.
        variations: Further tables of the same fields, by the name of their TTree in the same file.

    Raises:
        DataError: A table lacks a field, has one too many, or one of another depth.
        EnvironmentFailure: The file cannot be written.
    """
    tables = {schema.ttree: array, **(variations or {})}
    for table in tables.values():
        _check_fields(table, schema)
    flat = [field for field in schema.fields if field.collection is None]
    jagged: dict[str, list[StoredField]] = {}
    for field in schema.fields:
        if field.collection is not None:
            jagged.setdefault(field.collection, []).append(field)
    types: dict[str, Any] = {field.branch: np.dtype(field.type) for field in flat}
    types |= {_outer(name): _record_type(fields) for name, fields in jagged.items()}
    names = {(_outer(f.collection), _inner(f)): f.branch for f in schema.fields if f.collection}
    counters = _counters(jagged, {field.branch for field in schema.fields})
    with (
        _atomic(Path(path)) as temporary,
        uproot.recreate(temporary, compression=COMPRESSION) as out,
    ):
        for name_of_ttree, table in tables.items():
            ttree = out.mktree(
                name_of_ttree,
                types,
                title=schema.name,
                counter_name=lambda outer: counters[outer],
                field_name=lambda outer, inner: names[outer, inner],
            )
            for chunk in _pieces(table):
                columns: dict[str, Any] = {f.branch: _flat(chunk[f.name], f) for f in flat}
                columns |= {_outer(name): _jagged(chunk[name], f) for name, f in jagged.items()}
                ttree.extend(columns)


def write_table(columns: Mapping[str, npt.NDArray[Any]], path: Path | str, *, ttree: str) -> None:
    """Write flat columns as a TTree.

    Args:
        columns: Branch name → one number or truth value per row.
        path: The file; replaced if it exists, never half written. Its folder is made.
        ttree: Name of the TTree.

    Shapes:
        each column ``(n_rows,)``.

    Raises:
        DataError: There is no column, or a column is no flat array of numbers of the common length.
        EnvironmentFailure: The file cannot be written.
    """
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in arrays.items() if values.ndim == 1}
    for name, values in arrays.items():
        if values.ndim != 1 or values.dtype.kind not in "biuf" or values.dtype == np.float16:
            message = (
                f"{path}: column {name!r} has shape {values.shape} and type {values.dtype}; "
                "a column is one number per row"
            )
            raise DataError(message)
    if len(set(lengths.values())) != 1:
        message = f"{path}: the columns must have one common length, not {lengths}"
        raise DataError(message)
    with (
        _atomic(Path(path)) as temporary,
        uproot.recreate(temporary, compression=COMPRESSION) as out,
    ):
        table = out.mktree(ttree, {name: values.dtype for name, values in arrays.items()})
        n_rows = next(iter(lengths.values()))
        size = sum(values.itemsize for values in arrays.values())
        step = max(1, CHUNK_BYTES // size)
        for start in range(0, n_rows, step):
            table.extend({name: v[start : start + step] for name, v in arrays.items()})


@contextmanager
def _atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path``, which takes its place in the end or disappears."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except HepdlError:
        raise
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        message = f"{path}: cannot be written: {reason}"
        raise EnvironmentFailure(message) from error
    finally:
        with suppress(NotADirectoryError):
            temporary.unlink(missing_ok=True)


def _check_fields(array: ak.Array, schema: Schema) -> None:
    known = {*schema.branches, *schema.collections}
    given = set(array.fields) - set(schema.derived) - set(schema.computed_fields)
    problems = [
        f"the table has no field {name!r}, which schema {schema.name} declares"
        for name in [*schema.branches, *schema.collections]
        if name not in given
    ]
    problems += [
        unknown_name("field of the table", name, known, where=f"schema {schema.name}")
        for name in sorted(given - known)
    ]
    for field in schema.fields:
        group, inner = field.collection, _inner(field)
        if (group or field.name) not in given:
            continue
        if group is not None and inner not in array[group].fields:
            problems.append(f"collection {group!r} of the table has no field {inner!r}")
            continue
        values = array[group][inner] if group is not None else array[field.name]
        wanted = 1 if group is None else 2
        if values.ndim != wanted:
            problems.append(f"field {field.name!r} has depth {values.ndim}, not {wanted}")
    if problems:
        raise DataError("\n".join(problems))


def _outer(collection: str | None) -> str:
    # A word that no branch can have, so that a branch may be called like its collection.
    return f"collection {collection}"


def _inner(field: StoredField) -> str:
    return field.name.partition(".")[2]


def _record_type(fields: list[StoredField]) -> Any:
    contents = [ak.types.NumpyType(field.type) for field in fields]
    return ak.types.ListType(ak.types.RecordType(contents, [_inner(field) for field in fields]))


def _counters(collections: Mapping[str, Any], taken: set[str]) -> dict[str, str]:
    """Return a name for the counter of each collection that no branch has."""
    counters = {}
    for name in collections:
        counter = f"n{name}"
        while counter in taken:
            counter = f"{counter}_counter"
        taken = taken | {counter}
        counters[_outer(name)] = counter
    return counters


def _pieces(array: ak.Array) -> Iterator[ak.Array]:
    step = max(1, int(CHUNK_BYTES * len(array) // max(array.nbytes, 1)))
    for start in range(0, len(array), step):
        yield array[start : start + step]


def _flat(values: ak.Array, field: StoredField) -> npt.NDArray[Any]:
    return to_file(ak.to_numpy(values), field)


def _jagged(collection: ak.Array, fields: list[StoredField]) -> ak.Array:
    counts = ak.num(collection, axis=1)
    columns = {
        _inner(field): to_file(ak.to_numpy(ak.flatten(collection[_inner(field)], axis=1)), field)
        for field in fields
    }
    return ak.unflatten(ak.zip(columns), counts)
