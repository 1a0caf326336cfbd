"""Substructure of many jets at once, by FastJet and its contributed tools.

Reference: J. Thaler and K. Van Tilburg, "Identifying boosted objects with N-subjettiness",
JHEP 03 (2011) 015, arXiv:1011.2268.
Reference: A. Larkoski, S. Marzani, G. Soyez and J. Thaler, "Soft drop", JHEP 05 (2014) 146,
arXiv:1402.2657.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.simulate.showering.engines import load_fastjet

__all__ = ["n_subjettiness_ratio", "soft_drop_mass"]

# With beta = 0 this is the modified mass-drop tagger at its usual cut.
SOFT_DROP_BETA = 0.0
SOFT_DROP_Z_CUT = 0.1
# Larger than any distance between two constituents of one jet.
ALL_CONSTITUENTS = 10.0
# tau_1 is a fraction of R0: below, all constituents are collinear to rounding.
COLLINEAR = 1e-9

Floats = npt.NDArray[np.float64]


def n_subjettiness_ratio(constituents: ak.Array, *, jet_radius: float) -> Floats:
    """Return tau_2 / tau_1 of each jet; 0 where tau_1 is 0 (a single constituent).

    ``beta = 1``, axes from exclusive kt clustering improved by one minimisation.

    Args:
        constituents: Fields ``px, py, pz, E`` [GeV], ``(n_jets, var)``.
        jet_radius: R0 of the normalisation.

    Returns:
        The ratio, ``(n_jets,)``.
    """
    fastjet = load_fastjet()
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, jet_radius)
    tau = fastjet._pyjet.AwkwardClusterSequence(constituents, definition).njettiness(
        measure_definition="NormalizedMeasure",
        axes_definition="OnePass_KT_Axes",
        njets=[1, 2],
        beta=1.0,
        R0=jet_radius,
    )
    one, two = np.asarray(ak.to_numpy(tau), dtype=np.float64).reshape(-1, 2).T
    spread = one > COLLINEAR
    return np.where(spread, two / np.where(spread, one, 1.0), 0.0)


def soft_drop_mass(constituents: ak.Array, *, jet_radius: float) -> Floats:
    """Return the mass of each jet after soft drop with ``beta = 0``, ``z_cut = 0.1``.

    Args:
        constituents: Fields ``px, py, pz, E`` [GeV], ``(n_jets, var)``.
        jet_radius: R0 of the soft-drop condition (irrelevant while ``beta = 0``).

    Returns:
        The groomed mass [GeV], ``(n_jets,)``.
    """
    fastjet = load_fastjet()
    definition = fastjet.JetDefinition(fastjet.cambridge_algorithm, ALL_CONSTITUENTS)
    groomed = fastjet.ClusterSequence(constituents, definition).exclusive_jets_softdrop_grooming(
        njets=1, beta=SOFT_DROP_BETA, symmetry_cut=SOFT_DROP_Z_CUT, R0=jet_radius
    )
    # A single massless tower comes back with a mass of rounding size, of either sign.
    return np.maximum(np.asarray(ak.to_numpy(groomed.msoftdrop), dtype=np.float64).reshape(-1), 0.0)
