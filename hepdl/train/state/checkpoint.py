"""Checkpoints on disk: always whole, never pickled code."""

from __future__ import annotations

import io
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hepdl.errors import EnvironmentFailure

__all__ = ["CheckpointFolder", "write_atomically"]


def write_atomically(content: bytes, path: Path) -> None:
    """Write a file so that a crash at any moment leaves the old file or the new one, whole.

    Raises:
        EnvironmentFailure: The disk is full, or the folder cannot be written.
    """
    # One fixed name: what a killed run leaves behind is overwritten by the next one.
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        # The new name itself must survive a power cut.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}; free some space or choose "
        message += "another folder, then run again with --resume"
        raise EnvironmentFailure(message) from error


@dataclass(frozen=True)
class CheckpointFolder:
    """The folder that holds the last complete state of one fit.

    Attributes:
        path: Made when the first checkpoint is written. One fit, one folder.
    """

    path: Path

    @property
    def file(self) -> Path:
        """The checkpoint."""
        return self.path / "last.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint by ``state`` (tensors, numbers, strings, lists and dicts)."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(buffer.getvalue(), self.file)

    def load(self) -> dict[str, Any] | None:
        """Return the last complete state, on the CPU, or None if there is none.

        Raises:
            EnvironmentFailure: The file cannot be read.
        """
        if not self.file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.file, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            message = f"cannot read the checkpoint {self.file} ({type(error).__name__}); it is "
            message += "damaged or not ours: remove it to start this fit afresh"
            raise EnvironmentFailure(message) from error
        return state

    def clear(self) -> None:
        """Remove the checkpoint, so that a fit that starts afresh never resumes an older one."""
        self.file.unlink(missing_ok=True)
