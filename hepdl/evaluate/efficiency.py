"""Share of events that pass a working point, in bins of pT, eta or mass.

The interval is that of Wilson with the effective number of events that reproduces the variance of
a weighted share, ``[(1 - e)^2 sum_pass w^2 + e^2 sum_fail w^2] / (sum w)^2``; where all or none
pass, the effective number is (sum w)^2 / sum w^2. It stays inside [0, 1] and has a width even
there. A share outside [0, 1], which negative weights can give, has the plain error instead.

Reference:
    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209; L. D. Brown, T. T. Cai and A. DasGupta,
    Stat. Sci. 16 (2001) 101 (why not the plain binomial error).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.evaluate.inputs.binning import bin_index, bin_sums, check_edges
from hepdl.evaluate.inputs.scored import check_numbers, check_scored, check_weights
from hepdl.evaluate.roc import working_point

__all__ = ["BinnedEfficiency", "binned_efficiency", "efficiencies_at"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BinnedEfficiency:
    """Efficiencies with 68 % intervals; nan in a bin whose weights have no positive sum.

    Attributes:
        edges: Ends of the bins, in the unit of the values.
        value: Weighted share of the events of a bin that pass.
        low: Lower end of the interval.
        high: Upper end of the interval.
        sum_of_weights: Sum of weights of the bin, passing or not.

    Shapes:
        edges: ``(n_bins + 1,)``; the others ``(n_bins,)``.
    """

    edges: Floats
    value: Floats
    low: Floats
    high: Floats
    sum_of_weights: Floats


def binned_efficiency(
    values: npt.ArrayLike,
    passed: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    edges: npt.ArrayLike,
) -> BinnedEfficiency:
    """Return the share of events that pass, in bins.

    Args:
        values: What is binned, e.g. the jet pT [GeV].
        passed: True where the event passes.
        event_weight: Weights of either sign; None means 1.
        edges: Rising ends of the bins; a bin holds ``low <= value < high``, the last one also its
            upper end. Events outside are in no bin.

    Shapes:
        values, passed, event_weight: ``(n_events,)``; edges: ``(n_bins + 1,)``.

    Raises:
        DataError: Lengths differ, a value is not finite, or the edges do not rise.
    """
    numbers = check_numbers(values, name="values")
    weights = check_weights(event_weight, len(numbers))
    is_passing = check_numbers(passed, name="pass flags", length=len(numbers)) != 0.0
    ends = check_edges(edges)
    total, total_2 = _sums(numbers, weights, ends)
    passing, passing_2 = _sums(numbers[is_passing], weights[is_passing], ends)
    known = total > 0.0
    share = np.divide(passing, total, out=np.full_like(total, np.nan), where=known)
    variance = (1.0 - share) ** 2 * passing_2 + share**2 * (total_2 - passing_2)
    error = np.sqrt(np.maximum(variance, 0.0)) / np.where(known, total, 1.0)
    low, high = _wilson(share, error, total**2 / np.where(total_2 > 0.0, total_2, 1.0))
    return BinnedEfficiency(ends, share, low, high, total)


def efficiencies_at(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    values: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    edges: npt.ArrayLike,
    signal_efficiency: float = 0.5,
) -> dict[str, BinnedEfficiency]:
    """Return the efficiencies of signal and background at one working point, in bins.

    The threshold is the one that keeps ``signal_efficiency`` of the whole sample.

    Args:
        label: 1 for signal, 0 for background.
        scores: Finite scores, signal at large values.
        values: What is binned, e.g. the jet mass [GeV].
        event_weight: Weights of either sign; None means 1.
        edges: Rising ends of the bins.
        signal_efficiency: Working point in (0, 1].

    Shapes:
        label, scores, values, event_weight: ``(n_events,)``; edges: ``(n_bins + 1,)``.

    Returns:
        ``{"signal": ..., "background": ...}``.

    Raises:
        DataError: As `hepdl.evaluate.roc.roc_curve` and `binned_efficiency`.
    """
    events = check_scored(label, scores, event_weight)
    numbers = check_numbers(values, name="values", length=len(events.scores))
    threshold = working_point(
        events.is_signal, events.scores, events.event_weight, signal_efficiency=signal_efficiency
    )
    passed = events.scores >= threshold
    return {
        name: binned_efficiency(numbers[mask], passed[mask], events.event_weight[mask], edges=edges)
        for name, mask in (("signal", events.is_signal), ("background", ~events.is_signal))
    }


def _sums(values: Floats, weights: Floats, edges: Floats) -> tuple[Floats, Floats]:
    bins = bin_index(values, edges)
    n_bins = len(edges) - 1
    return bin_sums(bins, weights, n_bins), bin_sums(bins, weights**2, n_bins)


def _wilson(share: Floats, error: Floats, n_effective: Floats) -> tuple[Floats, Floats]:
    binomial = share * (1.0 - share)
    inside = (binomial > 0.0) & (error > 0.0)
    number = np.divide(binomial, error**2, out=np.maximum(n_effective, 1.0), where=inside)
    centre = (share + 0.5 / number) / (1.0 + 1.0 / number)
    root = np.sqrt(np.maximum(binomial / number + 0.25 / number**2, 0.0)) / (1.0 + 1.0 / number)
    plain = (share < 0.0) | (share > 1.0)
    low = np.where(plain, share - error, np.clip(centre - root, 0.0, np.maximum(share, 0.0)))
    high = np.where(plain, share + error, np.clip(centre + root, np.minimum(share, 1.0), 1.0))
    return low, high
