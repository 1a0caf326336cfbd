"""The output folder of a run: where things lie, and which stages are done."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hepdl.errors import ConfigError, DataError, EnvironmentFailure

__all__ = ["RunFolder", "choose_folder", "content_hash", "data_folder", "write_json", "write_text"]

STAGES = ("simulate", "prepare", "fit", "evaluate", "report")


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; numbers that are not finite are refused by name."""
    try:
        text = json.dumps(content, indent=1, allow_nan=False)
    except ValueError as error:
        message = f"{path.name}: a value is not finite, JSON cannot hold it ({error})"
        raise DataError(message) from error
    write_text(path, text + "\n")


def content_hash(content: Any) -> str:
    """Return a hash of JSON-able content that does not depend on key order."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class RunFolder:
    """The output folder of one run.

    Attributes:
        path: The folder.
        root: The folder that also holds data and the tracking store, usually ``runs``.
    """

    path: Path
    root: Path

    @property
    def stages(self) -> Path:
        """Folder of the stage markers."""
        return self.path / "stages"

    @property
    def figures(self) -> Path:
        """Folder of the pictures."""
        return self.path / "figures"

    def model(self, name: str, seed: int | None = None, fold: int | None = None) -> Path:
        """Folder of the chosen model, or of one seed's model; with folds, of one fold's."""
        folder = _below(self.path / "models" / name, fold)
        return folder if seed is None else folder / "seeds" / str(seed)

    def checkpoint(self, name: str, seed: int, fold: int | None = None) -> Path:
        """Folder of the last complete state of one training."""
        return _below(self.path / "checkpoints" / name, fold) / str(seed)

    def has_finished(self, stage: str, inputs: str) -> bool:
        """Whether a stage is done with these inputs and its outputs are still whole."""
        marker = self.read_marker(stage)
        if marker is None or marker["inputs"] != inputs:
            return False
        for name, checksum in marker["outputs"].items():
            path = self.path / name
            if not path.is_file() or file_hash(path) != checksum:
                return False
        return True

    def read_marker(self, stage: str) -> dict[str, Any] | None:
        """Return the marker of a stage, or None if there is none that can be read."""
        try:
            marker: dict[str, Any] = json.loads((self.stages / f"{stage}.json").read_text())
        except (OSError, ValueError):
            return None
        return marker

    def mark(
        self, stage: str, inputs: str, *, outputs: list[Path], notes: Mapping[str, Any]
    ) -> None:
        """Write the marker of a stage; the last thing that a stage does."""
        write_json(
            self.stages / f"{stage}.json",
            {
                "stage": stage,
                "inputs": inputs,
                "outputs": {
                    str(path.relative_to(self.path)): file_hash(path) for path in sorted(outputs)
                },
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                **notes,
            },
        )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder: two processes never write one run."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = (self.path / ".lock").open("w")
        except OSError as error:
            message = f"cannot write the output folder {self.path}: {error.strerror}"
            raise EnvironmentFailure(message) from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"another process is working in {self.path}: wait for it, or stop it"
                raise ConfigError(message) from error
            yield


def _below(folder: Path, fold: int | None) -> Path:
    return folder if fold is None else folder / "folds" / str(fold)


def _root_of(output: Path) -> Path:
    """Return the folder that holds data and the store of this output: the ``runs`` above it."""
    for parent in output.parents:
        if parent.name == "runs":
            return parent
    return output.parent


def _is_empty(folder: Path) -> bool:
    return not folder.exists() or not any(p.name != ".lock" for p in folder.iterdir())


def choose_folder(
    analysis: str, *, output: Path | None, resume: bool, may_exist: bool = False
) -> RunFolder:
    """Return the output folder of a run.

    Args:
        analysis: Name of the analysis.
        output: The folder that the user named, if any.
        resume: Continue: the named folder, else the newest unfinished one of the analysis.
        may_exist: For a single stage, which works on the folder that the earlier stages left.

    Raises:
        ConfigError: The named folder is not empty and nothing says that it may be.
    """
    if output is not None:
        output = output.absolute()
        if output.exists() and not output.is_dir():
            message = f"--output {output} is a file: name a folder"
            raise ConfigError(message)
        if not (resume or may_exist) and not _is_empty(output):
            message = (
                f"--output {output} is not empty: add --resume to continue that run, "
                "or name another folder"
            )
            raise ConfigError(message)
        return RunFolder(output, _root_of(output))
    base = Path("runs").absolute() / analysis
    if resume or may_exist:
        unfinished = [
            folder
            for folder in sorted(base.glob("*Z"), reverse=True)
            if folder.is_dir() and not (folder / "stages" / "report.json").is_file()
        ]
        if unfinished:
            return RunFolder(unfinished[0], base.parent)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    folder = base / now
    n = 1
    while folder.exists():
        folder, n = base / f"{now[:-1]}-{n}Z", n + 1
    return RunFolder(folder, base.parent)


def data_folder(run: RunFolder, data_dir: Path | None) -> Path:
    """Return where simulated and prepared data live: the argument, ``HEPDL_DATA``, or the root."""
    if data_dir is not None:
        return data_dir.absolute()
    from_environment = os.environ.get("HEPDL_DATA")
    return Path(from_environment).absolute() if from_environment else run.root / "data"
