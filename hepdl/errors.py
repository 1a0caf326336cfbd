"""Exceptions that say what was wrong, where it was, what would be accepted and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "ConfigError",
    "DataError",
    "DivergedError",
    "EnvironmentFailure",
    "HepdlError",
    "MissingExtraError",
    "RankLostError",
    "SchemaError",
    "StoppedError",
    "nearest",
    "unknown_name",
]


class HepdlError(Exception):
    """Base of every error that this package raises on purpose; exit status 2."""

    exit_status = 2


class ConfigError(HepdlError, ValueError):
    """The analysis configuration or the command line asks for something that cannot be done."""


class SchemaError(HepdlError, ValueError):
    """A data schema contradicts itself, or a file contradicts its schema."""


class DataError(HepdlError, ValueError):
    """Events were read, but their values cannot be used."""


class MissingExtraError(HepdlError, ImportError):
    """A part needs packages of an optional extra; the message is the install command."""


class EnvironmentFailure(HepdlError, OSError):
    """The environment failed (disk full, permission, tracking server away); exit status 3."""

    exit_status = 3


class RankLostError(EnvironmentFailure):
    """Another process of the same training is gone; its launcher says why."""


class DivergedError(HepdlError, ArithmeticError):
    """Training produced a value that is not finite; the last good checkpoint is kept."""

    exit_status = 4


class StoppedError(HepdlError, RuntimeError):
    """SIGTERM or SIGUSR1 arrived and a checkpoint was written; run again with ``--resume``."""

    exit_status = 85


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that looks most like ``name``, or None if nothing does.

    >>> nearest("jet_tau12", ["jet_pt", "jet_tau21"])
    'jet_tau21'
    """
    found = get_close_matches(name, sorted(known), n=1)
    return found[0] if found else None


def unknown_name(kind: str, name: str, known: Iterable[str], *, where: str) -> str:
    """Return the message for a name that is not one of the known names.

    Args:
        kind: What the name should have named, e.g. ``"model"``.
        name: The name as the user wrote it.
        known: Every name that would have been accepted.
        where: The place that the user has to edit, e.g. ``"models.tagger.model in tth.yaml"``.

    >>> print(unknown_name("model", "recn", ["mlp", "recnn"], where="models.a.model"))
    unknown model 'recn' (models.a.model); did you mean 'recnn'?
    available: mlp, recnn
    """
    names = sorted(known)
    near = nearest(name, names)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"unknown {kind} {name!r} ({where}){hint}\navailable: {', '.join(names) or '(none)'}"
