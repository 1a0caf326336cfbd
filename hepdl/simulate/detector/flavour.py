"""Flavour of jets by the hadrons in them.

A jet is a b-jet if the last b-hadron of a decay chain, with pT above 5 GeV, lies within 0.3 of its
axis; else a c-jet if a last c-hadron does; else light. This is the label that ATLAS uses.

Reference: ATLAS, Eur. Phys. J. C 79 (2019) 970, arXiv:1907.05120.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hepdl.simulate.detector.angles import delta_r

__all__ = ["BOTTOM", "CHARM", "LIGHT", "are_last_hadrons", "contains_quark", "label_jets"]

LIGHT, CHARM, BOTTOM = 0, 4, 5
HADRON_PT = 5.0
LABEL_RADIUS = 0.3

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]


def contains_quark(identity: Ints, quark: int) -> Bools:
    """Return which particles are hadrons with this quark as their heaviest.

    Digits of the numbering scheme: quark content in the thousands, hundreds and tens. Diquarks end
    in 01 or 03 and are none.

    >>> contains_quark(np.array([521, -5122, 553, 411, 5101, 5]), 5)
    array([ True,  True,  True, False, False, False])
    """
    number = np.abs(identity)
    heaviest = np.where((number // 1000) % 10 > 0, (number // 1000) % 10, (number // 100) % 10)
    is_hadron = (number > 100) & ((number // 10) % 10 > 0)
    return np.asarray(is_hadron & (heaviest == quark))


def are_last_hadrons(has_quark: Bools, mother: Ints) -> Bools:
    """Return which of these hadrons do not decay to another one of them.

    Args:
        has_quark: Which particles are hadrons with the quark.
        mother: Row of the mother of each particle.

    Shapes:
        ``(n_particles,)`` each, over all events.
    """
    decays_to_one = np.zeros(has_quark.shape, dtype=bool)
    decays_to_one[mother[has_quark]] = True
    return np.asarray(has_quark & ~decays_to_one)


def label_jets(
    jet_eta: Floats,
    jet_phi: Floats,
    hadrons: dict[int, tuple[Floats, Floats]],
) -> npt.NDArray[np.int8]:
    """Return the flavour of each jet: 5, 4 or 0.

    Args:
        jet_eta: Pseudorapidity of the jet axes.
        jet_phi: Azimuth of the jet axes [rad].
        hadrons: For 4 and 5, eta and phi of the last hadrons with pT > 5 GeV; NaN for padding.

    Shapes:
        jets ``(n_events, n_jets)``, hadrons ``(n_events, n_hadrons)`` → ``(n_events, n_jets)``.
    """
    flavour = np.full(jet_eta.shape, LIGHT, dtype=np.int8)
    for quark in (CHARM, BOTTOM):
        eta, phi = hadrons[quark]
        distance = delta_r(jet_eta[:, :, None], jet_phi[:, :, None], eta[:, None], phi[:, None])
        flavour[(distance < LABEL_RADIUS).any(axis=2)] = quark
    return flavour
