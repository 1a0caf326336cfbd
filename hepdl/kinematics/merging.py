"""Merging of constituents without a distance: at random, or one after the other.

Reference:
    G. Louppe, K. Cho, C. Becot, K. Cranmer, "QCD-aware recursive neural networks for jet
    physics", arXiv:1702.00748, for these two controls; G. L. Steele, D. Lea, C. H. Flood, "Fast
    splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64), for the random numbers.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = ["merge", "merge_at_random", "merge_in_order", "random_states"]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

# SplitMix64: increment (the golden ratio) and the two multipliers of its output function.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)


@nb.njit(cache=True, error_model="numpy")
def merge(momenta: Array, children: IntArray, a: int, b: int, new: int) -> None:
    """Make node ``new`` the sum of ``a`` and ``b``; the one of larger pT becomes the left child.

    Equal pT leaves the lower index on the left, so that the tree is always the same.
    """
    for k in range(4):
        momenta[new, k] = momenta[a, k] + momenta[b, k]
    pt2_a = momenta[a, 0] ** 2 + momenta[a, 1] ** 2
    pt2_b = momenta[b, 0] ** 2 + momenta[b, 1] ** 2
    if pt2_b > pt2_a or (pt2_a == pt2_b and b < a):
        a, b = b, a
    children[new, 0] = a
    children[new, 1] = b


@nb.njit(cache=True, parallel=True)
def merge_in_order(
    node_offsets: IntArray, momenta: Array, children: IntArray, order: IntArray
) -> None:
    """Merge the last two of each jet's sorted list, then the sum with the one before, and so on.

    Args:
        node_offsets: First of the 2 n - 1 rows of each jet, and the number of rows at the end.
        momenta: The n constituents in the first rows of each jet [GeV]; the merged nodes are
            written behind.
        children: All -1 at the start.
        order: The constituents of each jet, counted within the jet, in the first n rows.

    Shapes:
        node_offsets ``(n_jets + 1,)``, momenta ``(n_nodes, 4)``, children ``(n_nodes, 2)``,
        order ``(n_nodes,)``.
    """
    for jet in nb.prange(len(node_offsets) - 1):
        start, stop = node_offsets[jet], node_offsets[jet + 1]
        _chain(momenta[start:stop], children[start:stop], order[start:stop])


@nb.njit(cache=True, parallel=True)
def merge_at_random(
    node_offsets: IntArray, momenta: Array, children: IntArray, states: NDArray[np.uint64]
) -> None:
    """Merge two of the remaining nodes of each jet, all pairs alike, until one is left.

    Args:
        node_offsets: First of the 2 n - 1 rows of each jet, and the number of rows at the end.
        momenta: The n constituents in the first rows of each jet [GeV]; the merged nodes are
            written behind.
        children: All -1 at the start.
        states: First state of each jet's random numbers.

    Shapes:
        node_offsets ``(n_jets + 1,)``, momenta ``(n_nodes, 4)``, children ``(n_nodes, 2)``,
        states ``(n_jets,)``.
    """
    for jet in nb.prange(len(node_offsets) - 1):
        start, stop = node_offsets[jet], node_offsets[jet + 1]
        _shuffle(momenta[start:stop], children[start:stop], states[jet])


@nb.njit(cache=True)
def _chain(momenta: Array, children: IntArray, order: IntArray) -> None:
    """Merge the constituents of one jet from the end of its sorted list."""
    n_nodes = len(momenta)
    n = (n_nodes + 1) // 2
    node = order[n - 1]
    for new in range(n, n_nodes):
        merge(momenta, children, order[n_nodes - 1 - new], node, new)
        node = new


@nb.njit(cache=True)
def _shuffle(momenta: Array, children: IntArray, state: np.uint64) -> None:
    """Merge the constituents of one jet at random."""
    n_nodes = len(momenta)
    n = (n_nodes + 1) // 2
    pool = np.arange(n)
    for new in range(n, n_nodes):
        m = n_nodes + 1 - new
        state = state + _GOLDEN
        i = _below(_mix(state), m)
        a = pool[i]
        pool[i] = pool[m - 1]
        state = state + _GOLDEN
        j = _below(_mix(state), m - 1)
        merge(momenta, children, a, pool[j], new)
        pool[j] = new


@nb.njit(cache=True)
def random_states(seed: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the first state of each jet's random numbers, from the seed and the jet's key.

    Shapes:
        keys ``(n_jets,)`` → ``(n_jets,)``.
    """
    states = np.empty_like(keys)
    for jet in range(len(keys)):
        # Both are mixed, so that (seed, key) and (seed + 1, key - 1) have nothing in common.
        states[jet] = _mix(_mix(seed + _GOLDEN) ^ _mix(keys[jet] + _MIX_A))
    return states


@nb.njit(cache=True)
def _mix(state: np.uint64) -> np.uint64:
    """Return SplitMix64's output for a state."""
    z = (state ^ (state >> np.uint64(30))) * _MIX_A
    z = (z ^ (z >> np.uint64(27))) * _MIX_B
    return z ^ (z >> np.uint64(31))


@nb.njit(cache=True)
def _below(bits: np.uint64, n: int) -> int:
    """Return a number in 0 … n - 1 from 64 random bits."""
    # The upper 53 bits, the precision of a double: uneven by less than n / 2^53.
    return int(np.float64(bits >> np.uint64(11)) * 2.0**-53 * n)
