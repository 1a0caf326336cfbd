"""Stage ``prepare``: read, check and select the events once, and keep them for later runs."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
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
from hepdl.pipeline.systematics import varied_schema
from hepdl.pipeline.work import Outcome, Work
from hepdl.pipeline.yields import Normalisation, sums_of_weights
from hepdl.schema import Schema

__all__ = [
    "check_sources",
    "load_dataset",
    "load_normalisation",
    "load_notes",
    "load_varied",
    "prepare",
    "read_dataset",
    "source_files",
]

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
ACCOUNTING = "accounting.json"


@dataclass(frozen=True)
class _Source:
    """A file, as far as it matters whether it is still the same one."""

    path: str
    size: int
    modified: int


@dataclass(frozen=True)
class _Store:
    """Prepared events of one ttree of the files."""

    folder: Path
    key: str
    schema: Schema
    files: dict[str, list[str]]

    @property
    def is_there(self) -> bool:
        return (self.folder / "events.json").is_file() and (self.folder / ACCOUNTING).is_file()


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
    """Read what is not prepared yet, nominal and varied; write the accounting into the run folder."""
    config, schema = work.analysis.config, work.analysis.schema
    files = source_files(work)
    sources = _identify(files)
    nominal = _store(work, schema, files, sources)
    varied = {
        name: _store(work, varied_schema(schema, name), _without_ttree(files), sources)
        for name in config.systematics.ttrees
    }
    _check_stores(work, [nominal, *varied.values()])
    _read_all(work, nominal)
    for name, store in varied.items():
        if work.skip_bad_files and not store.is_there:
            store = replace(store, files=_without_skipped(files, nominal.folder))
        _read_all(work, store, what=f"variation {name}: ")
    sums = sums_of_weights(files, config, schema, skip_bad_files=work.skip_bad_files)
    notes = {
        "prepared": str(nominal.folder),
        "data_fingerprint": nominal.key,
        "sources": [source.__dict__ for source in sources],
        "variations": {name: str(store.folder) for name, store in varied.items()},
        "sums_of_weights": sums,
    }
    events = load(nominal.folder, mapped=is_streamed(config))
    dataset = build_dataset(events, config, schema)
    if sums:
        Normalisation.of(events, dataset.part, config, sums)
    work.cache["dataset"] = dataset
    log.info("prepared %d entries: %s", len(dataset), _in_words(dataset))
    tags = {"data_fingerprint": nominal.key, "schema_fingerprint": schema.fingerprint()}
    work.recorder.tags(tags)
    return Outcome(notes=notes)


def load_dataset(work: Work) -> Dataset:
    """Return the prepared events of the run, split and weighted; read once a process."""
    if "dataset" not in work.cache:
        work.cache["dataset"] = read_dataset(work.folder, work.analysis)
    dataset: Dataset = work.cache["dataset"]
    return dataset


def read_dataset(folder: RunFolder, analysis: Analysis) -> Dataset:
    """Read the prepared events of a run, and split and weight them."""
    events = load(Path(_marker(folder)["prepared"]), mapped=is_streamed(analysis.config))
    return build_dataset(events, analysis.config, analysis.schema)


def load_notes(work: Work) -> dict[str, Any]:
    """Return the accounting of the prepared events, as in ``metrics.json``."""
    marker = _marker(work.folder)

    def accounting(folder: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((Path(folder) / ACCOUNTING).read_text("utf-8"))
        return content

    # Runs that were prepared before there were variations name none.
    varied = {name: accounting(path) for name, path in marker.get("variations", {}).items()}
    return accounting(marker["prepared"]) | ({"variations": varied} if varied else {})


def load_varied(folder: RunFolder, name: str) -> Events:
    """Return the events of a variation of a prepared run."""
    return load(Path(_marker(folder)["variations"][name]))


def load_normalisation(work: Work) -> Normalisation | None:
    """Return what the weights of the run are worth; None without a luminosity."""
    config = work.analysis.config
    if config.evaluate.luminosity is None:
        return None
    dataset = load_dataset(work)
    sums = _marker(work.folder)["sums_of_weights"]
    return Normalisation.of(dataset.events, dataset.part, config, sums)


def _marker(folder: RunFolder) -> dict[str, Any]:
    marker = folder.read_marker("prepare")
    if marker is None:
        message = f"{folder.path} is not prepared yet; run `hepdl prepare` or `hepdl run`"
        raise ConfigError(message)
    return marker


def _identify(files: dict[str, list[str]]) -> list[_Source]:
    found = []
    for names in files.values():
        for source in expand(names):
            path = Path(source.path)
            status = path.stat()
            found.append(_Source(str(path), status.st_size, status.st_mtime_ns))
    return found


def _store(
    work: Work, schema: Schema, files: dict[str, list[str]], sources: list[_Source]
) -> _Store:
    """Return where the events of one ttree are prepared; the key says what they are made from."""
    key = content_hash(
        {
            "format_version": FORMAT_VERSION,
            "schema": schema.fingerprint(),
            "labels": {name: p.label for name, p in work.analysis.config.processes.items()},
            "files": files,
            "sources": [source.__dict__ for source in sources],
            "skip_bad_files": work.skip_bad_files,
        }
    )
    folder = work.data / "prepared" / f"{work.analysis.name}-{key[:16]}"
    return _Store(folder, key, schema, files)


def _check_stores(work: Work, stores: list[_Store]) -> None:
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


def _without_ttree(files: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the paths alone: the ttree that a user names is the nominal one."""
    return {name: [source.path for source in expand(names)] for name, names in files.items()}


def _without_skipped(files: dict[str, list[str]], nominal: Path) -> dict[str, list[str]]:
    """Return the files of the nominal events that could be read."""
    content: dict[str, Any] = json.loads((nominal / ACCOUNTING).read_text(encoding="utf-8"))
    skipped = content["accounting"]["skipped"]
    return {
        name: [source.path for source in expand(names) if str(source) not in skipped]
        for name, names in files.items()
    }


def _read_all(work: Work, store: _Store, what: str = "") -> None:
    """Read every process of one ttree; nothing is stored before all of it has been read."""
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
                parts.append(
                    from_awkward(chunk, schema, label=label, process=name, process_names=names)
                )
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


def _in_words(dataset: Dataset) -> str:
    return "; ".join(
        f"{part} {counts['signal']} signal, {counts['background']} background"
        for part, counts in dataset.counts().items()
    )
