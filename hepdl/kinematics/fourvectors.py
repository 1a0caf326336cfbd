"""Four-vectors as float64 arrays ``(…, 4)`` in the order px, py, pz, energy, all in GeV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepdl.errors import DataError, nearest

__all__ = [
    "FOUR_VECTOR_NAMES",
    "cartesian",
    "delta_phi",
    "delta_r",
    "eta",
    "from_pt_eta_phi",
    "mass",
    "momentum",
    "phi",
    "pt",
    "rapidity",
]

Array = NDArray[np.float64]

FOUR_VECTOR_NAMES = (
    ("pt", "eta", "phi", "energy"),
    ("pt", "eta", "phi", "mass"),
    ("px", "py", "pz", "energy"),
)

# Rapidity of a massless particle along the beam, as FastJet has it (PseudoJet.hh, MaxRap).
_HUGE_RAPIDITY = 1e5


def from_pt_eta_phi(
    pt: Array, eta: Array, phi: Array, *, energy: Array | None = None, mass: Array | None = None
) -> Array:
    """Return four-vectors from transverse momentum, pseudorapidity, azimuth and energy or mass.

    Args:
        pt: Transverse momentum [GeV].
        eta: Pseudorapidity.
        phi: Azimuth [rad].
        energy: Energy [GeV]; give this or ``mass``.
        mass: Mass [GeV].

    Shapes:
        all ``(n,)`` → ``(n, 4)``.

    Raises:
        ValueError: if both or neither of ``energy`` and ``mass`` are given.
    """
    if (energy is None) == (mass is None):
        message = "from_pt_eta_phi needs exactly one of energy= and mass="
        raise ValueError(message)
    pt, eta, phi = (np.asarray(column, dtype=np.float64) for column in (pt, eta, phi))
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    if energy is not None:
        e = np.asarray(energy, dtype=np.float64)
    else:
        e = np.sqrt((pt * np.cosh(eta)) ** 2 + np.asarray(mass, dtype=np.float64) ** 2)
    return np.stack(np.broadcast_arrays(px, py, pz, e), axis=-1)


def pt(p4: Array) -> Array:
    """Return the transverse momentum [GeV]."""
    return np.hypot(p4[..., 0], p4[..., 1])


def momentum(p4: Array) -> Array:
    """Return the absolute value of the three-momentum [GeV]."""
    return np.hypot(np.hypot(p4[..., 0], p4[..., 1]), p4[..., 2])


def phi(p4: Array) -> Array:
    """Return the azimuth in [-π, π] [rad]."""
    return np.arctan2(p4[..., 1], p4[..., 0])


def eta(p4: Array) -> Array:
    """Return the pseudorapidity; infinite along the beam, NaN for a particle at rest."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.arcsinh(p4[..., 2] / pt(p4))


def mass(p4: Array) -> Array:
    """Return the mass [GeV]; rounding below zero counts as massless."""
    return np.sqrt(np.maximum(_mass_squared(p4), 0.0))


def rapidity(p4: Array) -> Array:
    """Return the rapidity, in the form that stays accurate for fast particles.

    A massless particle along the beam gets ``±(1e5 + |pz|)``, which is finite, so that distances
    between two such particles are too.
    """
    pz = np.abs(p4[..., 2])
    mt2 = p4[..., 0] ** 2 + p4[..., 1] ** 2 + np.maximum(_mass_squared(p4), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = -0.5 * np.log(mt2 / (p4[..., 3] + pz) ** 2)
    size = np.where(mt2 > 0.0, size, _HUGE_RAPIDITY + pz)
    return np.asarray(np.where(p4[..., 2] > 0.0, size, -size), dtype=np.float64)


def delta_phi(phi_a: Array, phi_b: Array) -> Array:
    """Return ``phi_a - phi_b`` brought to [-π, π] [rad].

    >>> float(np.round(delta_phi(np.float64(3.0), np.float64(-3.0)), 6))
    -0.283185
    """
    difference = phi_a - phi_b
    return difference - 2.0 * np.pi * np.rint(difference / (2.0 * np.pi))


def delta_r(eta_a: Array, phi_a: Array, eta_b: Array, phi_b: Array) -> Array:
    """Return the distance in the plane of (pseudo)rapidity and azimuth."""
    return np.hypot(eta_a - eta_b, delta_phi(phi_a, phi_b))


def cartesian(collection: Any, names: Sequence[str]) -> tuple[Array, NDArray[np.int64]]:
    """Return the four-vectors of a jagged collection of records, and the offsets of its entries.

    Args:
        collection: Awkward array of lists of records, ``n_entries * var * {…}``.
        names: The four fields that make the four-vector; one of ``FOUR_VECTOR_NAMES``, in any
            order. Energies, momenta and masses in GeV, ``phi`` in rad.

    Shapes:
        → ``(n_rows, 4)`` float64, offsets ``(n_entries + 1,)`` int64.

    Raises:
        DataError: if the names are not one of the known sets, or the collection lacks one.
    """
    # Only this converter needs awkward; the rest of the room must import without it.
    import awkward as ak

    known = {frozenset(choice): choice for choice in FOUR_VECTOR_NAMES}
    if frozenset(names) not in known:
        choices = "; ".join(", ".join(choice) for choice in FOUR_VECTOR_NAMES)
        message = f"{', '.join(names)} do not make a four-vector; use one of: {choices}"
        raise DataError(message)
    ordered = known[frozenset(names)]
    missing = [name for name in ordered if name not in collection.fields]
    if missing:
        near = nearest(missing[0], collection.fields)
        hint = f"; did you mean {near!r}?" if near else ""
        message = (
            f"the collection has no field {missing[0]!r}, needed for its four-vectors{hint}\n"
            f"available: {', '.join(collection.fields) or '(none)'}"
        )
        raise DataError(message)
    counts = ak.to_numpy(ak.num(collection, axis=1))
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    columns = {
        name: ak.to_numpy(ak.flatten(collection[name], axis=1)).astype(np.float64)
        for name in ordered
    }
    if "px" in columns:
        return np.stack([columns[name] for name in ordered], axis=-1), offsets
    return from_pt_eta_phi(**columns), offsets


def _mass_squared(p4: Array) -> Array:
    """Return the mass squared [GeV²], as a product of light-cone momenta to lose no digits."""
    e, pz = p4[..., 3], p4[..., 2]
    return (e + pz) * (e - pz) - p4[..., 0] ** 2 - p4[..., 1] ** 2
