"""What a variation of the events, of the jet energy scale for example, does to a spectrum.

The varied events are for the most part the nominal ones with other values: the two spectra
fluctuate together, and their ratio is known far better than each of them. So the error of a ratio
comes from replicas in which the same events (the same group, by event number) are drawn in both.

Reference:
    B. Efron, Ann. Statist. 7 (1979) 1 (bootstrap); R. Barlow, "Systematic errors: facts and
    fictions", arXiv:hep-ex/0207026 (the error of a difference between results on shared events).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.intervals import Interval, spread
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.inputs.binning import bin_index, check_edges
from hepdl.evaluate.inputs.scored import check_numbers, check_weights
from hepdl.evaluate.spectra import Spectrum, spectrum

__all__ = ["VariationRatio", "VariedSample", "VariedSpectra", "varied_spectra"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class VariedSample:
    """One version of the events.

    Attributes:
        values: Finite numbers, e.g. scores.
        event_weight: Weights of either sign, or None for 1.
        groups: Event numbers, or columns (process, run number, event number): the same for the
            same event in all versions.

    Shapes:
        values, event_weight ``(n_events,)``; groups ``(n_events,)`` or ``(n_events, n_columns)``.
    """

    values: npt.ArrayLike
    event_weight: npt.ArrayLike | None
    groups: npt.NDArray[np.integer]


@dataclass(frozen=True)
class VariationRatio:
    """A varied spectrum over the nominal one.

    Attributes:
        value: Ratio in each bin; nan where the nominal spectrum is not above 0.
        error: Its Monte-Carlo-statistical error, for events that are shared.
        total: Ratio of the sums of weights of all events, in a bin or not, with its 68 % interval.

    Shapes:
        value, error ``(n_bins,)``.
    """

    value: Floats
    error: Floats
    total: Interval


@dataclass(frozen=True)
class VariedSpectra:
    """A nominal spectrum and its variations.

    Attributes:
        nominal: Sums of weights.
        varied: The same of each variation, by name.
        ratios: Each variation over nominal, by name.
    """

    nominal: Spectrum
    varied: dict[str, Spectrum]
    ratios: dict[str, VariationRatio]


def varied_spectra(
    nominal: VariedSample,
    variations: Mapping[str, VariedSample],
    *,
    edges: npt.ArrayLike,
    n_replicas: int = 200,
    seed: int = 0,
) -> VariedSpectra:
    """Return the spectra of all versions of the events, and their ratios to the nominal one.

    Args:
        nominal: The events as they are.
        variations: Their other versions; an event may be in one and not in another.
        edges: Rising ends of the bins; a bin holds ``low <= value < high``, the last one also its
            upper end.
        n_replicas: Replicas for the errors; 200 give them to 5 %.
        seed: Seed of the replicas.

    Shapes:
        edges ``(n_bins + 1,)``.

    Raises:
        DataError: A sample is not usable, or the weights of the nominal one add up to nothing.
    """
    ends = check_edges(edges)
    middle, base, base_replicas = _sums(nominal, ends, n_replicas, seed)
    if not base[-1] > 0.0:
        message = (
            f"the weights of the {len(np.asarray(nominal.values))} nominal events add up to "
            f"{base[-1]:g}; a ratio to them needs a sum above zero"
        )
        raise DataError(message)
    varied, ratios = {}, {}
    for name, sample in variations.items():
        varied[name], sums, replicas = _sums(sample, ends, n_replicas, seed)
        value, in_replicas = _ratio(sums, base), _ratio(replicas, base_replicas)
        ratios[name] = VariationRatio(
            value=value[:-1],
            error=np.array(
                [
                    spread(column) if np.isfinite(ratio) else np.nan
                    for ratio, column in zip(value[:-1], in_replicas.T[:-1], strict=True)
                ]
            ),
            total=Interval.from_replicas(float(value[-1]), in_replicas[:, -1]),
        )
    return VariedSpectra(middle, varied, ratios)


def _sums(
    sample: VariedSample, edges: Floats, n_replicas: int, seed: int
) -> tuple[Spectrum, Floats, Floats]:
    """Return the spectrum, and its counts with the sum of everything behind, also of replicas."""
    values = check_numbers(sample.values, name="values")
    weight = check_weights(sample.event_weight, len(values))
    found = spectrum(values, weight, edges=edges)
    # Events outside have a bin of their own, so that the sum of all bins is that of all events.
    n_bins = len(edges) - 1
    bins = bin_index(values, edges)
    replicas = Bootstrap(sample.groups, n_replicas, seed).binned_sums(
        np.where(bins < 0, n_bins, bins), weight[:, None], n_bins=n_bins + 1
    )[..., 0]
    replicas[:, -1] = replicas.sum(axis=1)
    return found, np.append(found.counts, weight.sum()), replicas


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    unknown = np.full_like(numerator, np.nan)
    return np.divide(numerator, denominator, out=unknown, where=denominator > 0.0)
