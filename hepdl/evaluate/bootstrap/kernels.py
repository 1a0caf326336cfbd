"""The hot loops over replicas: nothing is sorted or stored twice.

The multiplicity of a group of events in a replica is a pure function of (seed, group, replica): a
SplitMix64 stream per group, turned into a Poisson number of mean 1 by its cumulative distribution.
So it needs no memory, and it is the same for every model, order and subset of the events.

Reference:
    G. L. Steele, D. Lea and C. H. Flood, OOPSLA 2014, doi:10.1145/2660193.2660195 (SplitMix64).
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["binned_sums", "group_keys", "multiplicities", "rank_replicas"]

Floats = npt.NDArray[np.float64]
Keys = npt.NDArray[np.uint64]

# Constants of SplitMix64.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)

# P(k <= m) for m = 0 ... 14 of a Poisson of mean 1, as a share of 2^64; P(k > 14) is 3e-13.
_CUMULATIVE = np.array(
    [
        int(sum(math.exp(-1.0) / math.factorial(k) for k in range(m + 1)) * 2.0**64)
        for m in range(15)
    ],
    dtype=np.uint64,
)


@numba.njit(cache=True, inline="always")
def _mix(state: np.uint64) -> np.uint64:
    state = (state ^ (state >> _S30)) * _MIX_1
    state = (state ^ (state >> _S27)) * _MIX_2
    return state ^ (state >> _S31)


@numba.njit(cache=True, inline="always")
def _multiplicity(key: np.uint64, replica: int) -> int:
    uniform = _mix(key + np.uint64(replica + 1) * _GOLDEN)
    count = 0
    while count < 15 and uniform >= _CUMULATIVE[count]:
        count += 1
    return count


@numba.njit(cache=True)
def group_keys(groups: npt.NDArray[np.int64], seed: int) -> Keys:
    """Return one 64-bit key per event, equal for events of one group.

    Args:
        groups: Integers that name the group, one row per event.
        seed: Seed of the bootstrap.

    Shapes:
        groups: ``(n_events, n_columns)``; returns ``(n_events,)``.
    """
    start = _mix(np.uint64(seed) + _GOLDEN)
    keys = np.empty(groups.shape[0], np.uint64)
    for i in range(groups.shape[0]):
        key = start
        for j in range(groups.shape[1]):
            key = _mix((key ^ np.uint64(groups[i, j])) + _GOLDEN)
        keys[i] = key
    return keys


@numba.njit(cache=True)
def multiplicities(keys: Keys, replica: int) -> npt.NDArray[np.int64]:
    """Return how often each event occurs in one replica, ``(n_events,)``."""
    counts = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        counts[i] = _multiplicity(keys[i], replica)
    return counts


@numba.njit(cache=True)
def binned_sums(
    keys: Keys, bins: npt.NDArray[np.int64], columns: Floats, n_bins: int, n_replicas: int
) -> Floats:
    """Return the sums of some columns in bins, in each replica.

    Args:
        keys: One key per event.
        bins: Bin of each event; events with a negative one are left out.
        columns: What to add up, one row per event.
        n_bins: Number of bins.
        n_replicas: Number of replicas.

    Shapes:
        keys, bins: ``(n_events,)``; columns: ``(n_events, n_columns)``;
        returns ``(n_replicas, n_bins, n_columns)``.
    """
    sums = np.zeros((n_replicas, n_bins, columns.shape[1]))
    for replica in range(n_replicas):
        for i in range(len(keys)):
            if bins[i] < 0:
                continue
            count = _multiplicity(keys[i], replica)
            if count:
                for j in range(columns.shape[1]):
                    sums[replica, bins[i], j] += count * columns[i, j]
    return sums


@numba.njit(cache=True)
def rank_replicas(
    keys: Keys,
    signal_weight: Floats,
    background_weight: Floats,
    is_last: npt.NDArray[np.bool_],
    efficiencies: Floats,
    n_replicas: int,
) -> tuple[Floats, Floats, Floats]:
    """Return area, distance and background efficiencies of each replica.

    Events come in the order of falling score. The rules are those of `hepdl.evaluate.roc`. A
    replica in which a class has no positive sum of weights gives nan.

    Args:
        keys: One key per event.
        signal_weight: Event weight of signal events, 0 for background.
        background_weight: Event weight of background events, 0 for signal.
        is_last: True for the last event of each distinct score.
        efficiencies: Rising signal efficiencies.
        n_replicas: Number of replicas.

    Shapes:
        keys, signal_weight, background_weight, is_last: ``(n_events,)``;
        returns areas ``(n_replicas,)``, largest distances between the two efficiencies
        ``(n_replicas,)`` and background efficiencies ``(n_replicas, n_efficiencies)``.
    """
    areas = np.full(n_replicas, np.nan)
    distances = np.full(n_replicas, np.nan)
    passing = np.full((n_replicas, len(efficiencies)), np.nan)
    signal, background = np.empty(len(keys) + 1), np.empty(len(keys) + 1)
    signal[0] = background[0] = 0.0
    for replica in range(n_replicas):
        n_points = 1
        s = b = 0.0
        area = 0.0
        for i in range(len(keys)):
            count = _multiplicity(keys[i], replica)
            s += count * signal_weight[i]
            b += count * background_weight[i]
            if is_last[i]:
                area += 0.5 * (s + signal[n_points - 1]) * (b - background[n_points - 1])
                signal[n_points], background[n_points] = s, b
                n_points += 1
        if s <= 0.0 or b <= 0.0:
            continue
        areas[replica] = area / (s * b)
        distance = 0.0
        wanted = 0
        for k in range(1, n_points):
            distance = max(distance, abs(signal[k] / s - background[k] / b))
            while wanted < len(efficiencies) and (
                signal[k] >= efficiencies[wanted] * s or k == n_points - 1
            ):
                low, high = signal[k - 1], signal[k]
                share = min((efficiencies[wanted] * s - low) / (high - low), 1.0)
                step = background[k] - background[k - 1]
                passing[replica, wanted] = (background[k - 1] + share * step) / b
                wanted += 1
        distances[replica] = distance
    return areas, distances, passing
