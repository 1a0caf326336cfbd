"""The folder where the launcher and the ranks leave notes for each other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepdl.pipeline.folders import write_json
from hepdl.pipeline.request import Request

__all__ = ["Desk"]


@dataclass(frozen=True)
class Desk:
    """Notes of one launch. torchrun knows nothing but exit codes, and the meaning of none.

    Attributes:
        path: A folder of this launch alone.
    """

    path: Path

    def ask(self, request: Request) -> None:
        """Leave what is to be done."""
        write_json(self.path / "request.json", request.as_dict())

    def request(self) -> Request:
        """Return what is to be done."""
        return Request.from_dict(json.loads((self.path / "request.json").read_text()))

    def sign_in(self, rank: int, pid: int) -> None:
        """Say that a rank now hears signals, and where to send them."""
        write_json(self.path / f"pid-{rank}.json", pid)

    def pids(self) -> dict[int, int]:
        """Return the process of each rank that has signed in."""
        return {rank: int(pid) for rank, pid in self._read("pid").items()}

    def sign_out(self, rank: int, outcome: dict[str, Any]) -> None:
        """Leave how a rank ended; one that is killed leaves nothing."""
        write_json(self.path / f"outcome-{rank}.json", outcome)

    def outcomes(self) -> dict[int, dict[str, Any]]:
        """Return how the ranks ended that could still say so, in the order of ranks."""
        return self._read("outcome")

    def _read(self, kind: str) -> dict[int, Any]:
        found = {}
        for path in self.path.glob(f"{kind}-*.json"):
            found[int(path.stem.partition("-")[2])] = json.loads(path.read_text())
        return dict(sorted(found.items()))
