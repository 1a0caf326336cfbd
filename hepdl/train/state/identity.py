"""What makes two fits the same fit: a resume with anything else is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from hepdl.errors import ConfigError
from hepdl.events import Events
from hepdl.models import Network, Trees

__all__ = ["data_fingerprint", "describe", "refuse_difference"]


def data_fingerprint(events: Events) -> str:
    """Return a hash (sha256, hex) of every value of the events that a fit can see."""
    digest = hashlib.sha256()
    for name, column in _columns(events):
        digest.update(f"{name} {column.dtype} {tuple(column.shape)};".encode())
        digest.update(column.detach().cpu().reshape(-1).numpy().data)
    return digest.hexdigest()


def _columns(events: Events) -> Iterator[tuple[str, Tensor]]:
    for name in ("event_number", "run_number", "process", "label", "event_weight"):
        yield name, getattr(events, name)
    yield f"flat {events.feature_names}", events.flat
    yield f"nuisance {events.nuisance_names}", events.nuisance
    for name, rows in sorted(events.collections.items()):
        yield f"{name} {rows.columns}", rows.values
        yield f"{name} offsets", rows.offsets
    if events.jet_trees is not None:
        for name in ("features", "depth", "is_inner", "offsets"):
            yield f"jet_trees {name}", getattr(events.jet_trees, name)
    if events.particles is not None:
        yield f"particles {events.particles.columns}", events.particles.values
        yield "particles offsets", events.particles.offsets
    if events.assignments is not None:
        for name, tensor in events.assignments.tensors():
            yield f"assignments {name} {events.assignments.feature_names}", tensor


def describe(model: Network | Trees) -> dict[str, str]:
    """Return texts that tell two models with other options apart, the same in each process.

    They are the model's own ``repr`` if it has one, its inputs, and its public attributes that are
    plain values.
    """
    has_repr = type(model).__repr__ is not object.__repr__
    plain = (bool, int, float, str, tuple, list, dict, type(None))
    # Two public attributes are no options: torch's mode of a network, and what a fit left behind.
    attributes = {
        key: value
        for key, value in sorted(vars(model).items())
        if isinstance(value, plain)
        and not key.startswith("_")
        and key not in ("training", "history")
    }
    return {
        "model": repr(model) if has_repr else type(model).__name__,
        "model inputs": repr(model.inputs),
        "model options": ", ".join(f"{key}={value!r}" for key, value in attributes.items()),
    }


def refuse_difference(stored: Mapping[str, Any], now: Mapping[str, Any], *, where: str) -> None:
    """Compare two identities, flat mappings of name to value.

    Raises:
        ConfigError: Names each entry that differs, with both values.
    """
    problems = [
        _difference(key, stored.get(key), now.get(key))
        for key in sorted({*stored, *now})
        if stored.get(key) != now.get(key)
    ]
    if problems:
        message = f"cannot resume from {where}: it belongs to another fit\n"
        message += "\n".join(f"  {problem}" for problem in problems)
        message += "\ntake these back, or start afresh in another output folder"
        raise ConfigError(message)


def _difference(key: str, stored: object, now: object) -> str:
    if isinstance(stored, str) and isinstance(now, str) and "\n" in stored + now:
        pairs = zip(stored.splitlines(), now.splitlines(), strict=False)
        lines = next(((a.strip(), b.strip()) for a, b in pairs if a != b), ("shorter", "longer"))
        return f"{key}: the checkpoint has {lines[0]}, now it is {lines[1]}"
    return f"{key}: the checkpoint has {stored!r}, now it is {now!r}"
