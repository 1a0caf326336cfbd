"""Read entries of many files in chunks of bounded memory, and account for every one of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import awkward as ak
import numpy as np

from hepdl.errors import ConfigError, DataError, HepdlError, SchemaError
from hepdl.io.accounting import Accounting
from hepdl.io.convert import Chunk, to_table, value_problems
from hepdl.io.root import FileProblemError, RootTable, open_table
from hepdl.io.sources import FileSource, expand_with_problems
from hepdl.io.structure import structure_problems
from hepdl.schema import Schema, add_computed, add_derived, select

__all__ = ["check_files", "iterate", "read"]

log = logging.getLogger(__name__)

Files = str | Path | Iterable[str | Path]
# How many entries of each file `check_files` reads.
N_FIRST = 100
ENTRY_FIELD = "hepdl_entry"
_STEP = re.compile(r"^\s*([0-9.]+)\s*([kMG]?)B\s*$")


def read(
    files: Files,
    schema: Schema,
    *,
    accounting: Accounting | None = None,
    skip_bad_files: bool = False,
    max_entries: int | None = None,
) -> ak.Array:
    """Read all selected entries into one table.

    Every file is checked against the schema before the first is read.

    Args:
        files: Paths, globs, ``file.root:ttree``.
        schema: What the files hold and which entries to keep.
        accounting: Where to count entries and files; merged into.
        skip_bad_files: Skip and name files that cannot be opened instead of raising.
        max_entries: Read no more entries than this.

    Raises:
        ConfigError: A file is not there.
        SchemaError: A file is not what the schema says.
        DataError: A file or its values cannot be used, or no entry is left.
        EnvironmentFailure: A file cannot be read.

    Shapes:
        ``(n_selected,)`` records: flat fields, collections, derived fields.
    """
    chunks = iterate(
        files,
        schema,
        accounting=accounting,
        skip_bad_files=skip_bad_files,
        max_entries=max_entries,
    )
    return ak.concatenate(list(chunks))


def iterate(
    files: Files,
    schema: Schema,
    *,
    step: str | int = "50 MB",
    accounting: Accounting | None = None,
    skip_bad_files: bool = False,
    max_entries: int | None = None,
    with_entry: bool = False,
) -> Iterator[ak.Array]:
    """Read selected entries chunk by chunk; chunks without a selected entry are left out.

    Args:
        files: Paths, globs, ``file.root:ttree``.
        schema: What the files hold and which entries to keep.
        step: Entries of a chunk, or its size in memory as ``"50 MB"``; no chunk spans two files.
        accounting: Where to count entries and files, chunk by chunk.
        skip_bad_files: Skip and name files that cannot be opened instead of raising.
        max_entries: Read no more entries than this.
        with_entry: Add the field ``hepdl_entry``: the position among all entries of all files.

    Raises:
        HepdlError: As ``read``; problems of whole files before the first chunk.
    """
    if max_entries is not None and max_entries < 1:
        message = f"max_entries must be at least 1, or None for all, not {max_entries}"
        raise ConfigError(message)
    plan = _Plan(schema, _parse_step(step), max_entries, with_entry, Accounting())
    sources = _checked(files, schema, plan.accounting, skip_bad_files=skip_bad_files)
    return _stream(sources, plan, accounting)


def check_files(files: Files, schema: Schema) -> list[str]:
    """Return everything that can be known to be wrong before reading, an empty list if nothing is.

    Looks at names, depths and types of every file, and at its first entries.
    """
    sources, missing = expand_with_problems(files)
    problems = list(missing.values())
    plan = _Plan(schema, N_FIRST, None, False, Accounting())
    n_entries = 0
    for source in sources:
        try:
            with open_table(source, schema.ttree) as table:
                n_entries += table.n_entries
                found = structure_problems(table, schema)
                problems += found
                if not found:
                    _chunk(table, plan, 0, min(N_FIRST, table.n_entries))
        except HepdlError as error:
            problems.append(str(error))
    if sources and not problems and n_entries == 0:
        problems.append(_nothing_read(sources, schema))
    return problems


@dataclass(frozen=True)
class _Plan:
    """What ``iterate`` was asked for; ``step`` is entries if ``int``, bytes if ``float``."""

    schema: Schema
    step: int | float
    max_entries: int | None
    with_entry: bool
    accounting: Accounting


def _parse_step(step: str | int) -> int | float:
    if isinstance(step, int):
        if step > 0:
            return step
    elif match := _STEP.match(step):
        size = float(match[1]) * {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}[match[2]]
        if size > 0:
            return size
    message = f"step {step!r}: write a number of entries, or a size such as '50 MB'"
    raise ConfigError(message)


def _checked(
    files: Files, schema: Schema, accounting: Accounting, *, skip_bad_files: bool
) -> list[FileSource]:
    """Return the files that can be read; raise all problems of all files at once."""
    sources, missing = expand_with_problems(files)
    good: list[FileSource] = []
    file_problems = dict(missing)
    schema_problems: list[str] = []
    for source in sources:
        try:
            with open_table(source, schema.ttree) as table:
                found = structure_problems(table, schema)
        except FileProblemError as error:
            file_problems[str(source)] = str(error)
            continue
        schema_problems += found
        good.append(source)
    if skip_bad_files and good:
        accounting.skipped.update(file_problems)
        for problem in file_problems.values():
            log.warning("skipped: %s", problem)
        file_problems = {}
    problems = [*file_problems.values(), *schema_problems]
    if problems:
        kind = ConfigError if len(missing) == len(problems) else DataError
        raise (SchemaError if len(schema_problems) == len(problems) else kind)("\n".join(problems))
    return good


def _stream(
    sources: list[FileSource], plan: _Plan, accounting: Accounting | None
) -> Iterator[ak.Array]:
    mine = plan.accounting
    counters = [mine] if accounting is None else [mine, accounting]
    for counter in counters:
        counter.skipped.update(mine.skipped)
    left = np.inf if plan.max_entries is None else plan.max_entries
    branches = [field.branch for field in plan.schema.fields]
    for source in sources:
        if left <= 0:
            break
        with open_table(source, plan.schema.ttree) as table:
            n_entries = int(min(table.n_entries, left))
            left -= n_entries
            step = plan.step
            n_step = step if isinstance(step, int) else table.entries_for(branches, int(step))
            for counter in counters:  # a file without entries is accounted for, too
                counter.add(table.file, 0, {})
            for start in range(0, n_entries, n_step):
                stop = min(start + n_step, n_entries)
                position = mine.read
                selected, entries, rejected = _chunk(table, plan, start, stop)
                for counter in counters:
                    counter.add(table.file, stop - start, rejected)
                if len(selected):
                    if plan.with_entry:
                        selected[ENTRY_FIELD] = entries - start + position
                    yield selected
    if mine.read == 0:
        raise DataError(_nothing_read(sources, plan.schema))
    if mine.selected == 0:
        message = f"the selection of schema {plan.schema.name} rejects every entry: {mine}"
        raise DataError(message)
    log.info("%s", mine)


def _chunk(
    table: RootTable, plan: _Plan, start: int, stop: int
) -> tuple[ak.Array, np.ndarray[tuple[int], np.dtype[np.int64]], dict[str, int]]:
    """Return the selected entries of a range, their numbers, and what each cut rejected."""
    schema = plan.schema
    columns = {field.branch: table.array(field.branch, start, stop) for field in schema.fields}
    stored = to_table(Chunk(table.file, start, columns), schema)
    try:
        everything = add_derived(stored, schema)
        mask, rejected = select(everything, schema)
        selected = everything if mask.all() else ak.to_packed(everything[mask])
        selected = add_computed(selected, schema)
    except (DataError, SchemaError) as error:
        message = f"{table.file}, in the chunk that starts with entry {start}: {error}"
        raise type(error)(message) from error
    entries = np.flatnonzero(mask).astype(np.int64) + start
    problems = value_problems(selected, entries, schema, table.file)
    if problems:
        raise DataError("\n".join(problems))
    return selected, entries, rejected


def _nothing_read(sources: list[FileSource], schema: Schema) -> str:
    names = ", ".join(str(source) for source in sources[:5])
    return (
        f"no entry to read: ttree {schema.ttree!r} is empty in all {len(sources)} file(s) ({names})"
    )
