"""Stop requests: a batch system's SIGTERM or SIGUSR1, heard at the next safe place."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["StopRequest"]

log = logging.getLogger(__name__)


class StopRequest:
    """Remembers that somebody wants the run to stop; the loops ask it after each step.

    As a context manager it listens to SIGTERM and SIGUSR1 and gives the old handlers back at the
    end. Signals can be heard in the main thread of Python only: elsewhere nothing is installed and
    ``request`` is the only way.

    >>> stop = StopRequest()
    >>> stop.request("SIGTERM")
    >>> stop.reason
    'SIGTERM'
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._previous: dict[int, Any] = {}

    @property
    def is_requested(self) -> bool:
        """Whether the run should stop at the next safe place."""
        return self.reason is not None

    def request(self, reason: str) -> None:
        """Ask for a stop; the first reason stays."""
        if self.reason is None:
            self.reason = reason

    def __enter__(self) -> Self:
        """Start to listen."""
        if threading.current_thread() is not threading.main_thread():
            log.info("not in the main thread: SIGTERM and SIGUSR1 are not caught")
            return self
        for name in ("SIGTERM", "SIGUSR1"):
            number = getattr(signal, name, None)
            if number is not None:
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the old handlers back."""
        while self._previous:
            number, handler = self._previous.popitem()
            # None: the old handler was not set from Python and cannot be named again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Only a flag: anything more could run in the middle of writing a checkpoint.
        self.request(signal.Signals(number).name)
