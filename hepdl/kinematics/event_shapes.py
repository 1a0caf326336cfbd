"""Shapes of whole events: sphericity, aplanarity, Fox-Wolfram moments, centrality.

All of them take the objects of each event as a padded array with a mask. Sums run over the real
objects alone; an event without momentum has 0 everywhere.

Reference:
    J. D. Bjorken, S. J. Brodsky, "Statistical model for electron-positron annihilation into
    hadrons", Phys. Rev. D 1 (1970) 1416, for the tensor; G. C. Fox, S. Wolfram, "Observables for
    the analysis of event shapes in e+e- annihilation and other processes", Phys. Rev. Lett. 41
    (1978) 1581. ATLAS' search for ttH(bb), arXiv:1712.08895, uses them as here: its public
    software (package MVAVariables of AthAnalysis) normalises the tensor by the sum of p² and the
    moments by the square of the sum of energies, and counts each object also with itself.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from hepdl.kinematics import fourvectors

__all__ = [
    "aplanarity",
    "centrality",
    "fox_wolfram",
    "momentum_tensor_eigenvalues",
    "scalar_pt_sum",
    "sphericity",
]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def momentum_tensor_eigenvalues(p4: Array, mask: Mask) -> Array:
    """Return the eigenvalues of Σ p_a p_b / Σ p², largest first; they add up to 1.

    Shapes:
        p4 ``(n_events, n_objects, 4)`` [GeV], mask ``(n_events, n_objects)`` → ``(n_events, 3)``.
    """
    p3 = np.where(mask[..., None], p4[..., :3], 0.0)
    tensor = np.einsum("nia,nib->nab", p3, p3)
    trace = np.einsum("naa->n", tensor)[:, None, None]
    normalised = np.divide(tensor, trace, out=np.zeros_like(tensor), where=trace > 0.0)
    # A tensor of momenta has no negative eigenvalue but by rounding.
    return np.maximum(np.linalg.eigvalsh(normalised)[:, ::-1], 0.0)


def sphericity(p4: Array, mask: Mask) -> Array:
    """Return 3/2 (λ₂ + λ₃): 0 for back-to-back objects, 1 for an isotropic event.

    Shapes:
        p4 ``(n_events, n_objects, 4)`` [GeV], mask ``(n_events, n_objects)`` → ``(n_events,)``.

    >>> back_to_back = np.array([[[3.0, 0.0, 4.0, 5.0], [-3.0, 0.0, -4.0, 5.0]]])
    >>> bool(sphericity(back_to_back, np.ones((1, 2), dtype=bool))[0] < 1e-15)
    True
    """
    eigenvalues = momentum_tensor_eigenvalues(p4, mask)
    return 1.5 * (eigenvalues[:, 1] + eigenvalues[:, 2])


def aplanarity(p4: Array, mask: Mask) -> Array:
    """Return 3/2 λ₃: 0 for objects in one plane, 1/2 for an isotropic event.

    Shapes:
        p4 ``(n_events, n_objects, 4)`` [GeV], mask ``(n_events, n_objects)`` → ``(n_events,)``.
    """
    return 1.5 * momentum_tensor_eigenvalues(p4, mask)[:, 2]


def fox_wolfram(p4: Array, mask: Mask, *, n_orders: int = 5) -> Array:
    """Return the moments H_l = Σ_ij |p_i| |p_j| P_l(cos Ω_ij) / (Σ E)² for l = 0, 1, ….

    The double sum counts every pair twice and every object with itself, so that massless objects
    have H_0 = 1, and H_1 = 0 where their momenta cancel. ATLAS' ``H1_all`` is H_1 of all jets and
    the lepton.

    Args:
        p4: Objects of each event [GeV].
        mask: True for real objects.
        n_orders: How many moments, from l = 0.

    Shapes:
        p4 ``(n_events, n_objects, 4)``, mask ``(n_events, n_objects)`` → ``(n_events, n_orders)``.
    """
    moments = np.zeros((len(p4), n_orders))
    _fox_wolfram(np.ascontiguousarray(p4, dtype=np.float64), mask, moments)
    return moments


def centrality(p4: Array, mask: Mask) -> Array:
    """Return Σ pT / Σ E, which is 1 for massless objects across the beam.

    Shapes:
        p4 ``(n_events, n_objects, 4)`` [GeV], mask ``(n_events, n_objects)`` → ``(n_events,)``.
    """
    energy = np.where(mask, p4[..., 3], 0.0).sum(axis=1)
    found: Array = np.zeros(len(p4))
    np.divide(scalar_pt_sum(p4, mask), energy, out=found, where=energy > 0.0)
    return found


def scalar_pt_sum(p4: Array, mask: Mask) -> Array:
    """Return Σ pT [GeV], the field's H_T.

    Shapes:
        p4 ``(n_events, n_objects, 4)`` [GeV], mask ``(n_events, n_objects)`` → ``(n_events,)``.
    """
    return np.asarray(np.where(mask, fourvectors.pt(p4), 0.0).sum(axis=1), dtype=np.float64)


@nb.njit(cache=True, error_model="numpy")
def _fox_wolfram(p4: Array, mask: Mask, moments: Array) -> None:
    """Fill the moments of each event; see ``fox_wolfram``."""
    n_orders = moments.shape[1]
    size = np.empty(p4.shape[1])
    for n in range(len(p4)):
        energy = 0.0
        for i in range(p4.shape[1]):
            size[i] = 0.0
            if mask[n, i]:
                energy += p4[n, i, 3]
                size[i] = np.sqrt(p4[n, i, 0] ** 2 + p4[n, i, 1] ** 2 + p4[n, i, 2] ** 2)
        if energy <= 0.0:
            continue
        for i in range(p4.shape[1]):
            for j in range(i + 1):
                weight = size[i] * size[j]
                if weight == 0.0:
                    continue
                dot = 0.0
                for a in range(3):
                    dot += p4[n, i, a] * p4[n, j, a]
                cosine = dot / weight
                times = 1.0 if i == j else 2.0
                # Bonnet's recursion: (l + 1) P_{l+1} = (2 l + 1) x P_l - l P_{l-1}.
                before, now = 0.0, 1.0
                for order in range(n_orders):
                    moments[n, order] += times * weight * now / energy**2
                    after = ((2 * order + 1) * cosine * now - order * before) / (order + 1)
                    before, now = now, after
