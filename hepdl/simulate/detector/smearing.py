"""Energy resolution of jets, momentum resolution of leptons, and the jet energy scale.

The resolution of a jet has the usual noise, stochastic and constant terms, of the size that ATLAS
finds for anti-kt jets with R = 0.4: 22 % at 25 GeV, 9 % at 100 GeV. The uncertainty of the energy
scale is rounded from ATLAS' first measurement at 13 TeV: 4.6 % at 20 GeV, 1.1 % at 200 GeV.

Reference: ATLAS, "Jet energy scale and resolution measured in proton-proton collisions at 13 TeV",
Eur. Phys. J. C 81 (2021) 689, arXiv:2007.02645; and Phys. Rev. D 96 (2017) 072002,
arXiv:1703.09665.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, unknown_name

__all__ = [
    "SCALE_VARIATIONS",
    "jet_resolution",
    "scale_factor",
    "scale_uncertainty",
    "smear_jets",
    "smear_leptons",
]

# Noise [GeV], stochastic [GeV^1/2] and constant term of sigma(pT) / pT.
NOISE, STOCHASTIC, CONSTANT = 4.0, 0.75, 0.035
LEPTON_RESOLUTION = 0.02
# The smallest factor on a jet: the resolution has no tail to negative energies.
SMALLEST_RESPONSE = 0.05
# Terms of the scale's uncertainty: a constant, and one [GeV] that falls as 1 / pT.
SCALE_CONSTANT, SCALE_OFFSET = 0.01, 0.9
SCALE_VARIATIONS = {"nominal": 0.0, "jes_up": 1.0, "jes_down": -1.0}

Floats = npt.NDArray[np.float64]


def jet_resolution(pt: Floats) -> Floats:
    """Return sigma(pT) / pT of jets of true ``pt`` [GeV].

    >>> jet_resolution(np.array([25.0, 100.0])).round(3)
    array([0.222, 0.092])
    """
    # Below 1 GeV, and for padding, the terms would diverge.
    pt = np.maximum(pt, 1.0)
    return np.asarray(np.sqrt((NOISE / pt) ** 2 + STOCHASTIC**2 / pt + CONSTANT**2))


def smear_jets(pt: Floats, random: np.random.Generator) -> Floats:
    """Return the factor between the measured and the true four-momentum of each jet.

    Args:
        pt: True pT [GeV], of any shape.
        random: Where the Gaussian numbers come from, one a jet.
    """
    response = 1.0 + jet_resolution(pt) * random.standard_normal(pt.shape)
    return np.asarray(np.maximum(response, SMALLEST_RESPONSE))


def smear_leptons(pt: Floats, random: np.random.Generator) -> Floats:
    """Return the factor between the measured and the true four-momentum of each lepton."""
    return 1.0 + LEPTON_RESOLUTION * random.standard_normal(pt.shape)


def scale_uncertainty(pt: Floats) -> Floats:
    """Return the relative uncertainty of the energy of jets of measured ``pt`` [GeV].

    >>> scale_uncertainty(np.array([20.0, 200.0])).round(3)
    array([0.046, 0.011])
    """
    return np.asarray(np.hypot(SCALE_CONSTANT, SCALE_OFFSET / np.maximum(pt, 1.0)))


def scale_factor(pt: Floats, variation: str) -> Floats:
    """Return the factor on the four-momentum of each jet in a variation of the energy scale.

    Args:
        pt: Measured pT [GeV].
        variation: ``"nominal"``, ``"jes_up"`` or ``"jes_down"``, one standard deviation each.

    Raises:
        ConfigError: There is no such variation.
    """
    if variation not in SCALE_VARIATIONS:
        message = unknown_name(
            "variation", variation, list(SCALE_VARIATIONS), where="jet energy scale"
        )
        raise ConfigError(message)
    return 1.0 + SCALE_VARIATIONS[variation] * scale_uncertainty(pt)
