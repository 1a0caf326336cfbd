"""How much signal and background ranges of the score hold, in the sample and in its replicas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.inputs.binning import bin_sums
from hepdl.evaluate.inputs.scored import ScoredEvents

__all__ = ["Yields", "yields_above", "yields_between"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Yields:
    """What each range of the score holds.

    Attributes:
        signal: Sum of weights of signal.
        background: Sum of weights of background.
        n_background: Entries of background whose weight is not 0.
        n_effective: (sum w)^2 / sum w^2 of the background: entries of equal weight that would be
            known as well.
        signal_replicas: The signal in each replica.
        background_replicas: The background in each replica.

    Shapes:
        replicas ``(n_replicas, n_ranges)``, the others ``(n_ranges,)``.
    """

    signal: Floats
    background: Floats
    n_background: Integers
    n_effective: Floats
    signal_replicas: Floats
    background_replicas: Floats


def yields_between(events: ScoredEvents, inner_edges: Floats, bootstrap: Bootstrap) -> Yields:
    """Return what lies between the edges; the first and the last range have no outer end.

    Args:
        events: The events.
        inner_edges: Rising edges; a range holds ``low <= score < high``.
        bootstrap: Replicas of the same events.

    Shapes:
        inner_edges ``(n_ranges - 1,)``.
    """
    return _yields(*_sums(events, inner_edges, bootstrap))


def yields_above(events: ScoredEvents, thresholds: Floats, bootstrap: Bootstrap) -> Yields:
    """Return what passes ``score >= threshold`` for each threshold.

    Args:
        events: The events.
        thresholds: Falling thresholds; some may be equal.
        bootstrap: Replicas of the same events.

    Shapes:
        thresholds ``(n_ranges,)``.
    """
    sums = _sums(events, thresholds[::-1], bootstrap)
    # Cumulated from the highest range on; the last sum is that of everything.
    return _yields(*(np.cumsum(part[..., ::-1], axis=-1)[..., :-1] for part in sums))


def _sums(events: ScoredEvents, inner_edges: Floats, bootstrap: Bootstrap) -> tuple[Floats, Floats]:
    """Return sums of columns in ranges, ``(4, n_ranges)``, and ``(2, n_replicas, n_ranges)``."""
    bins = np.searchsorted(inner_edges, events.scores, side="right").astype(np.int64)
    n_ranges = len(inner_edges) + 1
    weight, background = events.event_weight, ~events.is_signal
    columns = [weight * events.is_signal, weight * background]
    squares = weight**2 * background
    counted = [*columns, squares, (squares > 0.0).astype(np.float64)]
    sums = np.stack([bin_sums(bins, column, n_ranges) for column in counted])
    replicas = bootstrap.binned_sums(bins, np.stack(columns, axis=-1), n_bins=n_ranges)
    return sums, np.moveaxis(replicas, -1, 0)


def _yields(sums: Floats, replicas: Floats) -> Yields:
    signal, background, squares, entries = sums
    effective = np.divide(background**2, squares, out=np.zeros_like(squares), where=squares > 0.0)
    return Yields(signal, background, entries.astype(np.int64), effective, replicas[0], replicas[1])
