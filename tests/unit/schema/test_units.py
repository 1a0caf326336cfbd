"""Units of a file and units of the house."""

from __future__ import annotations

import math

import pytest

from hepdl.schema.units import HOUSE_UNITS, UNITS, house_factor, house_unit


@pytest.mark.parametrize(
    ("unit", "factor", "house"),
    [("MeV", 1e-3, "GeV"), ("TeV", 1e3, "GeV"), ("keV", 1e-6, "GeV"), ("cm", 10, "mm"),
     ("um", 1e-3, "mm"), ("m", 1e3, "mm"), ("ps", 1e-3, "ns"), ("fb", 1e-3, "pb"),
     ("deg", math.pi / 180, "rad")],
)  # fmt: skip
def test_each_unit_has_its_factor(unit: str, factor: float, house: str) -> None:
    assert house_factor(unit) == factor
    assert house_unit(unit) == house


def test_house_units_are_one_and_their_own() -> None:
    assert set(HOUSE_UNITS) == {"1", "GeV", "rad", "mm", "ns", "pb"}
    assert all(house_factor(unit) == 1 and house_unit(unit) == unit for unit in HOUSE_UNITS)
    assert {house_unit(unit) for unit in UNITS} == set(HOUSE_UNITS)
