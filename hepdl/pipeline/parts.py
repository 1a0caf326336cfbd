"""Names to parts: the file's name is the part's name in YAML.

``hepdl/models/recnn.py`` is the model ``recnn``; the part is the first name in the module's
``__all__``. Listing reads file names without importing them, so that an absent optional dependency
breaks nothing until the part is used.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, get_args

from hepdl.errors import ConfigError, unknown_name
from hepdl.pipeline.config import CalibrationMethod, CombinationMethod, PosthocMethod

__all__ = ["accepted", "available", "build", "check", "module", "part", "summary"]

ROOMS = {
    "models": "models",
    "losses": "losses",
    "loops": "train",
    "generators": "simulate",
    "metrics": "evaluate",
    "calibrations": "posthoc",
    "combinations": "posthoc",
    "posthoc": "posthoc",
}
# Three kinds of part share a room: the configuration says which name is which.
_NAMES = {
    "calibrations": get_args(CalibrationMethod),
    "combinations": get_args(CombinationMethod),
    "posthoc": get_args(PosthocMethod),
}
_PACKAGE = Path(__file__).parents[1]


def available(kind: str) -> tuple[str, ...]:
    """Return the names that a configuration may use for one kind of part.

    >>> "recnn" in available("models")
    True
    """
    found = iter_modules([str(_PACKAGE / ROOMS[kind])])
    names = (m.name for m in found if not m.ispkg and not m.name.startswith("_"))
    return tuple(sorted(name for name in names if name in _NAMES.get(kind, (name,))))


def summary(kind: str, name: str) -> str:
    """Return the first line of a part's module, read as text: nothing is imported."""
    source = (_PACKAGE / ROOMS[kind] / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def module(kind: str, name: str, *, where: str) -> ModuleType:
    """Return the module of the part called ``name``; see ``part``."""
    if name not in available(kind):
        raise ConfigError(unknown_name(kind.removesuffix("s"), name, available(kind), where=where))
    return import_module(f"hepdl.{ROOMS[kind]}.{name}")


def part(kind: str, name: str, *, where: str) -> Callable[..., Any]:
    """Return the part called ``name``.

    Args:
        kind: A key of ``ROOMS``, e.g. ``"models"``.
        name: Its name in the configuration.
        where: The configuration key that the user would have to edit.

    Raises:
        ConfigError: There is no such part.
    """
    home = module(kind, name, where=where)
    found: Callable[..., Any] = getattr(home, home.__all__[0])
    return found


def check(
    kind: str, name: str, options: Mapping[str, Any], *, where: str, reserved: tuple[str, ...] = ()
) -> list[str]:
    """Return what is wrong with a part's name and options; an empty list if nothing is.

    Args:
        kind: A key of ``ROOMS``.
        name: Its name in the configuration.
        options: Its keyword arguments.
        where: The configuration key that holds the options.
        reserved: Arguments that the pipeline itself supplies, so that YAML may not.
    """
    try:
        factory = part(kind, name, where=where)
    except ConfigError as error:
        return [str(error)]
    accepted = {
        key: value
        for key, value in inspect.signature(factory).parameters.items()
        if key not in reserved and value.kind is not inspect.Parameter.VAR_KEYWORD
    }
    problems = [
        unknown_name(f"option of {name}", key, accepted, where=f"{where}.{key}")
        for key in options
        if key not in accepted
    ]
    problems += [
        f"missing option {key!r} of {name} ({where}.{key})"
        for key, value in accepted.items()
        if value.default is inspect.Parameter.empty and key not in options
    ]
    return problems


def accepted(kind: str, name: str) -> tuple[str, ...]:
    """Return the options that a part takes; none if there is no such part."""
    if name not in available(kind):
        return ()
    return tuple(inspect.signature(part(kind, name, where=kind)).parameters)


def build(kind: str, name: str, options: Mapping[str, Any], *, where: str) -> Any:
    """Return the part called ``name``, built with ``options``.

    Raises:
        ConfigError: The name or an option does not exist, or an option is missing or refused.
    """
    problems = check(kind, name, options, where=where)
    if problems:
        raise ConfigError("\n".join(problems))
    try:
        return part(kind, name, where=where)(**options)
    except TypeError as error:
        message = f"{where}: {name} refused its options {dict(options)}: {error}"
        raise ConfigError(message) from error
