"""When a fit writes its state down, and when it stops."""

from __future__ import annotations

import logging
import time
from typing import Any, NoReturn

from hepdl.errors import DivergedError, StoppedError
from hepdl.train.state.checkpoint import CheckpointFolder
from hepdl.train.state.identity import refuse_difference
from hepdl.train.state.signals import StopRequest
from hepdl.train.state.training_state import TrainingState

__all__ = ["Saver"]

log = logging.getLogger(__name__)


class Saver:
    """Keeps the last complete state of a fit on disk, and the time that the fit has taken.

    Args:
        state: What is saved and restored.
        folder: Where; None saves nothing.
        stop: Who may ask for a stop; None is nobody.
    """

    def __init__(
        self, state: TrainingState, folder: CheckpointFolder | None, stop: StopRequest | None
    ) -> None:
        self._state = state
        self._folder = folder
        self._stop = stop
        self._identity: dict[str, Any] = {}
        self._since = time.monotonic()

    def start(self, identity: dict[str, Any], *, resume: bool) -> None:
        """Continue from the checkpoint if there is one and this is a resume, else remove it.

        Raises:
            ConfigError: The checkpoint belongs to another fit.
        """
        self._identity = identity
        if self._folder is None:
            return
        if not resume:
            self._folder.clear()
            return
        stored = self._folder.load()
        if stored is None:
            log.info("no checkpoint in %s: the fit starts afresh", self._folder.path)
            return
        refuse_difference(stored["identity"], identity, where=str(self._folder.file))
        self._state.load_dict(stored["state"])
        progress = self._state.progress
        log.info("resumed at epoch %d, step %d", progress.epoch, progress.step)

    def save(self) -> None:
        """Write the state as it is now."""
        now = time.monotonic()
        self._state.progress.fit_seconds += now - self._since
        self._since = now
        if self._folder is not None:
            self._folder.save({"identity": self._identity, "state": self._state.as_dict()})

    def stop_if_requested(self) -> None:
        """Save and leave, if somebody asked for it.

        Raises:
            StoppedError: Somebody did.
        """
        if self._stop is None or not self._stop.is_requested:
            return
        self.save()
        progress = self._state.progress
        where = f"stopped by {self._stop.reason} in epoch {progress.epoch}, step {progress.step}"
        if self._folder is None:
            message = f"{where}; no checkpoint was asked for, so the fit is lost"
        else:
            message = f"{where}; checkpoint written to {self._folder.file}: run again with --resume"
        raise StoppedError(message)

    def diverged(self, what: str) -> NoReturn:
        """Leave because a number is not finite; the last checkpoint stays as it is.

        Raises:
            DivergedError: Always.
        """
        progress = self._state.progress
        rate = self._state.optimizer.param_groups[0]["lr"]
        message = f"training diverged in epoch {progress.epoch}, step {progress.step}: {what} "
        message += f"(learning rate {rate:g}); use a smaller learning_rate or set clip_norm, and "
        message += "look for features with huge values"
        if self._folder is not None and self._folder.file.exists():
            message += f"; the last good checkpoint is {self._folder.file}"
        raise DivergedError(message)
