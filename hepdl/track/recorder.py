"""What the stages of a run write their record with."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hepdl.errors import ConfigError, EnvironmentFailure
from hepdl.track.lines import append, open_record
from hepdl.track.send import send
from hepdl.track.store import resolve_uri

__all__ = ["Recorder"]

log = logging.getLogger(__name__)

Ending = Literal["finished", "failed", "stopped"]
STATUS: dict[Ending, str] = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
# Reads a saved model for MLflow. A name and no import: it stands on a floor above this one.
LOADER = "hepdl.pipeline.served"

SHARE = 0.05  # of the run's time may go into sending
FIRST_SEND = 4.0  # [s] what the first one costs on a slow machine: the import of MLflow


class Recorder:
    """The record of one run, always as JSON lines, and in MLflow as it grows.

    A tracking store that is away never stops a run: the reason becomes a warning, the lines stay,
    and ``finish`` returns the command that sends them later.

    Args:
        folder: Output folder of the run; a record that is there already is continued.
        analysis: Name of the analysis, MLflow's experiment.
        root: Folder of the default store, beside the output folders; default ``runs``.
        uri: The value of ``--tracking-uri``, if any; ``none`` keeps the lines only.

    Raises:
        ConfigError: MLflow would refuse the tracking URI.
    """

    def __init__(
        self, folder: Path, *, analysis: str, root: Path | None = None, uri: str | None = None
    ) -> None:
        self.folder = folder
        self.uri = resolve_uri(uri, root=root)
        self.id = str(open_record(folder, analysis=analysis)["id"])
        self._began = time.monotonic()
        self._spent = 0.0
        self._next_cost = FIRST_SEND
        self._is_reachable = True

    def params(self, values: Mapping[str, Any], *, model: str | None = None) -> None:
        """Record parameters; nested ones get dotted names."""
        self._add({"what": "params", "model": model, "values": _dotted(values)})

    def metrics(
        self, values: Mapping[str, float], step: int = 0, *, model: str | None = None
    ) -> None:
        """Record numbers: of one epoch with its number as ``step``, or of the whole run."""
        self._add({"what": "metrics", "model": model, "step": step, "values": dict(values)})

    def tags(self, values: Mapping[str, str], *, model: str | None = None) -> None:
        """Record words that may change, e.g. the data fingerprint and the git commit."""
        self._add({"what": "tags", "model": model, "values": dict(values)})

    def artifact(self, path: Path, *, model: str | None = None) -> None:
        """Record a file or folder that lies in the output folder."""
        self._add({"what": "artifact", "model": model, "path": self._relative(path)})

    def model(
        self,
        path: Path,
        *,
        name: str,
        inputs: Mapping[str, str],
        loader: str = LOADER,
        members: Sequence[Path] = (),
    ) -> None:
        """Record a fitted model.

        Args:
            path: Its folder in the output folder; folders inside it are not sent.
            name: Its key under ``models:``.
            inputs: Kind of each input column: ``float``, or ``array`` for ``collection.field``.
            loader: Module with the ``_load_pyfunc`` that reads the files, by its full name.
            members: Folders of the models that it combines; MLflow's model holds copies of them.
        """
        line: dict[str, Any] = {"what": "model", "model": name, "path": self._relative(path)}
        if members:
            line["members"] = [self._relative(member) for member in members]
        self._add({**line, "inputs": dict(inputs), "output": "score", "loader": loader})

    def flush(self) -> None:
        """Send now what has not been sent, whatever the time it takes."""
        if self.uri is None:
            return
        began = time.monotonic()
        try:
            send(self.folder, self.uri)
            self._is_reachable = True
        except EnvironmentFailure as error:
            log.warning("%s; the run goes on, its record stays in %s", error, self.folder)
            self._is_reachable = False
        self._next_cost = time.monotonic() - began
        self._spent += self._next_cost

    def finish(self, status: Ending = "finished") -> str | None:
        """End the record; return the command that sends it later, or None if it has been sent.

        Args:
            status: How the run ended: ``finished``, ``failed`` or ``stopped``.
        """
        append(self.folder, {"what": "end", "status": STATUS[status]})
        self.flush()
        if self._is_reachable or self.uri is None:
            return None
        return f"hepdl track sync {self.folder} --tracking-uri {self.uri}"

    def _add(self, line: Mapping[str, Any]) -> None:
        append(self.folder, line)
        if self.uri is not None and self._is_reachable and self._is_time():
            self.flush()

    def _is_time(self) -> bool:
        """Return whether one more visit to the store stays within its share of the run's time."""
        elapsed = time.monotonic() - self._began
        return self._spent + self._next_cost < SHARE * elapsed

    def _relative(self, path: Path) -> str:
        """Return ``path`` as seen from the output folder."""
        try:
            return path.resolve().relative_to(self.folder.resolve()).as_posix()
        except ValueError as error:
            message = (
                f"artefact {path} lies outside the output folder {self.folder}; "
                "write it there first, so that the folder alone is the whole run"
            )
            raise ConfigError(message) from error


def _dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, keys joined by dots.

    >>> _dotted({"train": {"epochs": 3}, "seed": 1})
    {'train.epochs': 3, 'seed': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
