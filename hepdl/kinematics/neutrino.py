"""The neutrino of W → lepton neutrino, from missing transverse momentum and the mass of the W.

(p_lepton + p_neutrino)² = m_W² is a quadratic equation for the neutrino's pz. With E, pz and
m_T² = E² - pz² of the lepton, the missing transverse momentum s of unit direction n, and
k = (m_W² - m_lepton²) / 2 + s n·p_T(lepton), its solutions are

    pz(neutrino) = (k pz ± E √(k² - m_T² s²)) / m_T²

They are real as long as the transverse mass of lepton and missing momentum is not above m_W;
above it (resolution, a second neutrino, an off-shell W) the caller states what is wanted:
``real_part`` drops the root, which keeps the missing momentum and lets the mass of lepton and
neutrino be larger than m_W; ``rescale`` shortens the missing momentum, at the same azimuth, to
s = (m_W² - m_lepton²) / 2 / (m_T - n·p_T(lepton)), where both solutions coincide and the mass is
m_W.

Reference:
    ATLAS, "Search for the standard model Higgs boson produced in association with top quarks and
    decaying into a bb pair in pp collisions at √s = 13 TeV with the ATLAS detector",
    arXiv:1712.08895, which takes both real solutions as candidates of the reconstruction and sets
    the root to zero where there are none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hepdl.errors import ConfigError, DataError, unknown_name

__all__ = ["W_MASS", "Neutrinos", "neutrinos_of"]

Array = NDArray[np.float64]

# Pole mass of the W [GeV], rounded as ATLAS has it; Particle Data Group 2024: 80.369.
W_MASS = 80.4

_COMPLEX_CASES = ("real_part", "rescale")


@dataclass(frozen=True)
class Neutrinos:
    """Both solutions of each event.

    Attributes:
        p4: Four-vectors [GeV]; first the solution of the smaller absolute value of pz.
        is_real: True where the equation has two real solutions; elsewhere the two are equal.

    Shapes:
        p4 ``(n_events, 2, 4)``, is_real ``(n_events,)``.
    """

    p4: Array
    is_real: NDArray[np.bool_]


def neutrinos_of(
    lepton: Array,
    met: Array,
    met_phi: Array,
    *,
    w_mass: float = W_MASS,
    complex_case: str = "real_part",
) -> Neutrinos:
    """Return the neutrinos that make a W with the lepton of each event.

    Args:
        lepton: Four-vector of the lepton of each event [GeV], with transverse momentum.
        met: Missing transverse momentum [GeV].
        met_phi: Its azimuth [rad].
        w_mass: Mass of the W [GeV].
        complex_case: ``real_part`` or ``rescale``: what to do where no real solution exists.

    Shapes:
        lepton ``(n_events, 4)``, met, met_phi ``(n_events,)``.

    Raises:
        ConfigError: There is no such ``complex_case``.
        DataError: An event has no lepton, or a missing momentum that is not a number.
    """
    if complex_case not in _COMPLEX_CASES:
        message = unknown_name("case", complex_case, _COMPLEX_CASES, where="complex_case")
        raise ConfigError(message)
    px, py, pz, energy = np.moveaxis(np.asarray(lepton, dtype=np.float64), -1, 0)
    x, y = np.cos(met_phi), np.sin(met_phi)
    size = np.asarray(met, dtype=np.float64)
    _refuse_unusable(np.hypot(px, py), np.asarray(met), np.asarray(met_phi))
    mt2 = (energy - pz) * (energy + pz)
    along = x * px + y * py
    half = 0.5 * (w_mass**2 - np.maximum(mt2 - px**2 - py**2, 0.0))
    k = half + size * along
    is_real = k >= np.sqrt(mt2) * size
    if complex_case == "rescale":
        # Not real means s (m_T - along) > half > 0, so the denominator is positive.
        shorter = half / np.where(is_real, 1.0, np.sqrt(mt2) - along)
        size = np.where(is_real, size, shorter)
        k = half + size * along
    root = energy * np.sqrt(np.where(is_real, np.maximum(k**2 - mt2 * size**2, 0.0), 0.0))
    # The solution of smaller size is the one where the root works against k pz.
    direction = np.where(pz * k >= 0.0, 1.0, -1.0)
    solutions = np.stack([k * pz - direction * root, k * pz + direction * root], axis=-1)
    neutrino_pz = solutions / mt2[:, None]
    transverse = np.broadcast_to(np.stack([size * x, size * y], axis=-1)[:, None], (len(k), 2, 2))
    total = np.hypot(size[:, None], neutrino_pz)
    p4 = np.concatenate([transverse, neutrino_pz[..., None], total[..., None]], axis=-1)
    return Neutrinos(p4=p4, is_real=is_real)


def _refuse_unusable(pt: Array, met: Array, met_phi: Array) -> None:
    """Raise if an event has no lepton or no missing momentum."""
    good = (pt > 0.0) & np.isfinite(pt) & (met >= 0.0) & np.isfinite(met) & np.isfinite(met_phi)
    if good.all():
        return
    event = int(np.argmin(good))
    message = (
        f"event {event}: lepton pT {pt[event]:g} GeV, missing momentum {met[event]:g} GeV at azimuth "
        f"{met_phi[event]:g}, and {int((~good).sum())} of {len(good)} events like this; the lepton "
        "needs transverse momentum and all must be finite: select events with one lepton"
    )
    raise DataError(message)
