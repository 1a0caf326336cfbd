"""hepdl: deep learning for high-energy-physics analyses.

The public names are handed out lazily, so that ``import hepdl`` and ``hepdl --help`` load neither
torch nor awkward.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hepdl.io import iterate, read
    from hepdl.pipeline.run import Run, run
    from hepdl.pipeline.tagger import Tagger, load_model
    from hepdl.schema import load_schema

__version__ = "0.1.0"

__all__ = ["Run", "Tagger", "__version__", "iterate", "load_model", "load_schema", "read", "run"]

_HOMES = {
    "Run": "hepdl.pipeline.run",
    "Tagger": "hepdl.pipeline.tagger",
    "iterate": "hepdl.io",
    "load_model": "hepdl.pipeline.tagger",
    "load_schema": "hepdl.schema",
    "read": "hepdl.io",
    "run": "hepdl.pipeline.run",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    message = f"module 'hepdl' has no attribute {name!r}; public names: {', '.join(__all__)}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted(__all__)
