"""Expected significance of the whole score distribution, bin by bin.

The bins of a histogram are independent counts, and their significances add in quadrature, each
with a background uncertainty of its own. Bins of equal signal put the resolution where the signal
is. Choose the edges on another sample (the training or the validation part) than the one whose
significance is quoted: edges that follow the fluctuations of a sample make it look better.

A bin with a background b <= 0 (no entry, or negative weights that prevail) is worth nothing, rather
than infinitely much: it adds nothing, and is counted. Widen such bins.

A bin with few background entries makes the significance too large on average, because 1 / b is
larger on average than 1 over the mean of b. The median of the replicas minus the value estimates
this bias (from below, where it is large); the interval is around the value as it is.

Reference:
    G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554, arXiv:1007.1727
    (the likelihood of independent counts).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, DataError
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.bootstrap.yields import Yields, yields_between
from hepdl.evaluate.inputs.scored import check_scored
from hepdl.evaluate.roc import roc_curve
from hepdl.evaluate.significance import (
    combined_significance,
    significance_interval,
    significance_of_yields,
)

__all__ = ["BinnedSignificance", "binned_significance", "equal_signal_edges"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BinnedSignificance:
    """The significance of a histogram.

    Attributes:
        total: Of all bins together, with its 68 % interval, which the size of the Monte-Carlo
            sample gives; the upper end is infinite if the sample does not bound it.
        inner_edges: Edges between the bins; the first and the last bin have no outer end.
        yields: What each bin holds.
        of_bin: Significance of each bin; nan where the background is not above 0.
        replicas: The total in each replica of the sample.
        bias: By how much the total is too large because bins have few entries, estimated.
        n_without_background: Bins that add nothing, because their background is not above 0.

    Shapes:
        inner_edges ``(n_bins - 1,)``, of_bin ``(n_bins,)``, replicas ``(n_replicas,)``.
    """

    total: Interval
    inner_edges: Floats
    yields: Yields
    of_bin: Floats
    replicas: Floats
    bias: float
    n_without_background: int


def equal_signal_edges(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    n_bins: int = 8,
) -> Floats:
    """Return edges between bins of the score that hold equal shares of the signal.

    Args:
        label: 1 for signal, 0 for background.
        scores: Finite scores of a sample that is not the one to be measured.
        event_weight: Weights of either sign; None means 1.
        n_bins: Number of bins; tied scores may leave fewer.

    Shapes:
        label, scores, event_weight: ``(n_events,)``; returns rising ``(n_bins - 1,)``.

    Raises:
        DataError: As `hepdl.evaluate.roc.roc_curve`.
        ConfigError: There is no bin.

    >>> equal_signal_edges([1, 1, 1, 1, 0], [0.1, 0.3, 0.6, 0.8, 0.5], n_bins=2)
    array([0.6])
    """
    if n_bins < 1:
        message = f"n_bins is {n_bins}; use at least 1"
        raise ConfigError(message)
    curve = roc_curve(label, scores, event_weight)
    if n_bins == 1:
        return np.empty(0)
    edges: Floats = np.unique(curve.thresholds[curve.first_reaching(np.arange(1, n_bins) / n_bins)])
    # An edge at the lowest score has nothing below it.
    return np.asarray(edges[edges > curve.thresholds[-1]])


def binned_significance(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    inner_edges: npt.ArrayLike,
    bootstrap: Bootstrap,
    relative_background_uncertainty: float = 0.0,
) -> BinnedSignificance:
    """Return the expected significance of a histogram of the score.

    Args:
        label: 1 for signal, 0 for background.
        scores: Finite scores, signal at large values.
        event_weight: Physical weights, whose sums are yields at a luminosity; of either sign.
        inner_edges: Rising edges between the bins, e.g. those of `equal_signal_edges`; none makes
            one bin. A bin holds ``low <= score < high``; every event is in one.
        bootstrap: Replicas of the same events.
        relative_background_uncertainty: sigma / b of each bin, independent from bin to bin.

    Shapes:
        label, scores, event_weight: ``(n_events,)``; inner_edges: ``(n_bins - 1,)``.

    Raises:
        DataError: As `hepdl.evaluate.roc.roc_curve`, the edges do not rise, or the bootstrap is of
            other events.
        ConfigError: The uncertainty is negative.
    """
    events = check_scored(label, scores, event_weight)
    bootstrap.check_length(len(events.scores))
    edges = np.asarray(inner_edges, dtype=np.float64)
    if edges.ndim != 1 or not np.isfinite(edges).all() or not np.all(np.diff(edges) > 0.0):
        message = f"inner edges {edges.tolist()} do not rise; give rising finite numbers, or none"
        raise DataError(message)
    yields = yields_between(events, edges, bootstrap)
    of_bin, in_replicas = significance_of_yields(yields, relative_background_uncertainty)
    # What the sample leaves out, its replicas leave out.
    known = ~np.isnan(of_bin)
    replicas = combined_significance(in_replicas[:, known])
    value = float(combined_significance(of_bin))
    return BinnedSignificance(
        total=significance_interval(value, replicas),
        inner_edges=edges,
        yields=yields,
        of_bin=of_bin,
        replicas=replicas,
        bias=float(np.median(replicas)) - value,
        n_without_background=int(np.count_nonzero(~known)),
    )
