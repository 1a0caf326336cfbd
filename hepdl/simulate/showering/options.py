"""What jets to make: the options of the generator, checked before anything is simulated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hepdl.errors import ConfigError, unknown_name

__all__ = ["LEVELS", "PROCESSES", "JetOptions"]

# The position is the process's number in `run_number`; append, never reorder.
PROCESSES = ("w_jet", "qcd")
LEVELS = ("particle", "towers")


@dataclass(frozen=True)
class JetOptions:
    """What jets to make.

    Args:
        process: ``"w_jet"`` or ``"qcd"``.
        pt: Lowest and highest jet pT [GeV]; the lower edge belongs to the window.
        mass: Lowest and highest ungroomed jet mass [GeV], or None for no window.
        eta_max: Largest absolute pseudorapidity of the jet axis.
        jet_radius: Radius of the anti-kt clustering, and R0 of soft drop and N-subjettiness.
        level: ``"particle"`` or ``"towers"``.
        multi_parton_interactions: Whether Pythia adds the underlying event.
        pt_hat: Lowest and highest pT of the hard process [GeV]; the jet window if None.
        beam_energy: Proton-proton centre-of-mass energy [GeV].
        tower_size: Width of a calorimeter cell in eta and (closely) in phi [rad].
        tower_threshold: Smallest transverse energy of a tower that is kept [GeV].
    """

    process: str = "w_jet"
    pt: tuple[float, float] = (250.0, 300.0)
    mass: tuple[float, float] | None = None
    eta_max: float = 2.0
    jet_radius: float = 1.0
    level: str = "particle"
    multi_parton_interactions: bool = True
    pt_hat: tuple[float, float] | None = None
    beam_energy: float = 13000.0
    tower_size: float = 0.1
    tower_threshold: float = 0.2

    def __post_init__(self) -> None:
        for name, known in (("process", PROCESSES), ("level", LEVELS)):
            value = getattr(self, name)
            if value not in known:
                message = unknown_name(name, str(value), known, where="pythia_jets")
                raise ConfigError(message)
        for name in ("pt", "mass", "pt_hat"):
            value = getattr(self, name)
            if value is not None:
                # A list from YAML becomes a tuple, so that equal options are equal and hashable.
                object.__setattr__(self, name, _window(name, value))
        for name, low, high in (
            ("pt", 20.0, self.beam_energy / 2),
            ("eta_max", 0.0, 4.0),
            ("jet_radius", 0.0, 1.5),
            ("tower_size", 0.01, 1.0),
        ):
            value = getattr(self, name)
            first = value[0] if isinstance(value, tuple) else value
            if not low < first <= high:
                message = f"pythia_jets: {name} = {value!r} lies outside ({low:g}, {high:g}]"
                raise ConfigError(message)
        if not self.tower_threshold >= 0.0:
            message = f"pythia_jets: tower_threshold = {self.tower_threshold!r} GeV must be >= 0"
            raise ConfigError(message)

    @property
    def process_number(self) -> int:
        """The number of the process, from 1."""
        return PROCESSES.index(self.process) + 1

    @classmethod
    def from_keywords(cls, keywords: Mapping[str, Any]) -> JetOptions:
        """Return the options that a configuration asks for.

        Raises:
            ConfigError: A name or a value is not accepted.
        """
        known = [field.name for field in fields(cls)]
        for name in keywords:
            if name not in known:
                message = unknown_name("option", name, known, where="pythia_jets")
                raise ConfigError(message)
        return cls(**keywords)


def _window(name: str, value: Sequence[float]) -> tuple[float, float]:
    """Return ``value`` as (low, high) after checking that it is an ordered pair."""
    problem = (
        f"pythia_jets: {name} = {value!r} is no window; write [low, high] in GeV with "
        "0 <= low < high"
    )
    try:
        low, high = (float(edge) for edge in value)
    except (TypeError, ValueError) as error:
        raise ConfigError(problem) from error
    if not (math.isfinite(low) and math.isfinite(high) and 0.0 <= low < high):
        raise ConfigError(problem)
    return low, high
