"""Jet preprocessing: turn, boost and mirror each jet to a standard frame.

What only reflects where in the detector a jet went, and which way round, is taken out:

1. cluster the constituents into kt subjets of radius 0.3, sorted by pT;
2. rotate about the beam: the leading subjet gets φ = 0;
3. boost along the beam: the leading subjet gets η = 0, so that it points along +x;
4. with two subjets or more, rotate about x: the second one lies at -y;
5. with three subjets or more, mirror in the x-y plane: the third one has p_z ≥ 0.

Reference:
    G. Louppe, K. Cho, C. Becot, K. Cranmer, "QCD-aware recursive neural networks for jet
    physics", arXiv:1702.00748, section 5.1 and the authors' code.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from hepdl.errors import ConfigError
from hepdl.kinematics.clustering import checked, unclustered
from hepdl.kinematics.recombination import recombine_jets

__all__ = ["standardise", "subjets"]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

# The frame is fixed by the three hardest subjets.
_N_LEADING = 3
# Jets that are clustered at a time, so that the histories of all of them need not fit in memory.
_JETS_AT_A_TIME = 4096


def standardise(p4: Array, offsets: IntArray, *, subjet_radius: float = 0.3) -> Array:
    """Return the constituents of each jet in its standard frame, in the order of the input.

    Args:
        p4: Constituents of all jets [GeV].
        offsets: First constituent of each jet, and their number at the end.
        subjet_radius: Radius of the kt subjets that fix the frame; 0.3 in the paper.

    Shapes:
        p4 ``(n_constituents, 4)``, offsets ``(n_jets + 1,)`` → ``(n_constituents, 4)``.

    Raises:
        ConfigError: if the radius is not positive and finite.
        DataError: as ``hepdl.kinematics.cluster``.
    """
    p4, offsets = checked(p4, offsets)
    leading = subjets(p4, offsets, radius=subjet_radius)
    moved = p4.copy()
    _move_jets(offsets, leading, moved)
    return moved


def subjets(p4: Array, offsets: IntArray, *, radius: float) -> Array:
    """Return the three inclusive kt subjets of largest pT of each jet; zeros where it has fewer.

    Args:
        p4: Constituents of all jets [GeV].
        offsets: First constituent of each jet, and their number at the end.
        radius: Radius of the subjets.

    Shapes:
        p4 ``(n_constituents, 4)``, offsets ``(n_jets + 1,)`` → ``(n_jets, 3, 4)``.

    Raises:
        ConfigError: if the radius is not positive and finite.
        DataError: as ``hepdl.kinematics.cluster``.
    """
    if not (np.isfinite(radius) and radius > 0.0):
        message = f"subjet radius {radius:g} must be positive and finite; the paper uses 0.3"
        raise ConfigError(message)
    p4, offsets = checked(p4, offsets)
    leading = np.zeros((len(offsets) - 1, _N_LEADING, 4))
    for first in range(0, len(leading), _JETS_AT_A_TIME):
        part = offsets[first : first + _JETS_AT_A_TIME + 1]
        nodes, _ = unclustered(p4[part[0] : part[-1]], part - part[0])
        is_final = np.zeros(len(nodes.momenta), dtype=np.bool_)
        recombine_jets(
            nodes.offsets, nodes.momenta, nodes.children, nodes.distances, is_final, 1, radius**2
        )
        _pick_leading(
            nodes.offsets, nodes.momenta, is_final, leading[first : first + _JETS_AT_A_TIME]
        )
    return leading


@nb.njit(cache=True)
def _pick_leading(
    node_offsets: IntArray, momenta: Array, is_final: NDArray[np.bool_], leading: Array
) -> None:
    """Copy the final nodes of largest pT of each jet, in falling order of pT."""
    for jet in range(len(node_offsets) - 1):
        for rank in range(_N_LEADING):
            best, best_pt2 = -1, -1.0
            for node in range(node_offsets[jet], node_offsets[jet + 1]):
                if is_final[node]:
                    pt2 = momenta[node, 0] ** 2 + momenta[node, 1] ** 2
                    if pt2 > best_pt2:
                        best, best_pt2 = node, pt2
            if best >= 0:
                for k in range(4):
                    leading[jet, rank, k] = momenta[best, k]
                is_final[best] = False


@nb.njit(cache=True, error_model="numpy")
def _turn_and_boost(rows: Array, cos: float, sin: float, scale: float) -> None:
    """Rotate about z by the angle of ``cos`` and ``sin``, then scale E + pz and E - pz.

    On these light-cone components a boost is a multiplication, which keeps the relative precision
    of the small one and so the mass of fast particles.
    """
    for k in range(len(rows)):
        px, py = rows[k, 0], rows[k, 1]
        rows[k, 0] = cos * px - sin * py
        rows[k, 1] = sin * px + cos * py
        plus = (rows[k, 3] + rows[k, 2]) * scale
        minus = (rows[k, 3] - rows[k, 2]) / scale
        rows[k, 2] = 0.5 * (plus - minus)
        rows[k, 3] = 0.5 * (plus + minus)


@nb.njit(cache=True, error_model="numpy")
def _turn_about_x(rows: Array, cos: float, sin: float, sign: float) -> None:
    """Rotate about x by the angle of ``cos`` and ``sin``, then multiply pz by ``sign``."""
    for k in range(len(rows)):
        py, pz = rows[k, 1], rows[k, 2]
        rows[k, 1] = cos * py - sin * pz
        rows[k, 2] = sign * (sin * py + cos * pz)


@nb.njit(cache=True, error_model="numpy")
def _boost_scale(p4: Array) -> float:
    """Return the factor on E + pz of the boost along z that leaves the vector no pz."""
    pz = abs(p4[2])
    pt2 = p4[0] ** 2 + p4[1] ** 2
    mt2 = pt2 + max((p4[3] + pz) * (p4[3] - pz) - pt2, 0.0)
    if mt2 <= 0.0:
        # A massless particle along the beam has pz in every frame.
        return 1.0
    scale = np.sqrt(mt2) / (p4[3] + pz)
    return float(scale if p4[2] > 0.0 else 1.0 / scale)


@nb.njit(cache=True, error_model="numpy")
def _move(rows: Array, axes: Array) -> None:
    """Bring the constituents of one jet to the frame of its leading subjets, in place."""
    pt = np.hypot(axes[0, 0], axes[0, 1])
    cos, sin = (axes[0, 0] / pt, -axes[0, 1] / pt) if pt > 0.0 else (1.0, 0.0)
    scale = _boost_scale(axes[0])
    _turn_and_boost(rows, cos, sin, scale)
    _turn_and_boost(axes, cos, sin, scale)
    if axes[1, 3] > 0.0:
        dy, dz = axes[0, 1] - axes[1, 1], axes[0, 2] - axes[1, 2]
        size = np.hypot(dy, dz)
        cos, sin = (dy / size, -dz / size) if size > 0.0 else (1.0, 0.0)
        third_pz = sin * axes[2, 1] + cos * axes[2, 2]
        _turn_about_x(rows, cos, sin, -1.0 if third_pz < 0.0 else 1.0)


@nb.njit(cache=True, parallel=True)
def _move_jets(offsets: IntArray, leading: Array, moved: Array) -> None:
    """Bring each jet to its standard frame, in place; ``leading`` is used up."""
    for jet in nb.prange(len(offsets) - 1):
        _move(moved[offsets[jet] : offsets[jet + 1]], leading[jet])
