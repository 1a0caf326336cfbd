"""Stage ``simulate``: the processes that have no files get them, once.

Files are keyed by what made them and live in the data folder, where later runs find them. Each
chunk of a generator is a file of its own, so that a simulation that was killed goes on where it was,
and a larger sample begins with the chunks of a smaller one.
"""

from __future__ import annotations

import inspect
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import awkward as ak

from hepdl.errors import ConfigError, StoppedError
from hepdl.events.cores import available_cores
from hepdl.io import file_checksum, write_root
from hepdl.pipeline import parts
from hepdl.pipeline.config import ProcessConfig
from hepdl.pipeline.folders import content_hash, write_json
from hepdl.pipeline.progress import progress
from hepdl.pipeline.work import Outcome, Work

__all__ = ["simulate", "simulated_folder"]

log = logging.getLogger(__name__)

MANIFEST = "simulated.json"
FORMAT_VERSION = 1
# A new version of these makes other events from the same seed.
_ENGINES = ("pythia8mc", "fastjet")


@dataclass(frozen=True)
class _Request:
    """What is to be simulated for one process."""

    name: str
    module: ModuleType
    n_events: int
    options: dict[str, Any]
    folder: Path
    sample: str
    """What all samples have in common that differ in their size alone."""


def simulate(work: Work) -> Outcome:
    """Simulate what is not there yet."""
    notes: dict[str, Any] = {}
    for name, process in work.analysis.config.processes.items():
        if process.simulate is not None:
            request = _request(work, name, process)
            notes[name] = {"folder": str(request.folder), "files": _make(work, request)}
    return Outcome(notes={"simulated": notes})


def simulated_folder(work: Work, name: str, process: ProcessConfig) -> Path:
    """Return where the files of a simulated process live."""
    return _request(work, name, process).folder


def _request(work: Work, name: str, process: ProcessConfig) -> _Request:
    config = work.analysis.config
    assert process.simulate is not None
    generator = process.simulate.generator
    options = config.simulate.options | process.simulate.options
    where = f"processes.{name}.simulate"
    accepted = inspect.signature(parts.part("generators", generator, where=where)).parameters
    if "label" in accepted and process.label in ("signal", "background"):
        options = {"label": process.label} | options
    options = {"seed": config.simulate.seed} | options
    module = parts.module("generators", generator, where=where)
    if config.simulate.variations:
        if not hasattr(module, "iterate_variations"):
            message = (
                f"simulate.variations: {', '.join(config.simulate.variations)} are asked of "
                f"generator {generator} ({where}), which has no variations; take them out"
            )
            raise ConfigError(message)
        options["variations"] = config.simulate.variations
    versions = {}
    for package in _ENGINES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    schema = work.analysis.schema
    made_by = {
        "format_version": FORMAT_VERSION,
        "generator": generator,
        "options": options,
        "schema": schema.fingerprint(),
        "versions": versions if generator != "synthetic" else {},
    }
    key = content_hash({**made_by, "n_events": config.simulate.n_events})
    folder = work.data / "simulated" / f"{name}-{generator}-{key[:16]}"
    sample = content_hash(made_by)
    options = {**options, "schema": schema}
    return _Request(name, module, config.simulate.n_events, options, folder, sample)


def _make(work: Work, request: _Request) -> dict[str, str]:
    """Return the checksum of each file of a process, after making those that are missing."""
    manifest = request.folder / MANIFEST
    try:
        content: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        files: dict[str, str] = content["files"]
    except (OSError, ValueError, KeyError):
        pass
    else:
        sizes = content["sizes"]
        found = {
            name: (request.folder / name).stat().st_size
            for name in files
            if (request.folder / name).is_file()
        }
        if found == sizes:
            log.info(
                "%s: %d simulated entries reused from %s",
                request.name,
                request.n_events,
                request.folder,
            )
            return files
        log.warning("%s: files in %s changed; making them again", request.name, request.folder)
    request.folder.mkdir(parents=True, exist_ok=True)
    n_processes = work.n_processes or work.analysis.config.simulate.n_processes or available_cores()
    with progress(f"simulating {request.name}", request.n_events) as advance:

        def report(n: int) -> None:
            advance(n)
            if work.stop.is_requested:
                message = (
                    f"stopped by {work.stop.reason} while simulating {request.name}; "
                    "finished chunks are kept, run again with --resume"
                )
                raise StoppedError(message)

        paths = list(_write_chunks(work, request, n_processes, report))
    files = {path.name: file_checksum(path) for path in paths}
    sizes = {path.name: path.stat().st_size for path in paths}
    described = {key: value for key, value in request.options.items() if key != "schema"}
    write_json(
        manifest,
        {
            "process": request.name,
            "n_events": request.n_events,
            "sample": request.sample,
            "options": described,
            "files": files,
            "sizes": sizes,
        },
    )
    log.info("%s: %d entries simulated into %s", request.name, request.n_events, request.folder)
    return files


def _take_over(
    request: _Request, missing: Sequence[Any], path_of: Callable[[int], Path]
) -> list[Any]:
    """Copy the chunks that another size of the same sample has, and return those that it has not."""
    for manifest in sorted(request.folder.parent.glob(f"*/{MANIFEST}")):
        if not missing or manifest.parent == request.folder:
            continue
        try:
            content: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
            if content["sample"] != request.sample:
                continue
            checksums: dict[str, str] = content["files"]
            theirs = list(request.module.chunks(content["n_events"], **request.options))
        except (OSError, ValueError, KeyError):
            continue
        found = []
        for chunk in missing:
            source = manifest.parent / path_of(chunk.index).name
            # The last chunk of a sample is shorter, and so another one.
            if chunk not in theirs or not source.is_file():
                continue
            if file_checksum(source) == checksums.get(source.name):
                temporary = path_of(chunk.index).with_suffix(".partial")
                shutil.copyfile(source, temporary)
                temporary.replace(path_of(chunk.index))
                found.append(chunk)
        if found:
            log.info("%s: %d chunks taken over from %s", request.name, len(found), manifest.parent)
        missing = [chunk for chunk in missing if chunk not in found]
    return list(missing)


def _write_chunks(
    work: Work, request: _Request, n_processes: int, report: Callable[[int], None]
) -> Iterator[Path]:
    """Write each chunk to its own file; chunks that are there already are kept."""
    schema = work.analysis.schema

    def path_of(index: int) -> Path:
        return request.folder / f"part_{index:04d}.root"

    if not hasattr(request.module, "iterate_chunks"):
        generate: Callable[..., ak.Array] = getattr(request.module, request.module.__all__[0])
        events = generate(request.n_events, **request.options)
        report(len(events))
        write_root(events, path_of(0), schema)
        yield path_of(0)
        return
    requests = list(request.module.chunks(request.n_events, **request.options))
    missing = [chunk for chunk in requests if not path_of(chunk.index).is_file()]
    missing = _take_over(request, missing, path_of)
    if len(missing) < len(requests):
        log.info(
            "%s: %d of %d chunks are there",
            request.name,
            len(requests) - len(missing),
            len(requests),
        )
        report(request.n_events - sum(chunk.n_entries for chunk in missing))
    if "variations" in request.options:
        for chunk, tables in request.module.iterate_variations(
            missing, n_processes=n_processes, progress=report
        ):
            nominal, *varied = tables.items()
            write_root(nominal[1], path_of(chunk.index), schema, variations=dict(varied))
    else:
        for chunk, events in request.module.iterate_chunks(
            missing, n_processes=n_processes, progress=report
        ):
            write_root(events, path_of(chunk.index), schema)
    for chunk in requests:
        yield path_of(chunk.index)
