"""Nuisances in units of their spread, and never outside of the range that was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.posthoc.inputs.nuisances import BackgroundEvents

__all__ = ["Standard"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Standard:
    """Where nuisances lie, each number one of each nuisance.

    Attributes:
        mean: Mean weighted by |w|.
        spread: Standard deviation weighted by |w|.
        low: Least value that was fitted.
        high: Largest value.

    Shapes:
        all ``(n_nuisances,)``.
    """

    mean: Floats
    spread: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, events: BackgroundEvents) -> Standard:
        """Return where the nuisances of some events lie; none of them is constant."""
        size, values = np.abs(events.event_weight), events.nuisance
        mean = np.average(values, axis=0, weights=size)
        spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=size))
        return cls(mean, spread, values.min(axis=0), values.max(axis=0))

    def apply(self, nuisance: Floats) -> Floats:
        """Return the nearest fitted values, standardised, ``(n_events, n_nuisances)``."""
        inside = np.clip(nuisance, self.low, self.high)
        return np.asarray((inside - self.mean) / self.spread, dtype=np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as what JSON can hold."""
        return {name: values.tolist() for name, values in vars(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Standard:
        """Return what ``as_dict`` wrote down."""
        return cls(**{name: np.array(values) for name, values in content.items()})
