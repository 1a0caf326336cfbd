"""What a user asks of ``run`` or of one of its stages, in a form that travels between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """The arguments of ``hepdl run``; see `hepdl.pipeline.run.run` for their meaning.

    Attributes:
        log_to_terminal: Whether the log is shown on stderr.
    """

    analysis: Path | str
    output: Path | str | None = None
    overrides: Mapping[str, Any] | tuple[str, ...] = ()
    device: str = "auto"
    resume: bool = False
    data_dir: Path | str | None = None
    tracking_uri: str | None = None
    skip_bad_files: bool = False
    nproc: int | None = None
    last_stage: str | None = None
    log_to_terminal: bool = False

    @property
    def n_ranks(self) -> int:
        """How many processes train together."""
        return (self.nproc or 1) if self.last_stage in (None, "fit") else 1

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        values = asdict(self)
        for key in ("analysis", "output", "data_dir"):
            values[key] = None if values[key] is None else str(values[key])
        if not isinstance(self.overrides, Mapping):
            values["overrides"] = list(self.overrides)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Request:
        """Return what ``as_dict`` wrote."""
        return cls(**values)
