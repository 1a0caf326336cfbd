"""A calorimeter: energies summed in the cells of a grid, one massless tower a cell."""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.simulate.showering.events import PARTICLE_ETA_MAX

__all__ = ["build_towers", "grid"]

MUON = 13


def grid(tower_size: float) -> tuple[int, float, int, float]:
    """Return the number and the width of the cells in eta, then in phi.

    Cells are as close to ``tower_size`` as a whole number of them allows.

    >>> n_eta, _, n_phi, phi_width = grid(0.1)
    >>> n_eta, n_phi, round(phi_width, 4)
    (80, 63, 0.0997)
    """
    n_eta = max(1, round(2.0 * PARTICLE_ETA_MAX / tower_size))
    n_phi = max(1, round(2.0 * np.pi / tower_size))
    return n_eta, 2.0 * PARTICLE_ETA_MAX / n_eta, n_phi, 2.0 * np.pi / n_phi


def build_towers(particles: ak.Array, *, tower_size: float, threshold: float) -> ak.Array:
    """Return the towers of each event.

    A particle leaves its whole energy in the cell that its momentum points to; muons leave
    nothing. There is no smearing, no magnetic field and no sharing between cells. A tower is
    massless and points to the centre of its cell.

    Args:
        particles: Fields ``px, py, pz, E`` [GeV] and ``id``, ``(n_events, var)``, all with
            ``|eta|`` below ``PARTICLE_ETA_MAX``.
        tower_size: Wanted width of a cell in eta and in phi [rad].
        threshold: Towers of smaller transverse energy are dropped [GeV].

    Returns:
        Fields ``px, py, pz, E`` [GeV], ``(n_events, var)``, ordered by cell.
    """
    n_eta, eta_width, n_phi, phi_width = grid(tower_size)
    n_events = len(particles)
    event = np.repeat(np.arange(n_events), ak.to_numpy(ak.num(particles, axis=1)))
    flat = ak.flatten(particles, axis=1)
    seen = np.abs(ak.to_numpy(flat.id)) != MUON
    px, py, pz, energy = (ak.to_numpy(flat[name])[seen] for name in ("px", "py", "pz", "E"))
    eta = np.arcsinh(pz / np.hypot(px, py))
    row = _cell((eta + PARTICLE_ETA_MAX) / eta_width, n_eta)
    column = _cell((np.arctan2(py, px) + np.pi) / phi_width, n_phi)
    cell, inverse = np.unique((event[seen] * n_eta + row) * n_phi + column, return_inverse=True)
    tower_energy = np.bincount(inverse, weights=energy, minlength=len(cell))
    tower_eta = ((cell // n_phi) % n_eta + 0.5) * eta_width - PARTICLE_ETA_MAX
    tower_phi = (cell % n_phi + 0.5) * phi_width - np.pi
    transverse = tower_energy / np.cosh(tower_eta)
    kept = transverse >= threshold
    transverse, tower_eta, tower_phi = transverse[kept], tower_eta[kept], tower_phi[kept]
    towers = ak.zip(
        {
            "px": transverse * np.cos(tower_phi),
            "py": transverse * np.sin(tower_phi),
            "pz": transverse * np.sinh(tower_eta),
            "E": tower_energy[kept],
        }
    )
    counts = np.bincount(cell[kept] // (n_eta * n_phi), minlength=n_events)
    return ak.unflatten(towers, counts)


def _cell(position: npt.NDArray[np.float64], n_cells: int) -> npt.NDArray[np.int64]:
    """Return the number of the cell; the upper edge of the grid belongs to its last cell."""
    return np.clip(np.floor(position).astype(np.int64), 0, n_cells - 1)
