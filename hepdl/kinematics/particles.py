"""Features of the particles of each jet, relative to its axis and its momentum.

The axis is the sum of the four-vectors of all particles (E-scheme). Fractions are of the scalar sum
of the transverse momenta and of the sum of the energies, so that those of one jet add up to 1.
Directions are differences in pseudorapidity and azimuth. All of them are infrared and collinear
safe in what they refer to: axis and sums do not change when a particle splits collinearly or a
soft one is added.

Reference:
    H. Qu, L. Gouskos, "ParticleNet: jet tagging via particle clouds", Phys. Rev. D 101 (2020)
    056019, arXiv:1902.08570, table I; P. T. Komiske, E. M. Metodiev, J. Thaler, "Energy flow
    networks: deep sets for particle jets", JHEP 01 (2019) 121, arXiv:1810.05165, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hepdl.errors import DataError, unknown_name
from hepdl.kinematics import fourvectors

__all__ = [
    "KINEMATIC_FEATURES",
    "PARTICLE_FEATURES",
    "hardest",
    "order_by_pt",
    "particle_features",
]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

PARTICLE_FEATURES = (
    "delta_eta",
    "delta_phi",
    "delta_r",
    "pt",
    "log_pt",
    "pt_fraction",
    "log_pt_fraction",
    "energy",
    "log_energy",
    "energy_fraction",
    "log_energy_fraction",
)

# What most networks on particles take: table I of ParticleNet without the particle's identity.
KINEMATIC_FEATURES = (
    "delta_eta",
    "delta_phi",
    "log_pt",
    "log_energy",
    "log_pt_fraction",
    "log_energy_fraction",
    "delta_r",
)


def order_by_pt(p4: Array, offsets: IntArray) -> tuple[IntArray, IntArray]:
    """Return the particles of each jet by falling pT.

    Particles without transverse momentum have no direction in the plane of pseudorapidity and
    azimuth, and many files fill short lists up with zeros: they are left out. Equal ones keep
    their order.

    Args:
        p4: Particles of all jets [GeV].
        offsets: First particle of each jet, and their number at the end.

    Shapes:
        p4 ``(n_particles, 4)``, offsets ``(n_jets + 1,)`` → rows ``(n_chosen,)``, new offsets
        ``(n_jets + 1,)``.

    Raises:
        DataError: A momentum is not finite, or an energy not positive.
    """
    jet = _jet_of_row(offsets)
    pt = fourvectors.pt(p4)
    is_used = pt != 0.0
    _refuse_unusable(p4, offsets, is_used)
    rows = np.lexsort((-pt, jet))
    rows = rows[is_used[rows]]
    counts = np.bincount(jet[rows], minlength=len(offsets) - 1)
    return rows, np.concatenate(([0], np.cumsum(counts)))


def hardest(offsets: IntArray, n: int) -> tuple[IntArray, IntArray]:
    """Return the first ``n`` particles of each jet, which are ordered already.

    Shapes:
        offsets ``(n_jets + 1,)`` → rows ``(n_chosen,)``, new offsets ``(n_jets + 1,)``.

    >>> rows, new = hardest(np.array([0, 3, 4]), 2)
    >>> rows.tolist(), new.tolist()
    ([0, 1, 3], [0, 2, 3])
    """
    counts = np.minimum(np.diff(offsets), n)
    new_offsets = np.concatenate(([0], np.cumsum(counts)))
    rows = np.arange(new_offsets[-1]) + np.repeat(offsets[:-1] - new_offsets[:-1], counts)
    return rows, new_offsets


def particle_features(p4: Array, offsets: IntArray, names: Sequence[str]) -> Array:
    """Return the named features of each particle, in the order of the input.

    Args:
        p4: Particles of all jets [GeV], each with transverse momentum.
        offsets: First particle of each jet, and their number at the end.
        names: Of ``PARTICLE_FEATURES``: ``pt`` and ``energy`` in GeV, their logarithms those of
            the number of GeV; angles in rad.

    Shapes:
        p4 ``(n_particles, 4)``, offsets ``(n_jets + 1,)`` → ``(n_particles, len(names))``.

    Raises:
        DataError: There is no such feature.
    """
    jet = _jet_of_row(offsets)
    n_jets = len(offsets) - 1
    pt, energy = fourvectors.pt(p4), p4[:, 3]

    def of_jet(values: Array) -> Array:
        sums = np.bincount(jet, weights=values, minlength=n_jets)
        return np.asarray(sums[jet], dtype=np.float64)

    axis = np.stack([of_jet(p4[:, component]) for component in range(4)], axis=1)
    # Where all transverse momenta cancel there is no axis: differences count from 0, 0.
    has_axis = fourvectors.pt(axis) > 0.0
    delta_eta = fourvectors.eta(p4) - np.where(has_axis, fourvectors.eta(axis), 0.0)
    delta_phi = fourvectors.delta_phi(fourvectors.phi(p4), fourvectors.phi(axis))
    found: dict[str, Callable[[], Array]] = {
        "delta_eta": lambda: delta_eta,
        "delta_phi": lambda: delta_phi,
        "delta_r": lambda: np.hypot(delta_eta, delta_phi),
        "pt": lambda: pt,
        "log_pt": lambda: np.log(pt),
        "pt_fraction": lambda: pt / of_jet(pt),
        "log_pt_fraction": lambda: np.log(pt / of_jet(pt)),
        "energy": lambda: energy,
        "log_energy": lambda: np.log(energy),
        "energy_fraction": lambda: energy / of_jet(energy),
        "log_energy_fraction": lambda: np.log(energy / of_jet(energy)),
    }
    columns = np.empty((len(p4), len(names)))
    for column, name in enumerate(names):
        if name not in found:
            message = unknown_name("particle feature", name, found, where="features of particles")
            raise DataError(message)
        columns[:, column] = found[name]()
    return columns


def _jet_of_row(offsets: IntArray) -> IntArray:
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _refuse_unusable(p4: Array, offsets: IntArray, is_used: NDArray[np.bool_]) -> None:
    good = ~is_used | (np.isfinite(p4).all(axis=1) & (p4[:, 3] > 0.0))
    if good.all():
        return
    row = int(np.argmin(good))
    jet = int(np.searchsorted(offsets, row, side="right")) - 1
    values = ", ".join(f"{value:g}" for value in p4[row])
    message = (
        f"jet {jet}, particle {row - offsets[jet]}: px, py, pz, energy = {values} [GeV]; all must "
        "be finite and the energy positive; drop such particles or mend the file"
    )
    raise DataError(message)
