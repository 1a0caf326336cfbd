"""Expected significance when the background depends on a nuisance that nobody has measured.

A nuisance such as pile-up on or off moves the background behind a cut from b(0) to b(1); their distance is taken as the
uncertainty sigma of the background. With a Gaussian constraint ``N(b; b0, sigma)`` the largest likelihood without signal,
for the Asimov data n = s + b, is at ``b0 = (b - sigma^2 + sqrt((b - sigma^2)^2 + 4 (s + b) sigma^2)) / 2``, and the
approximate median significance is

    AMS^2 = 2 [(s + b) ln((s + b) / b0) - s - b + b0] + ((b - b0) / sigma)^2

A tagger that depends on the nuisance has a large sigma: with background to spare, a weaker tagger that does not may win.

Reference:
    G. Louppe, M. Kagan and K. Cranmer, "Learning to pivot with adversarial networks", NeurIPS 2017, arXiv:1611.01046, section
    5.2; C. Adam-Bourdarios et al., "The Higgs machine learning challenge", PMLR 42 (2015) 19 (AMS and its form with a
    background uncertainty).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.inputs.binning import bin_sums
from hepdl.evaluate.inputs.scored import check_numbers, check_scored
from hepdl.evaluate.roc import roc_curve

__all__ = ["ShiftedScan", "approximate_median_significance", "shifted_significance_scan"]

Floats = npt.NDArray[np.float64]

DEFAULT_EFFICIENCIES = np.arange(1, 51) / 50.0


def approximate_median_significance(
    signal: npt.ArrayLike, background: npt.ArrayLike, uncertainty: npt.ArrayLike = 0.0
) -> Floats:
    """Return the approximate median significance.

    Args:
        signal: Expected signal s; 0 or less has no significance.
        background: Expected background b.
        uncertainty: Of the background, absolute; 0 is none.

    Shapes:
        Any that broadcast.

    Returns:
        The significance; nan where the background is not above 0.

    >>> round(float(approximate_median_significance(100.0, 1000.0)), 6)
    3.111655
    """
    s, b, sigma = np.broadcast_arrays(
        *(np.asarray(values, dtype=np.float64) for values in (signal, background, uncertainty))
    )
    known = b > 0.0
    s = np.where(s > 0.0, s, 0.0)
    b = np.where(known, b, 1.0)
    variance = sigma**2
    # (b - sigma^2 + root) / 2 loses all digits where sigma^2 is much larger than b.
    half = b - variance
    root = np.sqrt(half**2 + 4.0 * (s + b) * variance)
    product = 2.0 * (s + b) * variance
    stable = np.divide(product, root - half, out=np.zeros_like(b), where=root - half > 0.0)
    best = np.where(half > 0.0, 0.5 * (half + root), stable)
    best = np.where(variance > 0.0, best, b)
    poisson = (s + b) * np.log((s + b) / best) - (s + b) + best
    pull = np.divide(b - best, sigma, out=np.zeros_like(b), where=variance > 0.0)
    squared = np.maximum(2.0 * poisson + pull**2, 0.0)
    return np.asarray(np.where(known, np.sqrt(squared), np.nan))


@dataclass(frozen=True)
class ShiftedScan:
    """The significance for cuts on the score, from the tightest to the loosest.

    Attributes:
        signal_efficiency: Share of the signal that each cut keeps.
        thresholds: The cuts: ``score >= threshold`` passes.
        signal: Expected signal behind each cut.
        background: Expected background, the mean over the two values of the nuisance.
        shift: Distance of the backgrounds at the two values.
        value: Approximate median significance.
        replicas: The same of each replica of the sample.

    Shapes:
        replicas ``(n_replicas, n_cuts)``; the others ``(n_cuts,)``.
    """

    signal_efficiency: Floats
    thresholds: Floats
    signal: Floats
    background: Floats
    shift: Floats
    value: Floats
    replicas: Floats


def shifted_significance_scan(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    is_shifted: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    bootstrap: Bootstrap,
    signal: float,
    background: float,
    thresholds: npt.ArrayLike | None = None,
    signal_efficiencies: npt.ArrayLike = DEFAULT_EFFICIENCIES,
) -> ShiftedScan:
    """Return the significance for cuts on the score.

    Args:
        label: 1 for signal, 0 for background.
        scores: Finite scores, signal at large values.
        is_shifted: Whether the event has the second value of the nuisance.
        event_weight: Weights of either sign; None means 1.
        bootstrap: Replicas of the same events.
        signal: Expected signal before any cut.
        background: Expected background before any cut, at either value of the nuisance.
        thresholds: The cuts; None takes those that keep ``signal_efficiencies``.
        signal_efficiencies: In (0, 1].

    Shapes:
        label, scores, is_shifted, event_weight: ``(n_events,)``; thresholds, signal_efficiencies: ``(n_cuts,)``.

    Raises:
        DataError: As `hepdl.evaluate.roc.roc_curve`, or background at one value of the nuisance is missing.
    """
    events = check_scored(label, scores, event_weight)
    shifted = (
        check_numbers(is_shifted, name="flags of the nuisance", length=len(events.scores)) != 0
    )
    bootstrap.check_length(len(shifted))
    kinds = [events.is_signal, ~events.is_signal & ~shifted, ~events.is_signal & shifted]
    for name, kind in zip(
        ("signal", "background", "background that is shifted"), kinds, strict=True
    ):
        total = float(events.event_weight[kind].sum())
        if not total > 0.0:
            message = (
                f"{name}: {int(kind.sum())} events with sum of weights {total:g}; the significance needs some at "
                "both values of the nuisance"
            )
            raise DataError(message)
    if thresholds is None:
        curve = roc_curve(events.is_signal, events.scores, events.event_weight)
        index = curve.first_reaching(np.sort(np.asarray(signal_efficiencies, dtype=np.float64)))
        cuts = np.asarray(curve.thresholds[index], dtype=np.float64)
    else:
        cuts = np.sort(np.asarray(thresholds, dtype=np.float64))[::-1]
    # Bin k passes cut k and no tighter one; the last one passes none.
    bins = len(cuts) - np.searchsorted(cuts[::-1], events.scores, side="right")
    columns = np.stack([events.event_weight * kind for kind in kinds], axis=-1)
    sums = np.stack([bin_sums(bins, column, len(cuts) + 1) for column in columns.T], axis=-1)
    replicas = bootstrap.binned_sums(bins, columns, n_bins=len(cuts) + 1)
    s, b, shift = _expected(sums[None], signal, background)
    return ShiftedScan(
        signal_efficiency=s[0] / signal,
        thresholds=cuts,
        signal=s[0],
        background=b[0],
        shift=shift[0],
        value=approximate_median_significance(s[0], b[0], shift[0]),
        replicas=approximate_median_significance(*_expected(replicas, signal, background)),
    )


def _expected(sums: Floats, signal: float, background: float) -> tuple[Floats, Floats, Floats]:
    """Return signal, background and its shift behind each cut.

    Shapes:
        sums ``(n_replicas, n_cuts + 1, 3)`` → ``(n_replicas, n_cuts)`` each.
    """
    passing = np.cumsum(sums, axis=1)
    total = passing[:, -1:, :]
    shares = np.divide(passing, total, out=np.full_like(passing, np.nan), where=total > 0.0)[:, :-1]
    first, second = background * shares[:, :, 1], background * shares[:, :, 2]
    return signal * shares[:, :, 0], 0.5 * (first + second), np.abs(first - second)
