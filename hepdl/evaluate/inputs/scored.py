"""Labels, scores and event weights as clean arrays, or an error that names the first bad value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError

__all__ = [
    "ScoredEvents",
    "check_efficiencies",
    "check_numbers",
    "check_probabilities",
    "check_scored",
    "check_weights",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoredEvents:
    """Events with a truth label, a score and a weight; all three have the same length.

    Attributes:
        is_signal: True for signal, False for background.
        scores: Finite scores; signal is expected at large values.
        event_weight: Finite weights of either sign.

    Shapes:
        is_signal, scores, event_weight: ``(n_events,)``.
    """

    is_signal: npt.NDArray[np.bool_]
    scores: Floats
    event_weight: Floats


def check_scored(
    label: npt.ArrayLike, scores: npt.ArrayLike, event_weight: npt.ArrayLike | None = None
) -> ScoredEvents:
    """Return the three columns as clean arrays.

    Args:
        label: 1 or True for signal, 0 or False for background.
        scores: One finite score per event.
        event_weight: One finite weight per event, of either sign; None means 1 for all.

    Shapes:
        label, scores, event_weight: ``(n_events,)``.

    Raises:
        DataError: Lengths differ, a value is not finite, a label is neither 0 nor 1, a class is
            absent, or the weights of a class do not add up to more than zero.
    """
    score_values = check_numbers(scores, name="scores")
    is_signal = _check_label(label, len(score_values))
    weights = check_weights(event_weight, len(score_values))
    for name, mask in (("signal", is_signal), ("background", ~is_signal)):
        total = float(weights[mask].sum())
        if not mask.any():
            other = "background" if name == "signal" else "signal"
            message = (
                f"no {name} among {len(mask)} events (label {int(name == 'signal')}); all are "
                f"{other}. A ranking needs both classes: check the selection and the labels"
            )
            raise DataError(message)
        if total <= 0.0:
            message = (
                f"the event weights of the {np.count_nonzero(mask)} {name} events add up to "
                f"{total:g}; an efficiency needs a sum above zero. Use more events, or another "
                "policy for negative weights (absolute, drop, reweight)"
            )
            raise DataError(message)
    return ScoredEvents(is_signal, score_values, weights)


def check_probabilities(
    label: npt.ArrayLike, scores: npt.ArrayLike, event_weight: npt.ArrayLike | None = None
) -> ScoredEvents:
    """Return the three columns as `check_scored` does, with scores that are probabilities.

    Shapes:
        label, scores, event_weight: ``(n_events,)``.

    Raises:
        DataError: As `check_scored`, or a score is outside [0, 1].
    """
    events = check_scored(label, scores, event_weight)
    outside = np.flatnonzero((events.scores < 0.0) | (events.scores > 1.0))
    if len(outside):
        message = (
            f"score {events.scores[outside[0]]:g} at entry {outside[0]} is outside [0, 1] "
            f"({len(outside)} of {len(events.scores)}); calibration needs probabilities: "
            "give the score after the link, not the logits"
        )
        raise DataError(message)
    return events


def check_numbers(values: npt.ArrayLike, *, name: str, length: int | None = None) -> Floats:
    """Return a finite one-dimensional float64 array.

    Args:
        values: Numbers, ``(n_events,)``.
        name: What they are, for the message.
        length: How many there have to be; None accepts any number above zero.

    Raises:
        DataError: Empty, not one-dimensional, of another length, or with a value not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        message = f"{name} have shape {numbers.shape}; one number per event, (n_events,), is needed"
        raise DataError(message)
    if length is not None and len(numbers) != length:
        message = f"{len(numbers)} {name} for {length} events; give exactly one per event"
        raise DataError(message)
    if not len(numbers):
        message = f"there are no {name}: the sample is empty; check the selection"
        raise DataError(message)
    finite = np.isfinite(numbers)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        message = (
            f"{len(bad)} of {len(numbers)} {name} are not finite, the first is {numbers[bad[0]]} "
            f"at entry {bad[0]}; finite numbers are needed"
        )
        raise DataError(message)
    return numbers


def check_weights(event_weight: npt.ArrayLike | None, n_events: int) -> Floats:
    """Return finite event weights, ``(n_events,)``; None means 1 for every event."""
    if event_weight is None:
        return np.ones(n_events)
    return check_numbers(event_weight, name="event weights", length=n_events)


def check_efficiencies(efficiencies: npt.ArrayLike) -> Floats:
    """Return signal efficiencies that lie in (0, 1], ``(n_efficiencies,)``.

    Raises:
        DataError: One of them lies outside.
    """
    values = np.atleast_1d(np.asarray(efficiencies, dtype=np.float64))
    outside = values[~((values > 0.0) & (values <= 1.0))]
    if outside.size:
        message = f"signal efficiency {outside[0]:g} is outside (0, 1]; use for example 0.5"
        raise DataError(message)
    return values


def _check_label(label: npt.ArrayLike, n_events: int) -> npt.NDArray[np.bool_]:
    values = np.asarray(label)
    if values.shape != (n_events,):
        message = f"labels have shape {values.shape} for {n_events} scores; one per event is needed"
        raise DataError(message)
    other = (values != 0) & (values != 1)
    if other.any():
        first = int(np.flatnonzero(other)[0])
        message = f"label {values[first]} at entry {first} is neither 1 (signal) nor 0 (background)"
        raise DataError(message)
    is_signal: npt.NDArray[np.bool_] = values == 1
    return is_signal
