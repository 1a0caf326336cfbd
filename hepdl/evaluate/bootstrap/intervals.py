"""A number with its 68 % interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError

__all__ = ["Interval", "spread"]

Floats = npt.NDArray[np.float64]

# Plus and minus one standard deviation of a normal distribution: 68.27 %.
_LOW, _MIDDLE, _HIGH = 0.158655, 0.5, 0.841345


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its 68 % interval; infinite where nothing bounds it.

    Attributes:
        value: The number itself, from the sample.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @classmethod
    def from_replicas(cls, value: float, replicas: Floats) -> Interval:
        """Return the interval between the quantiles of the replicas (percentile method)."""
        low, _, high = _quantiles(replicas)
        return cls(value, low, high)

    @classmethod
    def of_distance(cls, value: float, replicas: Floats) -> Interval:
        """Return the interval of a distance that can only be positive.

        A replica carries the noise of the sample and its own, which adds to a distance on average:
        only the deviations from the replicas' median are used, and the interval ends at 0.
        """
        low, middle, high = _quantiles(replicas)
        return cls(value, max(value + low - middle, 0.0), max(value + high - middle, 0.0))

    @classmethod
    def of_null(cls, values: Floats) -> Interval:
        """Return mean and quantiles of draws for which the distance is noise alone."""
        low, _, high = _quantiles(values)
        return cls(float(np.mean(values)), low, high)

    def as_dict(self) -> dict[str, float | None]:
        """Return what metrics.json holds; JSON knows no infinity, which becomes None."""
        names = {"value": self.value, "low": self.low, "high": self.high}
        return {name: number if math.isfinite(number) else None for name, number in names.items()}


def spread(replicas: Floats) -> float:
    """Return the standard deviation of replicas, or half their 68 % range if some are infinite.

    Replicas that are nan are left out; if fewer than two remain the answer is infinite.
    """
    known = replicas[~np.isnan(replicas)]
    if len(known) < 2:
        return math.inf
    if np.isfinite(known).all():
        return float(np.std(known, ddof=1))
    low, _, high = _quantiles(known)
    return 0.5 * (high - low) if math.isfinite(low) and math.isfinite(high) else math.inf


def _quantiles(replicas: Floats) -> tuple[float, float, float]:
    known = replicas[~np.isnan(replicas)]
    if not len(known):
        message = (
            f"none of {len(replicas)} replicas has a positive sum of weights in both classes; "
            "the sample is too small for an interval"
        )
        raise DataError(message)
    # Observed values only: an infinite rejection must not be interpolated with a finite one.
    low, middle, high = np.quantile(known, (_LOW, _MIDDLE, _HIGH), method="inverted_cdf")
    return float(low), float(middle), float(high)
