"""Stage ``prepare``: read, check and select the events once, and keep them for later runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hepdl.errors import ConfigError, DataError
from hepdl.events import Events
from hepdl.events.store import load
from hepdl.io import expand
from hepdl.pipeline.dataset import Dataset, build_dataset
from hepdl.pipeline.folders import RunFolder
from hepdl.pipeline.load import Analysis
from hepdl.pipeline.stages.simulate import simulated_folder
from hepdl.pipeline.stores import (
    Store,
    accounting_of,
    check_stores,
    read_store,
    store_of,
    without_skipped,
    without_ttree,
)
from hepdl.pipeline.streaming import is_streamed
from hepdl.pipeline.systematics import varied_schema
from hepdl.pipeline.work import Outcome, Work
from hepdl.pipeline.yields import Normalisation, sums_of_weights

__all__ = [
    "check_sources",
    "load_dataset",
    "load_normalisation",
    "load_notes",
    "load_unlabelled",
    "load_varied",
    "prepare",
    "read_dataset",
    "source_files",
]

log = logging.getLogger(__name__)


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
    """Read what is not prepared yet, nominal and varied; write the accounting into the run folder."""
    config, schema = work.analysis.config, work.analysis.schema
    files = source_files(work)
    described = [source.__dict__ for source in _identify(files)]
    everything = files
    files = {name: names for name, names in files.items() if name not in config.unlabelled}
    nominal = store_of(work, schema, files, described)
    unlabelled = _unlabelled_store(work, everything, described)
    varied = {
        name: store_of(work, varied_schema(schema, name), without_ttree(files), described)
        for name in config.systematics.ttrees
    }
    others = () if unlabelled is None else (unlabelled,)
    check_stores(work, [nominal, *varied.values(), *others])
    read_store(work, nominal)
    for store in others:
        read_store(work, store, what="unlabelled ")
    for name, store in varied.items():
        if work.skip_bad_files and not store.is_there:
            store = replace(store, files=without_skipped(files, nominal.folder))
        read_store(work, store, what=f"variation {name}: ")
    sums = sums_of_weights(files, config, schema, skip_bad_files=work.skip_bad_files)
    notes = {
        "prepared": str(nominal.folder),
        "data_fingerprint": nominal.key,
        "sources": described,
        "variations": {name: str(store.folder) for name, store in varied.items()},
        "unlabelled": None if unlabelled is None else str(unlabelled.folder),
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
    # Runs that were prepared before there were variations name none.
    varied = {
        name: accounting_of(Path(path)) for name, path in marker.get("variations", {}).items()
    }
    found = accounting_of(Path(marker["prepared"])) | ({"variations": varied} if varied else {})
    if marker.get("unlabelled") is not None:
        found["unlabelled"] = accounting_of(Path(marker["unlabelled"]))
    return found


def load_varied(folder: RunFolder, name: str) -> Events:
    """Return the events of a variation of a prepared run."""
    return load(Path(_marker(folder)["variations"][name]))


def load_unlabelled(folder: RunFolder) -> Events:
    """Return the events without labels of a prepared run that has such processes."""
    return load(Path(_marker(folder)["unlabelled"]))


def _unlabelled_store(
    work: Work, files: dict[str, list[str]], sources: list[dict[str, Any]]
) -> Store | None:
    """Return where the events without labels are prepared; data have no truth."""
    names = work.analysis.config.unlabelled
    if not names:
        return None
    own = {name: files[name] for name in names}
    return store_of(work, work.analysis.schema.without_truth(), own, sources)


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


def _in_words(dataset: Dataset) -> str:
    return "; ".join(
        f"{part} {counts['signal']} signal, {counts['background']} background"
        for part, counts in dataset.counts().items()
    )
