"""Jensen-Shannon divergence of two binned distributions, in bits, beside what noise alone gives.

The divergence (not its root) of the nuisance of background that passes a cut and background that
fails it measures how much the cut sculpts the nuisance: 0 if both shapes agree, 1 if they do not
overlap. Empty bins take part. A histogram with finite statistics never gives 0: two samples of one
distribution give ``(n_bins - 1) / (8 ln 2) (1 / n_pass + 1 / n_fail)`` on average, and the inverse
of that is the largest 1 / JSD that a sample can show.

Reference:
    J. Lin, IEEE Trans. Inf. Theory 37 (1991) 145; ATLAS Collaboration, ATL-PHYS-PUB-2018-014
    (base 2, 50 bins, pass against fail at 50 % signal efficiency).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError

__all__ = ["expected_null", "jensen_shannon"]

Floats = npt.NDArray[np.float64]


def jensen_shannon(first: npt.ArrayLike, second: npt.ArrayLike) -> Floats:
    """Return the Jensen-Shannon divergence of two histograms [bit].

    A negative sum of weights in a bin counts as zero: a probability cannot be negative.

    Args:
        first: Sums of weights; normalised here.
        second: Sums of weights in the same bins.

    Shapes:
        first, second: ``(..., n_bins)``; returns ``(...)``, nan where a histogram is empty.

    Raises:
        DataError: The numbers of bins differ.

    >>> round(float(jensen_shannon([1, 1, 0], [0, 1, 1])), 12)
    0.5
    """
    histograms = [
        np.maximum(np.asarray(counts, dtype=np.float64), 0.0) for counts in (first, second)
    ]
    if histograms[0].shape[-1] != histograms[1].shape[-1]:
        message = (
            f"histograms of {histograms[0].shape[-1]} and {histograms[1].shape[-1]} bins; "
            "a divergence needs the same bins"
        )
        raise DataError(message)
    p, q = (_normalised(counts) for counts in histograms)
    middle = 0.5 * (p + q)
    return 0.5 * (_relative_entropy(p, middle) + _relative_entropy(q, middle))


def expected_null(n_bins: int, n_first: float, n_second: float) -> float:
    """Return the mean divergence of two samples of one distribution [bit].

    Args:
        n_bins: Number of bins that the distribution reaches.
        n_first: Effective number of events of the first sample.
        n_second: Effective number of events of the second sample.

    >>> round(expected_null(50, 1e4, 9e4), 6)
    0.000982
    """
    return (n_bins - 1) / (8.0 * math.log(2.0)) * (1.0 / n_first + 1.0 / n_second)


def _normalised(counts: Floats) -> Floats:
    total = counts.sum(axis=-1, keepdims=True)
    shares: Floats = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0.0)
    return shares


def _relative_entropy(p: Floats, middle: Floats) -> Floats:
    # p log(p / m) -> 0 for p -> 0; the bin stays, its other half is in the other term.
    ratio = np.divide(p, middle, out=np.ones_like(p), where=p > 0.0)
    terms = np.where(np.isnan(p), np.nan, p * np.log2(ratio))
    return np.asarray(terms.sum(axis=-1))
