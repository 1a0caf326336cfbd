"""Distances in eta and phi. ``hepdl.kinematics`` has them too, but brings numba into each worker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["delta_phi", "delta_r"]

Floats = npt.NDArray[np.float64]


def delta_phi(first: Floats, second: Floats) -> Floats:
    """Return the angle from ``second`` to ``first``, in [-pi, pi) [rad]."""
    return np.asarray(np.remainder(first - second + np.pi, 2.0 * np.pi) - np.pi)


def delta_r(
    eta: Floats,
    phi: Floats,
    other_eta: Floats,
    other_phi: Floats,
) -> Floats:
    """Return the distance in the plane of eta and phi; shapes broadcast."""
    return np.asarray(np.hypot(eta - other_eta, delta_phi(phi, other_phi)))
