"""Electrons and muons: which are found, and which stand alone.

Reference: ATLAS, Eur. Phys. J. C 76 (2016) 292, arXiv:1603.05598 (muons), and JINST 14 (2019)
P12006, arXiv:1908.00005 (electrons), for the size of the efficiencies, which here are constant.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hepdl.simulate.detector.angles import delta_r

__all__ = ["ELECTRON", "LEPTON_EFFICIENCIES", "MUON", "are_found", "are_isolated"]

ELECTRON, MUON = 11, 13
LEPTON_EFFICIENCIES = {ELECTRON: 0.85, MUON: 0.92}
ISOLATION_RADIUS = 0.4

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def are_found(identity: npt.NDArray[np.integer], random: np.random.Generator) -> Bools:
    """Return which leptons the detector finds.

    Args:
        identity: Particle number, of either sign; what is no electron or muon is never found.
        random: One uniform number a lepton is drawn.
    """
    absolute = np.abs(identity)
    efficiency = np.zeros(identity.shape)
    for kind, value in LEPTON_EFFICIENCIES.items():
        efficiency[absolute == kind] = value
    return np.asarray(random.random(identity.shape) < efficiency)


def are_isolated(
    lepton_eta: Floats, lepton_phi: Floats, jet_eta: Floats, jet_phi: Floats, is_jet: Bools
) -> Bools:
    """Return whether no jet is nearer than 0.4 to the lepton of each event.

    Shapes:
        lepton ``(n_events,)``, jets and mask ``(n_events, n_jets)`` → ``(n_events,)``.
    """
    distance = delta_r(jet_eta, jet_phi, lepton_eta[:, None], lepton_phi[:, None])
    return np.asarray(~((distance < ISOLATION_RADIUS) & is_jet).any(axis=1))
