"""Stage ``prepare``: read, check and select the events once, and keep them for later runs."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepdl.errors import ConfigError, DataError
from hepdl.events import Events
from hepdl.events.store import load, save
from hepdl.events.table import concatenate, from_awkward
from hepdl.io import Accounting, check_files, expand, iterate
from hepdl.pipeline.dataset import Dataset, build_dataset
from hepdl.pipeline.folders import RunFolder, content_hash, write_json
from hepdl.pipeline.load import Analysis
from hepdl.pipeline.progress import progress
from hepdl.pipeline.stages.simulate import simulated_folder
from hepdl.pipeline.streaming import is_streamed
from hepdl.pipeline.work import Outcome, Work

__all__ = ["check_sources", "load_dataset", "load_notes", "prepare", "read_dataset", "source_files"]

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
ACCOUNTING = "accounting.json"


@dataclass(frozen=True)
class _Source:
    """A file, as far as it matters whether it is still the same one."""

    path: str
    size: int
    modified: int


def source_files(work: Work) -> dict[str, list[str]]:
    """Return the files of each process, simulated ones included."""
    found: dict[str, list[str]] = {}
    for name, process in work.analysis.config.processes.items():
        if process.files is not None:
            found[name] = list(process.files)
            continue
        folder = simulated_folder(work, name, process)
        paths = sorted(str(path) for path in folder.glob("part_*.root"))
        if not paths:
            message = f"process {name}: no simulated files in {folder}; run `hepdl simulate` first"
            raise DataError(message)
        found[name] = paths
    return found


def check_sources(work: Work) -> None:
    """Refuse to go on when the files of a prepared run are no longer the same.

    Raises:
        ConfigError: Names the files that differ.
    """
    marker = work.folder.read_marker("prepare")
    if marker is None:
        return
    then = {source["path"]: source for source in marker["sources"]}
    try:
        now = {source.path: source.__dict__ for source in _identify(source_files(work))}
    except DataError:
        return
    changed = [path for path in sorted({*then, *now}) if then.get(path) != now.get(path)]
    if changed:
        message = (
            f"{work.folder.path} was made from other data; these files changed, came or went:\n  "
            + "\n  ".join(changed[:10])
            + (f"\n  … and {len(changed) - 10} more" if len(changed) > 10 else "")
            + "\nput them back, or name another --output"
        )
        raise ConfigError(message)


def prepare(work: Work) -> Outcome:
    """Read what is not prepared yet; write the accounting into the run folder."""
    files = source_files(work)
    sources = _identify(files)
    schema = work.analysis.schema
    labels = {name: p.label for name, p in work.analysis.config.processes.items()}
    key = content_hash(
        {
            "format_version": FORMAT_VERSION,
            "schema": schema.fingerprint(),
            "labels": labels,
            "files": files,
            "sources": [source.__dict__ for source in sources],
            "skip_bad_files": work.skip_bad_files,
        }
    )
    folder = work.data / "prepared" / f"{work.analysis.name}-{key[:16]}"
    if not (folder / "events.json").is_file() or not (folder / ACCOUNTING).is_file():
        _read_all(work, files, folder)
    else:
        log.info("prepared events reused from %s", folder)
    notes = {
        "prepared": str(folder),
        "data_fingerprint": key,
        "sources": [source.__dict__ for source in sources],
    }
    events = load(folder, mapped=is_streamed(work.analysis.config))
    dataset = build_dataset(events, work.analysis.config, schema)
    work.cache["dataset"] = dataset
    log.info("prepared %d entries: %s", len(dataset), _in_words(dataset))
    work.recorder.tags({"data_fingerprint": key, "schema_fingerprint": schema.fingerprint()})
    return Outcome(notes=notes)


def load_dataset(work: Work) -> Dataset:
    """Return the prepared events of the run, split and weighted; read once a process."""
    if "dataset" not in work.cache:
        work.cache["dataset"] = read_dataset(work.folder, work.analysis)
    dataset: Dataset = work.cache["dataset"]
    return dataset


def read_dataset(folder: RunFolder, analysis: Analysis) -> Dataset:
    """Read the prepared events of a run, and split and weight them."""
    events = load(_prepared_folder(folder), mapped=is_streamed(analysis.config))
    return build_dataset(events, analysis.config, analysis.schema)


def load_notes(work: Work) -> dict[str, Any]:
    """Return the accounting of the prepared events, as in ``metrics.json``."""
    content: dict[str, Any] = json.loads(
        (_prepared_folder(work.folder) / ACCOUNTING).read_text(encoding="utf-8")
    )
    return content


def _prepared_folder(folder: RunFolder) -> Path:
    marker = folder.read_marker("prepare")
    if marker is None:
        message = f"{folder.path} is not prepared yet; run `hepdl prepare` or `hepdl run`"
        raise ConfigError(message)
    return Path(marker["prepared"])


def _identify(files: dict[str, list[str]]) -> list[_Source]:
    found = []
    for names in files.values():
        for source in expand(names):
            path = Path(source.path)
            status = path.stat()
            found.append(_Source(str(path), status.st_size, status.st_mtime_ns))
    return found


def _read_all(work: Work, files: dict[str, list[str]], folder: Path) -> None:
    """Read every process; nothing is stored before all of it has been read."""
    schema = work.analysis.schema
    problems = [] if work.skip_bad_files else check_all(files, work)
    if problems:
        raise DataError("\n".join(problems))
    names = tuple(files)
    total = Accounting()
    by_process: dict[str, Any] = {}
    parts: list[Events] = []
    n_files = sum(len(expand(sources)) for sources in files.values())
    with progress("reading", n_files) as advance:
        for name, sources in files.items():
            accounting = Accounting()
            # Where there is a label branch, it wins over this one.
            label = work.analysis.config.processes[name].label or "background"
            for chunk in iterate(
                sources, schema, accounting=accounting, skip_bad_files=work.skip_bad_files
            ):
                parts.append(
                    from_awkward(chunk, schema, label=label, process=name, process_names=names)
                )
                advance(0, text=f"{name}: {accounting.read} entries")
            advance(len(sources), text=name)
            if accounting.selected == 0:
                message = (
                    f"process {name}: none of {accounting.read} entries is left after the "
                    f"selection (rejected: {accounting.rejected}); loosen the cuts of the schema"
                )
                raise DataError(message)
            by_process[name] = accounting.as_dict()
            total.merge(accounting)
    save(concatenate(parts), folder)
    write_json(
        folder / ACCOUNTING,
        {"accounting": total.as_dict(), "accounting_by_process": by_process},
    )


def check_all(files: dict[str, list[str]], work: Work) -> list[str]:
    """Return what is wrong with the files of all processes, before any of them is read whole."""
    problems: list[str] = []
    for sources in files.values():
        problems += check_files(sources, work.analysis.schema)
    return problems


def _in_words(dataset: Dataset) -> str:
    return "; ".join(
        f"{part} {counts['signal']} signal, {counts['background']} background"
        for part, counts in dataset.counts().items()
    )
