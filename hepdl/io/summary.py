"""What is in a ROOT file: names, types, depths and sizes; no event data are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepdl.errors import ConfigError
from hepdl.io.root import TABLE_CLASSES, RootTable, open_file, open_table
from hepdl.io.sources import FileSource, expand
from hepdl.schema.units import UNITS

__all__ = ["BranchSummary", "FileSummary", "TableSummary", "inspect"]

# ROOT's compression setting is 100 * algorithm + level; 0 stands for ROOT's default, which is ZLIB.
_ALGORITHMS = {0: "ZLIB", 1: "ZLIB", 2: "LZMA", 3: "OLD", 4: "LZ4", 5: "ZSTD"}
_UNIT_IN_TITLE = re.compile(rf"[\[(]\s*({'|'.join(unit for unit in UNITS if unit != '1')})\s*[\])]")


@dataclass(frozen=True)
class BranchSummary:
    """One branch.

    Attributes:
        name: Its name.
        type: Its C++ type as the file states it.
        depth: 1 for one value per entry, 2 for a list; 0 if it cannot be read.
        leaf: The innermost type, e.g. ``float32``.
        unit: The unit, where the branch's title states it; else None.
        problem: Why it cannot be read, or None.
    """

    name: str
    type: str
    depth: int
    leaf: str
    unit: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class TableSummary:
    """One TTree or RNTuple.

    Attributes:
        name: Its name, with folders.
        kind: ``TTree`` or ``RNTuple``.
        n_entries: Number of entries.
        compression: Algorithm and level, e.g. ``ZLIB(1)``.
        cycles: How many versions of it the file keeps; the newest one is described.
        branches: Its branches in the file's order.
    """

    name: str
    kind: str
    n_entries: int
    compression: str
    cycles: int
    branches: tuple[BranchSummary, ...]


@dataclass(frozen=True)
class FileSummary:
    """One file.

    Attributes:
        path: Its path.
        size: Its size [bytes].
        tables: Its TTrees and RNTuples.
        others: Its other objects, name → class.
    """

    path: str
    size: int
    tables: tuple[TableSummary, ...]
    others: dict[str, str]


def inspect(file: str | Path) -> FileSummary:
    """Return what is in a ROOT file.

    Args:
        file: A path, or ``file.root:ttree`` to look at one ttree alone.

    Raises:
        HepdlError: The file or the ttree is not there, or the file cannot be used.
    """
    sources = expand(file)
    if len(sources) != 1:
        message = f"{file} matches {len(sources)} files: inspect them one by one"
        raise ConfigError(message)
    source = sources[0]
    with open_file(source.path) as content:
        classes: dict[str, str] = content.classnames(recursive=True, cycle=True)
        default = int(content.file.fCompress)
    cycles: dict[str, int] = {}
    for key, kind in classes.items():
        if kind in TABLE_CLASSES:
            name = key.partition(";")[0]
            cycles[name] = cycles.get(name, 0) + 1
    wanted = [source.ttree] if source.ttree else list(cycles)
    tables = []
    for name in wanted:
        with open_table(FileSource(source.path), name) as table:
            tables.append(_summarise(table, name, cycles.get(name.partition(";")[0], 1), default))
    others = {key: kind for key, kind in classes.items() if kind not in TABLE_CLASSES}
    size = 0 if "://" in source.path else Path(source.path).stat().st_size
    return FileSummary(source.path, size, tuple(tables), others)


def _summarise(table: RootTable, name: str, cycles: int, default: int) -> TableSummary:
    seen: set[int] = set()
    branches = []
    for key, branch in table.branches.items():
        if id(branch) not in seen:
            seen.add(id(branch))
            branches.append(_branch(table, key, branch))
    return TableSummary(
        name,
        "RNTuple" if table.is_rntuple else "TTree",
        table.n_entries,
        _compression(table, default),
        cycles,
        tuple(branches),
    )


def _branch(table: RootTable, key: str, branch: Any) -> BranchSummary:
    found = table.type_of(key)
    if table.is_rntuple:
        title = getattr(branch.description, "field_description", "")
    else:
        title = branch.title
    match = _UNIT_IN_TITLE.search(str(title or ""))
    unit = match[1] if match else None
    kind = str(getattr(branch, "typename", "") or "")
    return BranchSummary(key, kind, found.depth, found.leaf, unit, found.problem)


def _compression(table: RootTable, default: int) -> str:
    """Return the setting of the first column or branch; most files have one for all."""
    setting = 0
    if table.is_rntuple:
        columns = [c for cluster in table.content.page_link_list for c in cluster]
        setting = int(columns[0].compression_settings or 0) if columns else default
    elif table.branches:
        setting = int(next(iter(table.branches.values())).member("fCompress")) or default
    algorithm, level = divmod(setting, 100)
    return f"{_ALGORITHMS.get(algorithm, algorithm)}({level})" if level else "none"
