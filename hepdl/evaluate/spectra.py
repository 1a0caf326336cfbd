"""Weighted spectra with errors: what the plots of masses and scores are drawn from.

Reference:
    F. James, "Statistical Methods in Experimental Physics", World Scientific 2006 (error of a sum
    of weights is the root of the sum of squared weights).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.inputs.binning import bin_index, bin_sums, check_edges
from hepdl.evaluate.inputs.scored import check_numbers, check_scored, check_weights
from hepdl.evaluate.kolmogorov_smirnov import TwoSample, kolmogorov_smirnov
from hepdl.evaluate.roc import roc_curve

__all__ = [
    "ScoreSpectra",
    "Spectrum",
    "background_spectra",
    "score_spectra",
    "spectrum",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """A weighted histogram that accounts for everything it was given.

    Attributes:
        edges: Ends of the bins, in the unit of the values.
        counts: Sum of weights in each bin.
        errors: Root of the sum of squared weights in each bin.
        underflow: Sum of weights below the first end.
        overflow: Sum of weights above the last end.

    Shapes:
        edges: ``(n_bins + 1,)``; counts, errors: ``(n_bins,)``.
    """

    edges: Floats
    counts: Floats
    errors: Floats
    underflow: float
    overflow: float

    def density(self) -> Spectrum:
        """Return the spectrum per unit of the values, normalised over everything it was given.

        Raises:
            DataError: The sum of weights is not above zero.
        """
        total = float(self.counts.sum()) + self.underflow + self.overflow
        if total <= 0.0:
            message = f"the weights add up to {total:g}; a density needs a sum above zero"
            raise DataError(message)
        scale = 1.0 / (total * np.diff(self.edges))
        return Spectrum(
            self.edges,
            self.counts * scale,
            self.errors * scale,
            self.underflow / total,
            self.overflow / total,
        )


@dataclass(frozen=True)
class ScoreSpectra:
    """Scores of one class in the training and the test part.

    Attributes:
        train: Density of the training part.
        test: Density of the test part.
        distance: Kolmogorov-Smirnov distance of the two parts (not binned), beside its null.
    """

    train: Spectrum
    test: Spectrum
    distance: TwoSample


def spectrum(
    values: npt.ArrayLike, event_weight: npt.ArrayLike | None = None, *, edges: npt.ArrayLike
) -> Spectrum:
    """Return the weighted histogram of some values.

    Args:
        values: Finite numbers, e.g. jet masses [GeV].
        event_weight: Weights of either sign; None means 1.
        edges: Rising ends of the bins; a bin holds ``low <= value < high``, the last one also its
            upper end.

    Shapes:
        values, event_weight: ``(n_events,)``; edges: ``(n_bins + 1,)``.

    Raises:
        DataError: Lengths differ, a value is not finite, or the edges do not rise.
    """
    numbers = check_numbers(values, name="values")
    weights = check_weights(event_weight, len(numbers))
    ends = check_edges(edges)
    bins = bin_index(numbers, ends)
    return Spectrum(
        edges=ends,
        counts=bin_sums(bins, weights, len(ends) - 1),
        errors=np.sqrt(bin_sums(bins, weights**2, len(ends) - 1)),
        underflow=float(weights[numbers < ends[0]].sum()),
        overflow=float(weights[numbers > ends[-1]].sum()),
    )


def background_spectra(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    values: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    edges: npt.ArrayLike,
    signal_efficiencies: Sequence[float] = (0.3, 0.5, 0.8),
) -> dict[str, Spectrum]:
    """Return the spectrum of the background before and after cuts on the score.

    Args:
        label: 1 for signal, 0 for background.
        scores: Finite scores, signal at large values.
        values: What the spectrum is of, e.g. the jet mass [GeV].
        event_weight: Weights of either sign; None means 1.
        edges: Rising ends of the bins.
        signal_efficiencies: Each cut keeps this share of the signal.

    Shapes:
        label, scores, values, event_weight: ``(n_events,)``; edges: ``(n_bins + 1,)``.

    Returns:
        ``{"all": ..., "0.3": ...}``: sums of weights; `Spectrum.density` compares shapes. A cut
        that no background passes gives an empty spectrum.

    Raises:
        DataError: As `hepdl.evaluate.roc.roc_curve` and `spectrum`.
    """
    events = check_scored(label, scores, event_weight)
    numbers = check_numbers(values, name="values", length=len(events.scores))
    curve = roc_curve(events.is_signal, events.scores, events.event_weight)
    background = ~events.is_signal
    found = {"all": spectrum(numbers[background], events.event_weight[background], edges=edges)}
    for efficiency in signal_efficiencies:
        passes = background & (events.scores >= curve.threshold_at(efficiency))
        # Weights instead of a mask: an empty selection is a spectrum too.
        weights = np.where(passes, events.event_weight, 0.0)
        found[f"{efficiency:g}"] = spectrum(numbers, weights, edges=edges)
    return found


def score_spectra(
    train: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None],
    test: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None],
    *,
    edges: npt.ArrayLike,
) -> dict[str, ScoreSpectra]:
    """Return the scores of signal and background, training part over test part.

    Args:
        train: Label, scores and event weight (or None) of the training part.
        test: The same of the test part.
        edges: Rising ends of the bins of the score.

    Shapes:
        each of train and test: ``(n_events,)``; edges: ``(n_bins + 1,)``.

    Returns:
        ``{"signal": ..., "background": ...}``.

    Raises:
        DataError: As `hepdl.evaluate.roc.roc_curve` and `spectrum`.
    """
    parts = [check_scored(*train), check_scored(*test)]
    found = {}
    for name, wanted in (("signal", True), ("background", False)):
        columns = []
        for part in parts:
            mask = part.is_signal == wanted
            columns.append((part.scores[mask], part.event_weight[mask]))
        (scores_1, weight_1), (scores_2, weight_2) = columns
        found[name] = ScoreSpectra(
            train=spectrum(scores_1, weight_1, edges=edges).density(),
            test=spectrum(scores_2, weight_2, edges=edges).density(),
            distance=kolmogorov_smirnov(scores_1, scores_2, weight_1, weight_2),
        )
    return found
