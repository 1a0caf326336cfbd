"""The checkpoint of boosted trees, with what the loop around them must remember."""

from __future__ import annotations

import time
from typing import Any

from hepdl.train.state.checkpoint import CheckpointFolder
from hepdl.train.state.identity import refuse_difference

__all__ = ["RoundKeeper"]


class RoundKeeper:
    """Keeps the trees' own state together with identity, history and time of the fit.

    It is the ``RoundCheckpoint`` that ``Trees.fit`` asks for and writes to.

    Args:
        folder: Where; None keeps nothing.
    """

    def __init__(self, folder: CheckpointFolder | None) -> None:
        self._folder = folder
        self._identity: dict[str, Any] = {}
        self._since = time.monotonic()
        self._seconds = 0.0
        self._trees: dict[str, Any] | None = None
        self.rounds: dict[int, dict[str, float]] = {}

    @property
    def fit_seconds(self) -> float:
        """Wall time of the fit, all resumes together [s]."""
        return self._seconds + time.monotonic() - self._since

    @property
    def history(self) -> list[dict[str, float]]:
        """What was observed, one entry per round."""
        return [self.rounds[number] for number in sorted(self.rounds)]

    def start(self, identity: dict[str, Any], *, resume: bool) -> None:
        """Continue from the checkpoint if there is one and this is a resume, else remove it.

        Args:
            identity: What a resume must find unchanged.
            resume: Whether this is one.

        Raises:
            ConfigError: The checkpoint belongs to another fit.
        """
        self._identity = identity
        if self._folder is None:
            return
        stored = self._folder.load() if resume else None
        if stored is None:
            self._folder.clear()
            return
        refuse_difference(stored["identity"], self._identity, where=str(self._folder.file))
        self._trees = stored["trees"]
        self._seconds = stored["fit_seconds"]
        self.rounds = {int(number): values for number, values in stored["rounds"].items()}

    def load(self) -> dict[str, Any] | None:
        """Return the state of the trees to continue from, or None."""
        return self._trees

    def save(self, state: dict[str, Any]) -> None:
        """Write the state of the trees."""
        if self._folder is not None:
            self._folder.save(
                {
                    "identity": self._identity,
                    "trees": state,
                    "rounds": self.rounds,
                    "fit_seconds": self.fit_seconds,
                }
            )
