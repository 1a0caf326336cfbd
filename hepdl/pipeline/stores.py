"""Where prepared events lie: each ttree of the files in a folder of its own, keyed by what made it."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepdl.errors import DataError
from hepdl.events import Events
from hepdl.events.store import save
from hepdl.events.table import concatenate, from_awkward, with_constants
from hepdl.io import Accounting, check_files, expand, iterate
from hepdl.pipeline.folders import content_hash, write_json
from hepdl.pipeline.progress import progress
from hepdl.pipeline.work import Work
from hepdl.schema import Schema

__all__ = [
    "Store",
    "accounting_of",
    "check_stores",
    "read_store",
    "store_of",
    "without_skipped",
    "without_ttree",
]

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
ACCOUNTING = "accounting.json"


@dataclass(frozen=True)
class Store:
    """Prepared events of one ttree of the files.

    Attributes:
        folder: Where they are, or will be.
        key: What they are made from, as a hash.
        schema: Of the ttree.
        files: Of each process.
    """

    folder: Path
    key: str
    schema: Schema
    files: dict[str, list[str]]

    @property
    def is_there(self) -> bool:
        """Whether all of it has been written."""
        return (self.folder / "events.json").is_file() and (self.folder / ACCOUNTING).is_file()


def accounting_of(folder: Path) -> dict[str, Any]:
    """Return what became of every entry of a store, in all and by process."""
    content: dict[str, Any] = json.loads((folder / ACCOUNTING).read_text(encoding="utf-8"))
    return content


def store_of(
    work: Work, schema: Schema, files: dict[str, list[str]], sources: list[dict[str, Any]]
) -> Store:
    """Return where the events of one ttree are prepared; the key says what they are made from.

    Args:
        work: The run.
        schema: Of the ttree.
        files: Of each process.
        sources: What tells whether files are still the same.
    """
    key = content_hash(
        {
            "format_version": FORMAT_VERSION,
            "schema": schema.fingerprint(),
            "labels": {name: p.label for name, p in work.analysis.config.processes.items()},
            "constants": {n: p.constants for n, p in work.analysis.config.processes.items()},
            "files": files,
            "sources": sources,
            "skip_bad_files": work.skip_bad_files,
        }
    )
    folder = work.data / "prepared" / f"{work.analysis.name}-{key[:16]}"
    return Store(folder, key, schema, files)


def check_stores(work: Work, stores: list[Store]) -> None:
    """Raise all problems of all files and ttrees that are not prepared yet, before any is read."""
    if work.skip_bad_files:
        return
    problems = [
        problem
        for store in stores
        if not store.is_there
        for sources in store.files.values()
        for problem in check_files(sources, store.schema)
    ]
    if problems:
        raise DataError("\n".join(dict.fromkeys(problems)))


def without_ttree(files: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the paths alone: the ttree that a user names is the nominal one."""
    return {name: [source.path for source in expand(names)] for name, names in files.items()}


def without_skipped(files: dict[str, list[str]], nominal: Path) -> dict[str, list[str]]:
    """Return the files of the nominal events that could be read."""
    skipped = accounting_of(nominal)["accounting"]["skipped"]
    return {
        name: [source.path for source in expand(names) if str(source) not in skipped]
        for name, names in files.items()
    }


def read_store(work: Work, store: Store, what: str = "") -> None:
    """Read every process of one ttree; nothing is stored before all of it has been read.

    Args:
        work: The run.
        store: What to read, and where to keep it.
        what: Which variation, for messages; nothing for the nominal events.

    Raises:
        DataError: The events cannot be used, or none of a process is left.
    """
    if store.is_there:
        log.info("%sprepared events reused from %s", what, store.folder)
        return
    schema, files = store.schema, store.files
    # What the nominal events have been read from has their variations.
    may_skip = work.skip_bad_files and not what
    names = tuple(files)
    total = Accounting()
    by_process: dict[str, Any] = {}
    parts: list[Events] = []
    n_files = sum(len(expand(sources)) for sources in files.values())
    with progress(f"reading {schema.ttree}", n_files) as advance:
        for name, sources in files.items():
            accounting = Accounting()
            # Where there is a label branch, it wins over this one.
            label = work.analysis.config.processes[name].label or "background"
            for chunk in iterate(sources, schema, accounting=accounting, skip_bad_files=may_skip):
                events = from_awkward(chunk, schema, label=label, process=name, process_names=names)
                parts.append(with_constants(events, work.analysis.config.processes[name].constants))
                advance(0, text=f"{name}: {accounting.read} entries")
            advance(len(sources), text=name)
            if accounting.selected == 0:
                message = (
                    f"{what}process {name}: none of {accounting.read} entries is left after the "
                    f"selection (rejected: {accounting.rejected}); loosen the cuts of the schema"
                )
                raise DataError(message)
            by_process[name] = accounting.as_dict()
            total.merge(accounting)
    save(concatenate(parts), store.folder)
    write_json(
        store.folder / ACCOUNTING,
        {"accounting": total.as_dict(), "accounting_by_process": by_process},
    )
