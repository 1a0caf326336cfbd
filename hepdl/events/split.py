"""Train, validation and test parts that never change when files are added or reordered.

An event's part is a function of its process, run number, event number and a seed alone: a 64-bit
hash, read as a number in [0, 1). All jets of an event therefore share a part.
Folds go by the event number alone: fold ``event_number % k``, so that anyone can tell the fold of
an event by looking at it.

The hash: the process name gives ``blake2b(name, 8 bytes)`` as a little-endian integer; the state
starts at the seed, and each of process, run number and event number is added in turn (exclusive
or) and mixed by SplitMix64. The upper 53 bits of the result divided by 2^53 are the number. All
of it is integer arithmetic modulo 2^64, the same on every machine.

Reference:
    G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators",
    OOPSLA 2014, doi:10.1145/2660193.2660195 (SplitMix64).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, DataError

__all__ = [
    "PARTS",
    "fold_of",
    "hash_uniform",
    "in_validation",
    "split_by_hash",
    "split_by_value",
]

PARTS = ("train", "validation", "test")

Integers = npt.NDArray[np.int64]
Names = npt.NDArray[np.str_] | Sequence[str]

# Constants of SplitMix64.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
# Another stream than that of the parts: else the events hashed into the validation part by
# ``split_by_value`` would be those of ``split_by_hash``.
_VALIDATION_STREAM = 0x76616C6964617465


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = state + _STEP
    state = (state ^ (state >> np.uint64(30))) * _MULTIPLIERS[0]
    state = (state ^ (state >> np.uint64(27))) * _MULTIPLIERS[1]
    return state ^ (state >> np.uint64(31))


def hash_uniform(
    process: Names, run_number: Integers, event_number: Integers, *, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each event, the same on every machine for ever.

    Args:
        process: Name of the process of each event.
        run_number: Number of the data-taking run, int64.
        event_number: Number of the event in its run, int64.
        seed: Another seed gives independent numbers.

    Shapes:
        All ``(n_events,)``.
    """
    names, code = np.unique(np.asarray(process, dtype=np.str_), return_inverse=True)
    digests = [hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in names]
    keys = np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)
    state = _mix(np.full(len(code), seed % 2**64, dtype=np.uint64))
    for part in (keys[code], _as_uint64(run_number), _as_uint64(event_number)):
        state = _mix(state ^ part)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _as_uint64(values: Integers) -> npt.NDArray[np.uint64]:
    values = np.asarray(values)
    if values.dtype.kind not in "iu":
        message = f"run and event numbers must be integers, not {values.dtype}"
        raise DataError(message)
    return values.astype(np.int64, copy=False).view(np.uint64)


def split_by_hash(
    process: Names,
    run_number: Integers,
    event_number: Integers,
    fractions: Mapping[str, float],
    *,
    seed: int = 0,
) -> npt.NDArray[np.int8]:
    """Return the part of each event as an index into ``PARTS``.

    Args:
        process: Name of the process of each event.
        run_number: Number of the data-taking run, int64.
        event_number: Number of the event in its run, int64.
        fractions: Expected share of each part; they sum to 1.
        seed: Another seed gives an independent split.

    Shapes:
        All ``(n_events,)``.

    Raises:
        ConfigError: The fractions do not make sense.
        DataError: All events of a process carry the same numbers.

    >>> numbers = np.arange(4)
    >>> split_by_hash(["w"] * 4, numbers, numbers, {"train": 0.5, "test": 0.5}).tolist()
    [0, 2, 0, 2]
    """
    edges = _edges(fractions)
    _check_distinct(process, run_number, event_number)
    uniform = hash_uniform(process, run_number, event_number, seed=seed)
    return np.searchsorted(edges, uniform, side="right").astype(np.int8)


