"""The named functions of the expression language, over numpy and awkward arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np

__all__ = ["FUNCTIONS", "Function", "depth", "leaf"]


@dataclass(frozen=True)
class Function:
    """A function that expressions may call.

    Attributes:
        call: What it does.
        n_arguments: How many arguments it takes.
        reduces: True if it runs over the members of a collection and gives one value per entry.
    """

    call: Callable[..., Any]
    n_arguments: int
    reduces: bool = False


def depth(value: Any) -> int:
    """Return 0 for a number, 1 for one value per entry, 2 for a field of a collection."""
    return int(getattr(value, "ndim", 0))


def leaf(value: Any) -> str:
    """Return the name of the innermost type, e.g. ``"bool"`` or ``"float32"``.

    >>> leaf(ak.Array([[1.5], []])), leaf(True)
    ('float64', 'bool')
    """
    if isinstance(value, ak.Array):
        inner = value.type
        while hasattr(inner, "content"):
            inner = inner.content
        return str(getattr(inner, "primitive", inner))
    return str(np.asarray(value).dtype)


def _wide(values: ak.Array) -> ak.Array:
    """Return floats in double precision: a sum of many float32 drifts."""
    return ak.values_astype(values, np.float64) if leaf(values) == "float32" else values


def _where(condition: Any, yes: Any, no: Any) -> Any:
    if leaf(condition) != "bool":
        message = f"where() needs true/false values first, not {leaf(condition)}"
        raise TypeError(message)
    if any(isinstance(value, ak.Array) for value in (condition, yes, no)):
        return ak.where(condition, yes, no)
    return np.where(condition, yes, no)


def _clip(values: Any, low: Any, high: Any) -> Any:
    return np.minimum(np.maximum(values, low), high)


def _delta_phi(phi1: Any, phi2: Any) -> Any:
    difference = np.subtract(phi1, phi2)
    return np.arctan2(np.sin(difference), np.cos(difference))


def _delta_r(eta1: Any, phi1: Any, eta2: Any, phi2: Any) -> Any:
    return np.hypot(np.subtract(eta1, eta2), _delta_phi(phi1, phi2))


def _count(values: ak.Array) -> ak.Array:
    return ak.num(values, axis=-1)


def _reducer(reduce: Callable[..., Any]) -> Callable[[ak.Array], Any]:
    return lambda values: reduce(_wide(values), axis=-1)


FUNCTIONS: dict[str, Function] = {
    **{
        name: Function(call, 1)
        for name, call in {
            "abs": np.absolute,
            "sqrt": np.sqrt,
            "exp": np.exp,
            "log": np.log,
            "log10": np.log10,
            "sin": np.sin,
            "cos": np.cos,
            "tan": np.tan,
            "sinh": np.sinh,
            "cosh": np.cosh,
            "tanh": np.tanh,
            "isfinite": np.isfinite,
        }.items()
    },
    "arctan2": Function(np.arctan2, 2),
    "minimum": Function(np.minimum, 2),
    "maximum": Function(np.maximum, 2),
    "where": Function(_where, 3),
    "clip": Function(_clip, 3),
    "delta_phi": Function(_delta_phi, 2),
    "delta_r": Function(_delta_r, 4),
    "count": Function(_count, 1, reduces=True),
    **{
        name: Function(_reducer(reduce), 1, reduces=True)
        for name, reduce in {
            "sum": ak.sum,
            "any": ak.any,
            "all": ak.all,
            "max": ak.max,
            "min": ak.min,
            "mean": ak.mean,
        }.items()
    },
}
