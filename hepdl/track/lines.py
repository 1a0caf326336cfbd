"""The record of a run as JSON lines: written always, whatever becomes of a tracking server.

``record.jsonl`` holds one JSON object a line. The first one names the record, every other one
says ``what`` happened: ``params``, ``metrics``, ``tags``, ``artifact``, ``model``, ``resumed`` or
``end``. Lines are only ever added; where two of them speak of the same thing, the later one wins,
so a resumed run that repeats an epoch leaves one point a step.
"""

from __future__ import annotations

import json
import math
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hepdl.errors import DataError

__all__ = ["FILE_NAME", "Content", "append", "fold", "open_record", "read"]

FILE_NAME = "record.jsonl"
FORMAT_VERSION = 1

Line = dict[str, Any]
Owner = str | None  # name of the model that a line speaks of; None is the run itself


@dataclass
class Content:
    """What a record says after all its lines.

    Attributes:
        params: Value by (model or None, key).
        metrics: (value, time [s]) by (model or None, key, step).
        tags: Value by (model or None, key).
        artifacts: Owner of each artefact, by its path in the run folder.
        models: The ``model`` line of each model, by the model's name.
        status: In MLflow's words: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``.
        ended: Time of the end [s], None while running.
    """

    params: dict[tuple[Owner, str], Any] = field(default_factory=dict)
    metrics: dict[tuple[Owner, str, int], tuple[float, float]] = field(default_factory=dict)
    tags: dict[tuple[Owner, str], str] = field(default_factory=dict)
    artifacts: dict[tuple[Owner, str], None] = field(default_factory=dict)
    models: dict[str, Line] = field(default_factory=dict)
    status: str = "RUNNING"
    ended: float | None = None


def open_record(folder: Path, *, analysis: str) -> Line:
    """Return the first line of the record in ``folder``; begin the record if there is none.

    A line that a kill left unfinished is cut off, so that the next one starts on a fresh line.
    """
    path = folder / FILE_NAME
    _mend(path)
    lines = read(folder) if path.exists() else []
    if lines:
        append(folder, {"what": "resumed"})
        return lines[0]
    folder.mkdir(parents=True, exist_ok=True)
    head = {
        "what": "record",
        "format_version": FORMAT_VERSION,
        "id": uuid.uuid4().hex,
        "analysis": analysis,
        "name": folder.resolve().name,
    }
    return append(folder, head)


def append(folder: Path, line: Mapping[str, Any]) -> Line:
    """Add one line to the record and hand it to the operating system at once."""
    stamped = {**_strict(line), "time": round(time.time(), 3)}
    text = json.dumps(stamped, allow_nan=False) + "\n"
    with (folder / FILE_NAME).open("ab") as file:
        file.write(text.encode())
    return stamped


def read(folder: Path) -> list[Line]:
    """Return the finished lines of the record in ``folder``.

    Raises:
        DataError: There is no record, or a line other than the last one is damaged.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        message = (
            f"{folder} holds no {FILE_NAME}, so it is not the output folder of a run; "
            "give the folder that `hepdl run` named at its end"
        )
        raise DataError(message)
    rows = path.read_bytes().split(b"\n")
    lines = []
    for number, row in enumerate(rows, start=1):
        parsed = _parse(row)
        if parsed is not None:
            lines.append(parsed)
        elif row.strip() and number < len(rows):
            message = (
                f"{path}, line {number} is no JSON object: {row[:60]!r}; "
                "restore the file from a copy, or delete that line"
            )
            raise DataError(message)
    _check_head(path, lines)
    return lines


def fold(lines: Sequence[Line]) -> Content:
    """Return what ``lines`` say together; a later line wins over an earlier one."""
    content = Content()
    for line in lines:
        owner = line.get("model")
        match line["what"]:
            case "params":
                content.params.update({(owner, key): v for key, v in line["values"].items()})
            case "tags":
                content.tags.update({(owner, key): v for key, v in line["values"].items()})
            case "metrics":
                for key, value in line["values"].items():
                    content.metrics[owner, key, line["step"]] = (float(value), line["time"])
            case "artifact":
                content.artifacts[owner, line["path"]] = None
            case "model":
                content.models[line["model"]] = line
            case "resumed":
                content.status, content.ended = "RUNNING", None
            case "end":
                content.status, content.ended = line["status"], line["time"]
    return content


def _mend(path: Path) -> None:
    """Finish or cut off a last line without its line break."""
    if not path.is_file():
        return
    text = path.read_bytes()
    if not text or text.endswith(b"\n"):
        return
    whole, _, torn = text.rpartition(b"\n")
    with path.open("r+b") as file:
        if _parse(torn) is not None:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        else:
            file.truncate(len(whole) + 1 if whole else 0)


def _parse(row: bytes) -> Line | None:
    """Return the JSON object in ``row``, or None if there is none."""
    try:
        value = json.loads(row)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _check_head(path: Path, lines: Sequence[Line]) -> None:
    """Raise DataError unless the first line is one that this version can read."""
    if lines and lines[0].get("what") != "record":
        message = f"{path} begins with {lines[0]}, not with the line that names the record"
        raise DataError(message)
    if lines and lines[0]["format_version"] != FORMAT_VERSION:
        message = (
            f"{path} has format_version {lines[0]['format_version']}; "
            f"this version of hepdl reads {FORMAT_VERSION}"
        )
        raise DataError(message)


def _strict(value: Any) -> Any:
    """Return ``value`` as strict JSON: numbers that are not finite become words."""
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if hasattr(value, "item"):  # numpy scalars
        return _strict(value.item())
    return str(value)
