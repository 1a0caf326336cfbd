"""Expected significance of a counting experiment, and how it follows a cut on the score.

The background b is known to an uncertainty sigma, as if from an auxiliary count m of mean tau b
with tau = b / sigma^2. The likelihood is Poisson(n | s + b) Poisson(m | tau b); the Asimov
significance is the root of the test statistic q0 = -2 ln(L(0, best b) / L(best)) for the data
n = s + b, m = tau b. With h(x) = (1 + x) ln(1 + x) - x and u = sigma^2 / (sigma^2 + b), Cowan's
formula reads

    Z^2 / 2 = b [h(s / b) - h(u s / b) / u]

in which nothing cancels for small s or small sigma. Z is 0 for s <= 0: a deficit is no discovery.

What the Monte-Carlo sample does not know is not made up. A cut that leaves a background b <= 0 (no
entry, or negative weights that prevail) has the significance nan. A replica of the sample with
b <= 0 does not bound Z from above and counts as infinite, so that the upper end of an interval is
infinite where more than 16 % of the replicas have no background; where half of them have none the
interval is all there is. Since 1 / b is larger on average than 1 over the mean of b, replicas lie
above the sample by a bias that the sample has too; the interval takes their deviations from their
median only, and this bias is not corrected.

The largest value of a scan is too large by what its fluctuations add: read Z from one sample at a
threshold that another sample chose.

Reference:
    G. Cowan, "Discovery sensitivity for a counting experiment with background uncertainty" (2012),
    www.pp.rhul.ac.uk/~cowan/stat/medsig/medsigNote.pdf; G. Cowan, K. Cranmer, E. Gross and
    O. Vitells, Eur. Phys. J. C 71 (2011) 1554, arXiv:1007.1727 (Asimov data; sigma = 0);
    T.-P. Li and Y.-Q. Ma, Astrophys. J. 272 (1983) 317, eq. 17 (the same likelihood ratio).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, DataError
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.bootstrap.yields import Yields, yields_above
from hepdl.evaluate.inputs.scored import ScoredEvents, check_numbers, check_scored
from hepdl.evaluate.roc import roc_curve

__all__ = [
    "SignificanceScan",
    "asimov_significance",
    "combined_significance",
    "significance_interval",
    "significance_of_yields",
    "significance_scan",
]

Floats = npt.NDArray[np.float64]

# Below this h(x) is its series; above, (1 + x) ln(1 + x) - x loses less than two digits.
_SMALL = 0.03
# Coefficients of h(x) / x^2; the first one left out adds less than 1e-16.
_SERIES = np.array([(-1.0) ** k / ((k + 1) * (k + 2)) for k in range(10)])
_DEFAULT_EFFICIENCIES = np.arange(1, 51) / 50.0


@dataclass(frozen=True)
class SignificanceScan:
    """The significance for cuts on the score, from the tightest to the loosest.

    Attributes:
        thresholds: The cuts: ``score >= threshold`` passes.
        signal_efficiency: Weighted share of signal that passes.
        yields: What passes.
        value: Asimov significance; nan where the background that passes is not above 0.
        low: Lower end of its 68 % interval, which the size of the Monte-Carlo sample gives.
        high: Upper end; infinite if the sample does not bound it.
        replicas: The significance in each replica of the sample, at the same thresholds.
        relative_background_uncertainty: Uncertainty of the background over the background.

    Shapes:
        replicas ``(n_replicas, n_cuts)``; thresholds, signal_efficiency, value, low, high
        ``(n_cuts,)``.
    """

    thresholds: Floats
    signal_efficiency: Floats
    yields: Yields
    value: Floats
    low: Floats
    high: Floats
    replicas: Floats
    relative_background_uncertainty: float

    def interval(self, cut: int) -> Interval:
        """Return the significance of one cut with its 68 % interval."""
        return Interval(float(self.value[cut]), float(self.low[cut]), float(self.high[cut]))

    def best(self, *, fewest_background: float = 10.0) -> int | None:
        """Return the cut of largest significance, or None if the sample knows none well enough.

        Args:
            fewest_background: Effective number of background entries that must pass at least.
        """
        allowed = (self.yields.n_effective >= fewest_background) & np.isfinite(self.value)
        if not allowed.any():
            return None
        return int(np.argmax(np.where(allowed, self.value, -np.inf)))


def asimov_significance(
    signal: npt.ArrayLike, background: npt.ArrayLike, background_error: npt.ArrayLike = 0.0
) -> Floats:
    """Return the expected significance of a signal over a background that is known to an error.

    Rounding errors are of relative size 2e-14 (1 + error^2 / background) at the most.

    Args:
        signal: Expected number of signal events; 0 or less gives 0.
        background: Expected number of background events. Below 0 gives nan; 0 gives infinity
            without an error and 0 with one, which are the limits.
        background_error: Uncertainty of the background's mean (not its Poisson fluctuation), in
            events.

    Shapes:
        any that fit each other; returns their common shape.

    Raises:
        DataError: An error is negative or not a number.

    >>> round(float(asimov_significance(50.0, 100.0, 7.0)), 2)
    3.72
    """
    s, b, error = np.broadcast_arrays(
        *(np.asarray(x, dtype=np.float64) for x in (signal, background, background_error))
    )
    wrong = error[~(error >= 0.0)]
    if wrong.size:
        message = f"background error {wrong[0]:g} is not usable; give 0 or more events"
        raise DataError(message)
    safe = np.where(b > 0.0, b, 1.0)
    x = np.maximum(s, 0.0) / safe
    u = error**2 / (error**2 + safe)
    loss = np.divide(_h(u * x), u, out=np.zeros_like(x), where=u > 0.0)
    z = np.sqrt(2.0 * safe * np.maximum(_h(x) - loss, 0.0))
    at_zero = np.where(s > 0.0, np.where(error > 0.0, 0.0, np.inf), 0.0)
    return np.select([b > 0.0, (b == 0.0) & ~np.isnan(s)], [z, at_zero], default=np.nan)


def combined_significance(significances: npt.ArrayLike, *, axis: int = -1) -> Floats:
    """Return the root of the sum of squares: the significance of independent counts together.

    Exact for Asimov data if the uncertainties of the backgrounds are independent too. A nan, from a
    count whose background is not known, adds nothing.

    Args:
        significances: One for each count.
        axis: Along which they are combined.

    Shapes:
        ``(..., n_counts)`` → ``(...)``.

    >>> float(combined_significance([3.0, 4.0]))
    5.0
    """
    squares = np.square(np.asarray(significances, dtype=np.float64))
    return np.asarray(np.sqrt(np.nansum(squares, axis=axis)))


def significance_scan(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    bootstrap: Bootstrap,
    relative_background_uncertainty: float = 0.0,
    thresholds: npt.ArrayLike | None = None,
    signal_efficiencies: Sequence[float] | None = None,
) -> SignificanceScan:
    """Return the expected significance against the cut on the score.

    Args:
        label: 1 for signal, 0 for background.
        scores: Finite scores, signal at large values.
        event_weight: Physical weights, whose sums are yields at a luminosity; of either sign.
        bootstrap: Replicas of the same events; the thresholds are the same in all of them.
        relative_background_uncertainty: sigma / b, e.g. 0.1 for 10 %.
        thresholds: Cuts on the score, in any order.
        signal_efficiencies: Or the shares of signal that they keep, in (0, 1]; by default 0.02,
            0.04, ... 1. Tied scores and the finite sample keep a little more.

    Shapes:
        label, scores, event_weight: ``(n_events,)``.

    Raises:
        DataError: As `hepdl.evaluate.roc.roc_curve`, or the bootstrap is of other events.
        ConfigError: The uncertainty is negative, or cuts are given in both ways.
    """
    events = check_scored(label, scores, event_weight)
    bootstrap.check_length(len(events.scores))
    cuts = _thresholds(events, thresholds, signal_efficiencies)
    yields = yields_above(events, cuts, bootstrap)
    value, replicas = significance_of_yields(yields, relative_background_uncertainty)
    intervals = [significance_interval(float(z), replicas[:, k]) for k, z in enumerate(value)]
    return SignificanceScan(
        thresholds=cuts,
        signal_efficiency=yields.signal / float(events.event_weight[events.is_signal].sum()),
        yields=yields,
        value=value,
        low=np.array([interval.low for interval in intervals]),
        high=np.array([interval.high for interval in intervals]),
        replicas=replicas,
        relative_background_uncertainty=relative_background_uncertainty,
    )


def significance_of_yields(yields: Yields, relative_uncertainty: float) -> tuple[Floats, Floats]:
    """Return the significance of each range, and that in each replica, by the rules of the module.

    Args:
        yields: What the ranges hold.
        relative_uncertainty: Uncertainty of the background over the background.

    Shapes:
        returns ``(n_ranges,)`` and ``(n_replicas, n_ranges)``.

    Raises:
        ConfigError: The uncertainty is negative or not finite.
    """
    if not 0.0 <= relative_uncertainty < np.inf:
        message = (
            f"relative background uncertainty {relative_uncertainty:g} is not usable; "
            "give 0 or more, for example 0.1 for 10 %"
        )
        raise ConfigError(message)
    value = _known(yields.signal, yields.background, relative_uncertainty)
    replicas = _known(yields.signal_replicas, yields.background_replicas, relative_uncertainty)
    without = np.where(yields.signal_replicas > 0.0, np.inf, 0.0)
    return value, np.where(np.isnan(replicas), without, replicas)


def significance_interval(value: float, replicas: Floats) -> Interval:
    """Return the 68 % interval of a significance, by the rules of the module.

    Args:
        value: The significance; nan gives an interval of nan.
        replicas: What it is in replicas; may be infinite.

    Shapes:
        replicas ``(n_replicas,)``.
    """
    if np.isnan(value):
        return Interval(value, np.nan, np.nan)
    if not np.isfinite(np.median(replicas)):
        return Interval(value, 0.0, np.inf)
    return Interval.of_distance(value, replicas)


def _known(signal: Floats, background: Floats, relative_uncertainty: float) -> Floats:
    """Return the significance, nan where the background is not above 0."""
    b = np.where(background > 0.0, background, np.nan)
    return asimov_significance(signal, b, relative_uncertainty * np.maximum(background, 0.0))


def _thresholds(
    events: ScoredEvents, thresholds: npt.ArrayLike | None, efficiencies: Sequence[float] | None
) -> Floats:
    """Return the cuts, falling."""
    if thresholds is not None and efficiencies is not None:
        message = (
            f"cuts are given as thresholds {thresholds} and as signal efficiencies {efficiencies}; "
            "give one of the two"
        )
        raise ConfigError(message)
    if thresholds is not None:
        return np.sort(check_numbers(thresholds, name="thresholds"))[::-1]
    wanted = np.sort(_DEFAULT_EFFICIENCIES if efficiencies is None else efficiencies)
    curve = roc_curve(events.is_signal, events.scores, events.event_weight)
    return curve.thresholds[curve.first_reaching(wanted)]


def _h(x: Floats) -> Floats:
    """Return (1 + x) ln(1 + x) - x for x >= 0, to all digits also where x is small."""
    with np.errstate(over="ignore", invalid="ignore"):
        direct = (1.0 + x) * np.log1p(x) - x
        series = x**2 * np.polynomial.polynomial.polyval(np.minimum(x, _SMALL), _SERIES)
    return np.where(x < _SMALL, series, direct)
