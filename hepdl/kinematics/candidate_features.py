"""Features of the particles of an assignment, for any decay: what a network or trees may read.

For each particle its mass and pT, for each pair of its daughters their distance, and the momentum of
each leaf, with the azimuth counted from the first leaf of the decay. Names are made of those in the
decay: ``mass_higgs``, ``pt_higgs``, ``delta_r_b1_b2``, ``pt_b1``, ``eta_b1``, ``energy_b1``,
``delta_phi_lepton_b1``.

Reference:
    The features that reconstructions by assignment share: ATLAS, arXiv:1712.08895, table of inputs
    of the reconstruction BDT; the longer list for ttH is in ``hepdl.kinematics.tth_assignments``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hepdl.kinematics import fourvectors
from hepdl.kinematics.assignments import Assignments

__all__ = ["candidate_features"]

Array = NDArray[np.float64]


def candidate_features(
    assignments: Assignments,
    momenta: Mapping[str, Array],
    chosen: NDArray[np.int64] | None = None,
) -> dict[str, Array]:
    """Return the features of the particles and leaves of each assignment.

    Args:
        assignments: The assignments.
        momenta: Four-vectors of each collection [GeV].
        chosen: Which assignments of each event (see ``k_best``); without it, all.

    Shapes:
        chosen ``(n_events, n_chosen)`` → each ``(n_events, n_chosen)``; masses and momenta in GeV;
        NaN where there is no assignment.
    """
    decay = assignments.decay
    p4 = assignments.momenta(momenta, chosen)
    of = {name: p4[:, :, row] for row, name in enumerate(decay.names)}
    eta = {name: fourvectors.eta(of[name]) for name in decay.names}
    phi = {name: fourvectors.phi(of[name]) for name in decay.names}
    found: dict[str, Array] = {}
    for particle in decay.particles:
        found[f"mass_{particle.name}"] = fourvectors.mass(of[particle.name])
        found[f"pt_{particle.name}"] = fourvectors.pt(of[particle.name])
        for one, other in itertools.combinations(particle.daughters, 2):
            with np.errstate(invalid="ignore"):
                distance = fourvectors.delta_r(eta[one], phi[one], eta[other], phi[other])
            found[f"delta_r_{one}_{other}"] = distance
    first = decay.leaves[0]
    for leaf in decay.leaves:
        found[f"pt_{leaf}"] = fourvectors.pt(of[leaf])
        found[f"eta_{leaf}"] = eta[leaf]
        found[f"energy_{leaf}"] = of[leaf][..., 3]
        if leaf != first:
            found[f"delta_phi_{first}_{leaf}"] = fourvectors.delta_phi(phi[leaf], phi[first])
    is_there = of[decay.root.name][..., 3] > 0.0
    return {name: np.where(is_there, values, np.nan) for name, values in found.items()}
