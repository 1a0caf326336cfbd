"""Is a selection equally efficient at every nuisance, and are the scores distributed alike?

Two views that need no histogram of the nuisance: the largest distance between the distribution functions of the score at
small and at large nuisance, and the background efficiency in bins of the nuisance against a constant.

Reference:
    O. Kitouni et al., JHEP 04 (2021) 070, arXiv:2010.09745 (efficiency against mass at working points); A. Rogozhnikov et
    al., JINST 10 (2015) T03002, arXiv:1410.4140 (spread of efficiencies).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from hepdl.errors import DataError
from hepdl.evaluate.efficiency import BinnedEfficiency
from hepdl.evaluate.inputs.binning import weighted_quantiles
from hepdl.evaluate.inputs.scored import check_numbers, check_weights
from hepdl.evaluate.kolmogorov_smirnov import TwoSample, kolmogorov_smirnov

__all__ = ["Uniformity", "distance_between_slices", "uniformity"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Uniformity:
    """Efficiencies in bins against their common mean.

    Attributes:
        mean: Weighted mean efficiency.
        spread: Root mean square deviation from it, over it; statistics included.
        chi_square: Sum of squared deviations over squared errors.
        n_degrees: Number of bins less one.
        probability: Of a chi-square at least that large for a constant efficiency.
    """

    mean: float
    spread: float
    chi_square: float
    n_degrees: int
    probability: float

    def as_dict(self) -> dict[str, float | int]:
        """Return what metrics.json holds."""
        return {
            "mean": self.mean,
            "relative_spread": self.spread,
            "chi_square": self.chi_square,
            "n_degrees": self.n_degrees,
            "probability": self.probability,
        }


def uniformity(efficiency: BinnedEfficiency) -> Uniformity:
    """Return how far efficiencies are from a constant.

    Args:
        efficiency: In bins of the nuisance; bins without weight are left out.

    Raises:
        DataError: Fewer than two bins have weight, or nothing passes.
    """
    known = np.isfinite(efficiency.value) & (efficiency.sum_of_weights > 0.0)
    value, weight = efficiency.value[known], efficiency.sum_of_weights[known]
    if len(value) < 2 or not value @ weight > 0.0:
        message = (
            f"{len(value)} bins with weight and a mean efficiency of "
            f"{float(value @ weight) if len(value) else 0:g}; uniformity needs two bins, and events that pass"
        )
        raise DataError(message)
    mean = float(np.average(value, weights=weight))
    # Half of the interval on the side of the mean: that of a bin where nothing passes has no lower half.
    upper, lower = efficiency.high[known] - value, value - efficiency.low[known]
    error = np.where(value < mean, upper, lower)
    error = np.where(error > 0.0, error, np.maximum(upper, lower))
    chi_square = float(np.sum(((value - mean) / error) ** 2))
    spread = math.sqrt(float(np.average((value - mean) ** 2, weights=weight))) / mean
    n_degrees = len(value) - 1
    return Uniformity(mean, spread, chi_square, n_degrees, float(chi2.sf(chi_square, n_degrees)))


def distance_between_slices(
    scores: npt.ArrayLike,
    nuisance: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    share: float = 0.25,
) -> TwoSample:
    """Return the Kolmogorov-Smirnov distance of the scores at small and at large nuisance.

    Of a nuisance with two values these are its two slices, whatever the share.

    Args:
        scores: Of the events whose dependence is measured.
        nuisance: Their nuisance.
        event_weight: Weights of either sign; None means 1.
        share: Of the sum of |w| in each slice, at most 0.5.

    Shapes:
        scores, nuisance, event_weight: ``(n_events,)``.

    Raises:
        DataError: The nuisance is constant, a slice has no positive sum of weights, or lengths differ.
    """
    values = check_numbers(scores, name="scores")
    numbers = check_numbers(nuisance, name="nuisance values", length=len(values))
    weights = check_weights(event_weight, len(values))
    low, high = weighted_quantiles(numbers, weights, [share, 1.0 - share])
    least, most = float(numbers.min()), float(numbers.max())
    if least == most:
        message = (
            f"the nuisance is {least:g} for all {len(numbers)} events: there are no slices of it"
        )
        raise DataError(message)
    # With few values a quantile may be the least or the largest of them on both sides.
    below = numbers <= (low if low < most else least)
    above = (numbers >= (high if high > least else most)) & ~below
    if not above.any():
        above = numbers == most
    return kolmogorov_smirnov(values[below], values[above], weights[below], weights[above])
