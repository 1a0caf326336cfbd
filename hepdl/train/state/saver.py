"""When a fit writes its state down, and when it stops."""

from __future__ import annotations

import logging
import time
from typing import Any, NoReturn

from hepdl.errors import DivergedError, StoppedError
from hepdl.train.state.checkpoint import CheckpointFolder
from hepdl.train.state.identity import refuse_difference
from hepdl.train.state.ranks import Ranks
from hepdl.train.state.signals import StopRequest
from hepdl.train.state.training_state import TrainingState

__all__ = ["Saver"]

log = logging.getLogger(__name__)


class Saver:
    """Keeps the last complete state of a fit on disk, and the time that the fit has taken.

    Of several ranks the first one writes, with the random numbers of all of them.

    Args:
        state: What is saved and restored.
        folder: Where; None saves nothing.
        stop: Who may ask for a stop; None is nobody.
        ranks: Who fits together.
    """

    def __init__(
        self,
        state: TrainingState,
        folder: CheckpointFolder | None,
        stop: StopRequest | None,
        *,
        ranks: Ranks,
    ) -> None:
        self._state = state
        self._folder = folder
        self._stop = stop
        self._ranks = ranks
        self._identity: dict[str, Any] = {}
        self._since = time.monotonic()
        self._is_agreed = False

    def start(self, identity: dict[str, Any], *, resume: bool) -> None:
        """Continue from the checkpoint if there is one and this is a resume, else remove it.

        Raises:
            ConfigError: The checkpoint belongs to another fit.
        """
        self._identity = identity
        if self._folder is None:
            return
        if not resume:
            self._ranks.barrier()
            if self._ranks.is_first:
                self._folder.clear()
            return
        stored = self._folder.load() if self._ranks.is_first else None
        if stored is not None:
            refuse_difference(stored["identity"], identity, where=str(self._folder.file))
        stored = self._ranks.broadcast(stored)
        if stored is None:
            log.info("no checkpoint in %s: the fit starts afresh", self._folder.path)
            return
        self._state.load_dict(stored["state"], stored["random"][self._ranks.rank])
        progress = self._state.progress
        log.info("resumed at epoch %d, step %d", progress.epoch, progress.step)

    def save(self) -> None:
        """Write the state as it is now."""
        now = time.monotonic()
        self._state.progress.fit_seconds += now - self._since
        self._since = now
        if self._folder is None:
            return
        random = self._ranks.gather(self._state.random())
        if self._ranks.is_first:
            state = self._state.as_dict()
            self._folder.save({"identity": self._identity, "state": state, "random": random})

    @property
    def is_asked(self) -> bool:
        """Whether somebody asks this process to stop."""
        return self._stop is not None and self._stop.is_requested

    @property
    def must_stop(self) -> bool:
        """Whether all ranks stop before the next step."""
        return self._is_agreed or (self._ranks.is_alone and self.is_asked)

    def agree(self) -> None:
        """Take note that a rank was asked to stop, and that all ranks know."""
        self._is_agreed = True

    def stop(self) -> NoReturn:
        """Save and leave, because somebody asked for it.

        Raises:
            StoppedError: Always.
        """
        self.save()
        progress = self._state.progress
        reason = None if self._stop is None else self._stop.reason
        where = f"stopped by {reason or 'another rank'} in epoch {progress.epoch}, "
        where += f"step {progress.step}"
        if self._folder is None:
            message = f"{where}; no checkpoint was asked for, so the fit is lost"
        else:
            message = f"{where}; checkpoint written to {self._folder.file}: run again with --resume"
        raise StoppedError(message)

    def diverged(self, what: str, *, step: int | None = None) -> NoReturn:
        """Leave because of a number that cannot be; the last checkpoint stays as it is.

        Args:
            what: The number.
            step: The step with which it began; None is the last one.

        Raises:
            DivergedError: Always.
        """
        progress = self._state.progress
        rate = self._state.optimizer.param_groups[0]["lr"]
        step = progress.step if step is None else step
        message = f"training diverged in epoch {progress.epoch}, step {step}: {what} "
        message += f"(learning rate {rate:g}); use a smaller learning_rate or set clip_norm, and "
        message += "look for features with huge values"
        if self._folder is not None and self._folder.file.exists():
            message += f"; the last good checkpoint is {self._folder.file}"
        raise DivergedError(message)
