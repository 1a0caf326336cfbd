"""Which parton of the hard process a jet comes from. For truth, never for features.

Each parton takes the nearest jet within 0.4. If two partons take the same one, it is the nearer
one's, and the other has none: its jet is not resolved.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hepdl.simulate.detector.angles import delta_r

__all__ = ["MATCHING_RADIUS", "PARTONS", "match_partons", "partons_of_jets"]

# The position plus one is `truth_parton` of a jet; 0 is none. Quarks before antiquarks. The names
# are those of the leaves of `hepdl.kinematics.tth_assignments.TTH_DECAY`.
PARTONS = ("b_lep", "b_had", "q1", "q2", "b1", "b2")
MATCHING_RADIUS = 0.4

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def match_partons(
    parton_eta: Floats, parton_phi: Floats, jet_eta: Floats, jet_phi: Floats, is_jet: Bools
) -> tuple[Ints, Ints]:
    """Return the jet of each parton, and how many partons lost theirs to a nearer one.

    Args:
        parton_eta: NaN for a parton that the event does not have.
        parton_phi: Azimuth [rad].
        jet_eta: Pseudorapidity of the jets.
        jet_phi: Azimuth of the jets [rad].
        is_jet: Which jets are real and selected.

    Shapes:
        partons ``(n_events, n_partons)``, jets ``(n_events, n_jets)`` → place of the jet
        ``(n_events, n_partons)``, -1 for none, and ``(n_events,)``.
    """
    distance = delta_r(
        parton_eta[:, :, None], parton_phi[:, :, None], jet_eta[:, None], jet_phi[:, None]
    )
    distance = np.where(is_jet[:, None] & np.isfinite(distance), distance, np.inf)
    if distance.shape[2] == 0:
        return np.full(parton_eta.shape, -1), np.zeros(len(parton_eta), dtype=np.int64)
    jet = distance.argmin(axis=2)
    nearest = distance.min(axis=2)
    jet = np.where(nearest < MATCHING_RADIUS, jet, -1)
    same = (jet[:, :, None] == jet[:, None]) & (jet >= 0)[:, :, None]
    is_beaten = (same & (nearest[:, None] < nearest[:, :, None])).any(axis=2)
    return np.where(is_beaten, -1, jet), is_beaten.sum(axis=1)


def partons_of_jets(jet: Ints, n_jets: int) -> npt.NDArray[np.int8]:
    """Return 1 + the position in ``PARTONS`` of each jet's parton, 0 for none.

    Shapes:
        ``(n_events, n_partons)`` → ``(n_events, n_jets)``.
    """
    found = np.zeros((len(jet), n_jets), dtype=np.int8)
    event, parton = np.nonzero(jet >= 0)
    found[event, jet[event, parton]] = parton + 1
    return found