def _edges(fractions: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return the upper edges of all parts but the last, which takes what rounding leaves."""
    unknown = sorted(set(fractions) - set(PARTS))
    total = sum(fractions.values())
    if unknown or min(fractions.values(), default=-1.0) < 0 or abs(total - 1) > 1e-9:
        message = (
            f"the fractions of a split are {dict(fractions)}; they must be those of "
            f"{', '.join(PARTS)}, none negative, with the sum 1 (not {total:g})"
        )
        raise ConfigError(message)
    shares = [fractions.get(part, 0.0) for part in PARTS]
    edges = np.cumsum(shares)[:-1]
    last = max(index for index, share in enumerate(shares) if share > 0)
    edges[last:] = 1.0
    return edges


def _check_distinct(process: Names, run_number: Integers, event_number: Integers) -> None:
    names = np.asarray(process, dtype=np.str_)
    for name in np.unique(names):
        of_process = names == name
        runs, events = np.asarray(run_number)[of_process], np.asarray(event_number)[of_process]
        if len(events) > 1 and events.min() == events.max() and runs.min() == runs.max():
            message = (
                f"all {len(events)} entries of process {str(name)!r} have the event number "
                f"{events[0]} and run number {runs[0]}: a hash would put them all into one part; "
                "give the branch that holds the event number the role event_number in the schema"
            )
            raise DataError(message)


def split_by_value(
    values: npt.NDArray[np.generic],
    parts: Mapping[str, Sequence[int]],
    process: Names,
    run_number: Integers,
    event_number: Integers,
    *,
    validation_fraction: float = 0.1,
    seed: int = 0,
) -> npt.NDArray[np.int8]:
    """Return the part of each event by a value of its own, such as ``event_number % 2``.

    If ``parts`` names no values for validation, a hash takes ``validation_fraction`` of the
    training events for it.

    Args:
        values: An integer or boolean for each event.
        parts: The values that belong to each part.
        process: Name of the process of each event.
        run_number: Number of the data-taking run, int64.
        event_number: Number of the event in its run, int64.
        validation_fraction: Share of the training events that is used for validation.
        seed: Another seed chooses other events for validation.

    Shapes:
        values, process, run_number, event_number: ``(n_events,)``.

    Raises:
        ConfigError: A part is unknown, or a value belongs to two parts.
        DataError: An event's value belongs to no part.
    """
    part_of: dict[int, str] = {}
    for part, members in parts.items():
        for value in members:
            if part not in PARTS or value in part_of:
                message = (
                    f"the parts of a split are {dict(parts)}; they must be among "
                    f"{', '.join(PARTS)}, and each value belongs to one of them"
                )
                raise ConfigError(message)
            part_of[value] = part
    if not 0 <= validation_fraction < 1:
        message = f"validation_fraction is {validation_fraction}; it must be in [0, 1)"
        raise ConfigError(message)
    values = np.asarray(values)
    codes = np.full(len(values), -1, dtype=np.int8)
    for value, part in part_of.items():
        codes[values == value] = PARTS.index(part)
    if (codes < 0).any():
        strays, counts = np.unique(values[codes < 0], return_counts=True)
        message = (
            f"{counts.sum()} of {len(values)} entries belong to no part of the split: the value "
            f"{strays[0]} ({counts[0]} entries) is not among {sorted(part_of)}; "
            "list it under one of the parts"
        )
        raise DataError(message)
    if "validation" not in parts and validation_fraction > 0:
        chosen = in_validation(
            process, run_number, event_number, fraction=validation_fraction, seed=seed
        )
        codes[(codes == PARTS.index("train")) & chosen] = PARTS.index("validation")
    return codes


def in_validation(
    process: Names,
    run_number: Integers,
    event_number: Integers,
    *,
    fraction: float,
    seed: int = 0,
) -> npt.NDArray[np.bool_]:
    """Return which events a hash takes out of the training events for validation.

    Args:
        process: Name of the process of each event.
        run_number: Number of the data-taking run, int64.
        event_number: Number of the event in its run, int64.
        fraction: Their expected share.
        seed: Another seed chooses others.

    Shapes:
        All ``(n_events,)``.

    Raises:
        DataError: All events of a process carry the same numbers.
    """
    _check_distinct(process, run_number, event_number)
    uniform = hash_uniform(process, run_number, event_number, seed=seed ^ _VALIDATION_STREAM)
    return np.asarray(uniform < fraction)


def fold_of(event_number: Integers, n_folds: int) -> npt.NDArray[np.int32]:
    """Return the fold of each event: ``event_number % n_folds``, never negative.

    Shapes:
        ``(n_events,)``.

    Raises:
        ConfigError: There are fewer than two folds.

    >>> fold_of(np.array([4, 5, -1]), 3).tolist()
    [1, 2, 2]
    """
    if n_folds < 2:
        message = f"{n_folds} folds leave nothing to train on or to test: use at least 2"
        raise ConfigError(message)
    return np.mod(_as_uint64(event_number).view(np.int64), n_folds).astype(np.int32)
