"""Missing transverse momentum: what balances all that is measured.

Nothing is known of neutrinos here: their momentum is missing because they are not seen.

Reference: ATLAS, Eur. Phys. J. C 78 (2018) 903, arXiv:1802.08168, for the parts (jets, leptons,
soft term) and the size of the soft term's resolution.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["SOFT_RESOLUTION", "missing_momentum", "smear_soft_term"]

# Of each component of the soft term [GeV]: detector noise and what is left of pile-up.
SOFT_RESOLUTION = 8.0

Floats = npt.NDArray[np.float64]


def smear_soft_term(soft: Floats, random: np.random.Generator) -> Floats:
    """Return the measured soft term [GeV], ``(n_events, 2)``: px and py of what is in no object."""
    return np.asarray(soft + SOFT_RESOLUTION * random.standard_normal(soft.shape))


def missing_momentum(jets: Floats, lepton: Floats, soft: Floats) -> tuple[Floats, Floats]:
    """Return size [GeV] and direction phi [rad] of the missing transverse momentum.

    Args:
        jets: px and py of all measured jets [GeV], zero for padding.
        lepton: px and py of the measured lepton [GeV].
        soft: px and py of the measured soft term [GeV].

    Shapes:
        jets ``(n_events, n_jets, 2)``, lepton and soft ``(n_events, 2)`` → ``(n_events,)`` each.
    """
    x, y = -(jets.sum(axis=1) + lepton + soft).T
    return np.hypot(x, y), np.arctan2(y, x)
