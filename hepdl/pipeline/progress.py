"""Progress of long steps: a bar on a terminal, one line a minute in a log file or job."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Advance", "progress"]

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 60.0


class Advance(Protocol):
    """Called with the number of new items, and a short text to show beside them."""

    def __call__(self, n: int = 1, /, text: str = "") -> None:
        """Advance by ``n``."""


@contextmanager
def progress(title: str, total: int, *, is_shown: bool = True) -> Iterator[Advance]:
    """Show the progress of a step.

    Args:
        title: What is being done.
        total: Number of items.
        is_shown: Whether this process is the one to show it.
    """
    if not is_shown:
        yield _show_nothing
    elif sys.stderr.isatty():
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=Console(stderr=True),
            transient=True,
        ) as bar:
            task = bar.add_task(title, total=total, text="")

            def advance(n: int = 1, /, text: str = "") -> None:
                bar.update(task, advance=n, text=text)

            yield advance
    else:
        yield _log_lines(title, total)


def _show_nothing(n: int = 1, /, text: str = "") -> None:
    return


def _log_lines(title: str, total: int) -> Advance:
    done = 0
    start = last = time.monotonic()

    def advance(n: int = 1, /, text: str = "") -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            log.info("%s: %d of %d after %.0f s %s", title, done, total, now - start, text)

    return advance
