"""FastJet is the oracle: the same merges at the same distances, the same subjets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hepdl.kinematics import cluster, rapidity, subjets

pytest.importorskip("fastjet")
# The classic interface: the awkward one does not give the distances of the merges.
import fastjet._swig as fastjet

pytestmark = pytest.mark.simulation

ALGORITHMS = {
    "kt": fastjet.kt_algorithm,
    "cambridge_aachen": fastjet.cambridge_algorithm,
    "anti_kt": fastjet.antikt_algorithm,
}
# Takes all constituents; FastJet divides its distances by R².
LARGE_RADIUS = 1000.0


def sequence(p4: NDArray[np.float64], algorithm: int, radius: float) -> Any:
    jets = [fastjet.PseudoJet(*map(float, row)) for row in p4]
    return fastjet.ClusterSequence(jets, fastjet.JetDefinition(algorithm, radius))


def history(p4: NDArray[np.float64], algorithm: int) -> tuple[list[list[int]], list[float]]:
    """The pairs that FastJet merges, in its order, and their distances."""
    found, n = sequence(p4, algorithm, LARGE_RADIUS), len(p4)
    pairs = []
    for jet in found.jets()[n:]:
        one, other = fastjet.PseudoJet(), fastjet.PseudoJet()
        assert jet.has_parents(one, other)
        pairs.append(sorted([one.cluster_hist_index(), other.cluster_hist_index()]))
    return pairs, [found.exclusive_dmerge(left) * LARGE_RADIUS**2 for left in range(n - 1, 0, -1)]


def check_histories(p4: NDArray[np.float64], offsets: NDArray[np.int64], topology: str) -> None:
    ours = cluster(p4, offsets, topology=topology)
    for jet in range(len(offsets) - 1):
        constituents = p4[offsets[jet] : offsets[jet + 1]]
        pairs, distances = history(constituents, ALGORITHMS[topology])
        merged = slice(ours.offsets[jet] + len(constituents), ours.offsets[jet + 1])
        assert np.sort(ours.children[merged], axis=1).tolist() == pairs, f"jet {jet}"
        # Rapidity and azimuth are rounded to 1e-15, and ΔR of some merges is as small as 1e-6.
        np.testing.assert_allclose(ours.distances[merged], distances, rtol=1e-8)


@pytest.mark.parametrize("topology", ALGORITHMS)
def test_merges_and_distances_are_those_of_fastjet(
    toy_jets: Callable[..., Any], topology: str
) -> None:
    check_histories(*toy_jets(200, seed=1), topology)


@pytest.mark.slow
@pytest.mark.parametrize("topology", ALGORITHMS)
def test_merges_and_distances_of_thousands_of_jets_are_those_of_fastjet(
    toy_jets: Callable[..., Any], topology: str
) -> None:
    check_histories(*toy_jets(4000, seed=2), topology)


def test_rapidity_is_that_of_fastjet_on_the_beam_too() -> None:
    beam = [[0.0, 0.0, 5.0, 5.0], [0.0, 0.0, 7.0, 7.0], [0.0, 0.0, -4.0, 4.0]]
    p4 = np.array([*beam, [3.0, 1.0, 2.0, 4.0], [2.0, 1.0, 1.0, 2.5]])
    expected = [fastjet.PseudoJet(*map(float, row)).rap() for row in p4]
    np.testing.assert_allclose(rapidity(p4), expected, rtol=1e-14)


def check_subjets(p4: NDArray[np.float64], offsets: NDArray[np.int64]) -> None:
    ours = subjets(p4, offsets, radius=0.3)
    for jet in range(len(offsets) - 1):
        found = sequence(p4[offsets[jet] : offsets[jet + 1]], fastjet.kt_algorithm, 0.3)
        leading = sorted(found.inclusive_jets(), key=lambda one: -one.pt())[:3]
        expected = np.zeros((3, 4))
        for rank, one in enumerate(leading):
            expected[rank] = one.px(), one.py(), one.pz(), one.e()
        # The same sums in the same order, so to the last bit or nearly.
        np.testing.assert_allclose(ours[jet], expected, rtol=1e-13, atol=1e-12)


def test_leading_subjets_are_those_of_fastjet(toy_jets: Callable[..., Any]) -> None:
    check_subjets(*toy_jets(300, seed=3))


@pytest.mark.slow
def test_leading_subjets_of_thousands_of_jets_are_those_of_fastjet(
    toy_jets: Callable[..., Any],
) -> None:
    check_subjets(*toy_jets(4000, seed=4))
