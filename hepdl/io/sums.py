"""The sum of a branch over everything that files hold, before any selection."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import awkward as ak
import numpy as np

from hepdl.errors import DataError, SchemaError, unknown_name
from hepdl.io.root import FileProblemError, RootTable, open_table
from hepdl.io.sources import FileSource, expand

__all__ = ["sum_branch"]

# Read at once: 8 MB of float64.
STEP = 1_000_000


def sum_branch(
    files: str | Path | Iterable[str | Path],
    branch: str,
    *,
    ttree: str,
    skip_bad_files: bool = False,
) -> float:
    """Return the sum of a branch over all entries of all files, in double precision.

    Args:
        files: Paths, globs, ``file.root:ttree``.
        branch: A branch with one number an entry, e.g. the weight of generated events; or
            ``TTREE:BRANCH`` for one of another ttree of the same files.
        ttree: The ttree of a file that names none.
        skip_bad_files: Leave files out that cannot be opened, as reading does.

    Raises:
        ConfigError: A file is not there.
        SchemaError: A file has no such branch, or one that holds no number an entry.
        DataError: A file cannot be used, or a value is not finite.
        EnvironmentFailure: A file cannot be read.
    """
    other, has_other, name = branch.rpartition(":")
    total = 0.0
    for source in expand(files):
        wanted = other if has_other else (source.ttree or ttree)
        try:
            with open_table(FileSource(source.path, wanted), ttree) as table:
                total += _sum(table, name)
        except FileProblemError:
            if not skip_bad_files:
                raise
    return total


def _sum(table: RootTable, branch: str) -> float:
    if branch not in table.branches:
        raise SchemaError(unknown_name("branch", branch, table.branches, where=table.file))
    kind = table.type_of(branch)
    is_number = kind.leaf.startswith(("int", "uint", "float"))
    if kind.problem or kind.depth != 1 or not is_number:
        holds = kind.problem or f"depth {kind.depth} of {kind.leaf}"
        message = f"{table.file}: branch {branch!r} cannot be summed ({holds}): name one with a number an entry"
        raise SchemaError(message)
    total = 0.0
    for start in range(0, table.n_entries, STEP):
        stop = min(start + STEP, table.n_entries)
        values = ak.to_numpy(table.array(branch, start, stop)).astype(np.float64)
        if not np.isfinite(values).all():
            first = start + int(np.argmin(np.isfinite(values)))
            message = f"{table.file}: branch {branch!r} is {values[first - start]} in entry {first}: it has no sum"
            raise DataError(message)
        total += float(values.sum())
    return total
