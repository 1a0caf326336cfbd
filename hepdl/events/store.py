"""Events on disk: one npy file for each array, and a manifest with their checksums.

Nothing is pickled, a half-written folder is never taken for a whole one, and every file is compared
with its checksum when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepdl.errors import DataError, EnvironmentFailure
from hepdl.events.containers import Events, Jagged, JetTrees

__all__ = ["load", "save"]

FORMAT_VERSION = 1
MANIFEST = "events.json"

_COLUMNS = ("event_number", "run_number", "process", "label", "event_weight", "flat", "nuisance")
_TREES = ("features", "depth", "is_inner", "offsets")


def save(events: Events, folder: Path) -> None:
    """Write events into a folder, which appears whole or not at all; an older one is replaced.

    Raises:
        EnvironmentFailure: The disk is full, or the folder cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        arrays = {}
        for number, (key, tensor) in enumerate(_arrays(events)):
            # Names of users' columns need not be names of files.
            file = temporary / f"{number:03d}.npy"
            np.save(file, tensor.detach().cpu().numpy(), allow_pickle=False)
            arrays[key] = {"file": file.name, "sha256": _checksum(file)}
        manifest = {
            "format_version": FORMAT_VERSION,
            "n_events": len(events),
            "feature_names": list(events.feature_names),
            "nuisance_names": list(events.nuisance_names),
            "process_names": list(events.process_names),
            "truth_names": list(events.truth_names),
            "collections": {name: list(rows.columns) for name, rows in events.collections.items()},
            "observers": list(events.observers),
            "jet_trees": events.jet_trees is not None,
            "particles": None if events.particles is None else list(events.particles.columns),
            "arrays": arrays,
        }
        with (temporary / MANIFEST).open("w", encoding="utf-8") as file_:
            json.dump(manifest, file_, indent=1)
            file_.flush()
            os.fsync(file_.fileno())
        _replace(temporary, folder)
    except OSError as error:
        message = f"cannot write events to {folder}: {error.strerror or error}"
        raise EnvironmentFailure(message) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(folder: Path, *, mapped: bool = False) -> Events:
    """Read what ``save`` wrote.

    Args:
        folder: Where.
        mapped: Leave the values on disk until they are looked at; a change of a tensor then
            takes memory, and changes no file.

    Raises:
        DataError: There are no events in the folder, or a file is missing or damaged.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        message = f"no events in {folder}: {MANIFEST} is missing; prepare them again"
        raise DataError(message) from error
    except ValueError as error:
        message = f"{path} is damaged ({error}); remove the folder and prepare the events again"
        raise DataError(message) from error
    if manifest.get("format_version") != FORMAT_VERSION:
        message = (
            f"{path} has format {manifest.get('format_version')}, this hepdl reads format "
            f"{FORMAT_VERSION}; remove the folder and prepare the events again"
        )
        raise DataError(message)
    arrays = {key: _read(folder, entry, mapped=mapped) for key, entry in manifest["arrays"].items()}
    # Stores that were written before there were particles have no such entry.
    columns = manifest.get("particles")
    trees = {name: arrays[f"jet_trees/{name}"] for name in _TREES} if manifest["jet_trees"] else {}
    return Events(
        event_number=arrays["event_number"],
        run_number=arrays["run_number"],
        process=arrays["process"],
        label=arrays["label"],
        event_weight=arrays["event_weight"],
        flat=arrays["flat"],
        nuisance=arrays["nuisance"],
        feature_names=tuple(manifest["feature_names"]),
        nuisance_names=tuple(manifest["nuisance_names"]),
        process_names=tuple(manifest["process_names"]),
        # Stores that were written before truth had a role name none.
        truth_names=tuple(manifest.get("truth_names", ())),
        collections={
            name: Jagged(
                arrays[f"collections/{name}/values"],
                arrays[f"collections/{name}/offsets"],
                tuple(columns),
            )
            for name, columns in manifest["collections"].items()
        },
        observers={name: arrays[f"observers/{name}"] for name in manifest["observers"]},
        jet_trees=JetTrees(**trees) if trees else None,
        particles=None
        if columns is None
        else Jagged(arrays["particles/values"], arrays["particles/offsets"], tuple(columns)),
    )


def _arrays(events: Events) -> Iterator[tuple[str, Tensor]]:
    for name in _COLUMNS:
        yield name, getattr(events, name)
    for name, rows in events.collections.items():
        yield f"collections/{name}/values", rows.values
        yield f"collections/{name}/offsets", rows.offsets
    for name, column in events.observers.items():
        yield f"observers/{name}", column
    if events.jet_trees is not None:
        for name in _TREES:
            yield f"jet_trees/{name}", getattr(events.jet_trees, name)
    if events.particles is not None:
        yield "particles/values", events.particles.values
        yield "particles/offsets", events.particles.offsets


def _read(folder: Path, entry: Mapping[str, Any], *, mapped: bool) -> Tensor:
    path = folder / entry["file"]
    if not path.is_file():
        message = f"{path} is missing; remove the folder and prepare the events again"
        raise DataError(message)
    if _checksum(path) != entry["sha256"]:
        message = (
            f"{path} is damaged: its checksum is not the one in {MANIFEST}; "
            "remove the folder and prepare the events again"
        )
        raise DataError(message)
    # Copy on write, since torch has no tensors that only read.
    return torch.from_numpy(np.load(path, allow_pickle=False, mmap_mode="c" if mapped else None))


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _replace(temporary: Path, folder: Path) -> None:
    """Put the new folder in the place of the old one, which is removed last."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    temporary.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
