"""Units that a file may use, and the one unit of each kind that memory uses."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["HOUSE_UNITS", "UNITS", "Unit", "house_factor", "house_unit"]

Unit = Literal[
    "1", "keV", "MeV", "GeV", "TeV", "rad", "deg", "um", "mm", "cm", "m", "ps", "ns", "fb", "pb"
]
UNITS: tuple[str, ...] = get_args(Unit)

# unit → (house unit, what one unit is in the house unit)
_TO_HOUSE: dict[str, tuple[str, float]] = {
    "1": ("1", 1.0),
    "keV": ("GeV", 1e-6),
    "MeV": ("GeV", 1e-3),
    "GeV": ("GeV", 1.0),
    "TeV": ("GeV", 1e3),
    "rad": ("rad", 1.0),
    "deg": ("rad", 0.017453292519943295),  # pi / 180
    "um": ("mm", 1e-3),
    "mm": ("mm", 1.0),
    "cm": ("mm", 10.0),
    "m": ("mm", 1e3),
    "ps": ("ns", 1e-3),
    "ns": ("ns", 1.0),
    "fb": ("pb", 1e-3),
    "pb": ("pb", 1.0),
}
HOUSE_UNITS: tuple[str, ...] = tuple(dict.fromkeys(house for house, _ in _TO_HOUSE.values()))


def house_unit(unit: str) -> str:
    """Return the unit that memory uses for a quantity which the file holds in ``unit``.

    >>> house_unit("MeV")
    'GeV'
    """
    return _TO_HOUSE[unit][0]


def house_factor(unit: str) -> float:
    """Return what one ``unit`` is in its house unit.

    >>> house_factor("MeV")
    0.001
    """
    return _TO_HOUSE[unit][1]
