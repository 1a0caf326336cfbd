"""Options of the events with a pair of top quarks, checked before anything is simulated."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from hepdl.errors import ConfigError, unknown_name
from hepdl.simulate.detector.b_tagging import threshold
from hepdl.simulate.detector.smearing import SCALE_VARIATIONS

__all__ = ["B_TAGGING", "PROCESSES", "TopOptions"]

# Number in `run_number`; numbers of the jets of `pythia_jets` begin at 1. Append, never reorder.
PROCESSES = {"tth": 11, "tt": 12}
B_TAGGING = ("truth", "hard")
# More would need a wider table of jets than the detector keeps.
MOST_JETS = 12


@dataclass(frozen=True)
class TopOptions:
    """What events to make.

    Args:
        process: ``"tth"`` or ``"tt"``.
        multi_parton_interactions: Whether Pythia adds the underlying event.
        minimum_jets: Fewest jets.
        b_tagging: ``"truth"`` or ``"hard"``.
        minimum_b_tags: Fewest tags.
        working_point: What counts as a tag: 85, 77, 70 or 60.
        jet_pt: Smallest jet pT [GeV].
        lepton_pt: Smallest lepton pT [GeV].
        beam_energy: Proton-proton centre-of-mass energy [GeV].
        variations: Names of the jet energy scales that are made beside the nominal one.
    """

    process: str = "tth"
    multi_parton_interactions: bool = False
    minimum_jets: int = 6
    b_tagging: str = "truth"
    minimum_b_tags: int = 3
    working_point: int = 77
    jet_pt: float = 25.0
    lepton_pt: float = 27.0
    beam_energy: float = 13000.0
    variations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, known in (("process", tuple(PROCESSES)), ("b_tagging", B_TAGGING)):
            self._check_name(name, getattr(self, name), known)
        object.__setattr__(self, "variations", _names(self.variations))
        for variation in self.variations:
            known = tuple(name for name in SCALE_VARIATIONS if name != "nominal")
            self._check_name("variation", variation, known)
        threshold(self.working_point)
        self._check_whole("minimum_jets", 0, MOST_JETS)
        # An event with fewer jets than tags would have no chance, and weight 0.
        self._check_whole("minimum_b_tags", 0, self.minimum_jets)
        for name, low, high in (
            # The detector clusters jets from 15 GeV, and smearing moves them across the cut.
            ("jet_pt", 20.0, 200.0),
            ("lepton_pt", 10.0, 200.0),
            ("beam_energy", 1000.0, 200_000.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                message = f"pythia_tth: {name} = {value!r} GeV lies outside [{low:g}, {high:g}]"
                raise ConfigError(message)

    @property
    def process_number(self) -> int:
        """The number of the process."""
        return PROCESSES[self.process]

    @classmethod
    def from_keywords(cls, keywords: Mapping[str, Any]) -> TopOptions:
        """Return the options that a configuration asks for.

        Raises:
            ConfigError: A name or a value is not accepted.
        """
        known = [field.name for field in fields(cls)]
        for name in keywords:
            cls._check_name("option", name, tuple(known))
        return cls(**keywords)

    @staticmethod
    def _check_name(kind: str, value: object, known: tuple[str, ...]) -> None:
        if value not in known:
            raise ConfigError(unknown_name(kind, str(value), known, where="pythia_tth"))

    def _check_whole(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not is_whole or not low <= value <= high:
            message = (
                f"pythia_tth: {name} = {value!r} must be a whole number from {low} to {high}"
                + (" (minimum_jets)" if name == "minimum_b_tags" else "")
            )
            raise ConfigError(message)


def _names(value: object) -> tuple[str, ...]:
    """Return a list from YAML as a tuple, so that equal options are equal and hashable."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        message = f"pythia_tth: variations = {value!r} must be a list of names"
        raise ConfigError(message)
    return tuple(str(name) for name in value)
