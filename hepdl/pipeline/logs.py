"""Where the log goes: the terminal, and ``log.txt`` of the run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["to_file", "to_terminal"]

_ROOT = logging.getLogger("hepdl")


@contextmanager
def _handler(handler: logging.Handler, style: str) -> Iterator[None]:
    handler.setFormatter(logging.Formatter(style, datefmt="%Y-%m-%d %H:%M:%S"))
    level = _ROOT.level
    _ROOT.setLevel(logging.INFO)
    _ROOT.addHandler(handler)
    try:
        yield
    finally:
        _ROOT.removeHandler(handler)
        _ROOT.setLevel(level)
        handler.close()


@contextmanager
def to_file(path: Path) -> Iterator[None]:
    """Append the log to a file while the block runs."""
    with _handler(
        logging.FileHandler(path, encoding="utf-8"), "%(asctime)s %(levelname)s %(message)s"
    ):
        yield


@contextmanager
def to_terminal() -> Iterator[None]:
    """Show the log on stderr while the block runs."""
    with _handler(logging.StreamHandler(sys.stderr), "%(message)s"):
        yield
