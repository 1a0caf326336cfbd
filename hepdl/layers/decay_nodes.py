"""The nodes of a decay: which are identical, what their momenta are, and what is seen of them.

A node is a leaf or a particle; nodes come in the order of ``Decay.names``, daughters before their
mothers. Nodes that a symmetry of the decay turns into each other are *identical* (the two b-jets of
a Higgs boson): a network that is to be blind to their exchange must treat them alike.

The four-vector of a particle is the sum of those of its daughters, and so is its b-tag. Two sets of
features are made of these sums:

* ``physical``: what is physical of a momentum in GeV, with the azimuth relative to a reference;
* ``guo2018``: ``|p|, eta, theta, phi, E, pT`` and the b-tag as in the author's code, where inputs are
  standardised before they are added, and both angles come from an arctangent of a ratio.

Reference:
    Z. Guo's thesis (Aix-Marseille, 2019) and public code tthbb_parse_tree, after G. Louppe et al.,
    arXiv:1702.00748.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from hepdl.kinematics import Decay

__all__ = [
    "GUO_FEATURES",
    "PHYSICAL_FEATURES",
    "guo_features",
    "identical_nodes",
    "node_momenta",
    "physical_features",
]

PHYSICAL_FEATURES = (
    "log_pt",
    "eta",
    "cos_phi",
    "sin_phi",
    "log_energy",
    "log_mass",
    "mass",
    "b_tag",
    "delta_r",
)
GUO_FEATURES = ("p", "eta", "theta", "phi", "energy", "pt", "b_tag")

# Below this a momentum [GeV] tells nothing that a logarithm should magnify.
_SMALLEST = 1.0
# Nothing is measured beyond; only the sum of a decay, or a reconstructed neutrino, gets there.
_LARGEST_ETA = 6.0
# In units of 100 GeV: few events are above, and they must not stretch the scale of the others.
_MASS_UNIT, _LARGEST_MASS = 100.0, 15.0
# E² - p² of float32 components is known to a few 6e-8 E²: below is a particle without mass.
_MASS_ROUNDING = 1e-6
_TINY = 1e-6


def identical_nodes(decay: Decay) -> tuple[int, ...]:
    """Return for each node the first one that is identical to it, itself perhaps.

    >>> decay = {"particles": {"h": ["b1", "b2"]}, "leaves": {"b1": "b", "b2": "b"}}
    >>> identical_nodes(Decay.from_mapping(decay))
    (0, 0, 2)
    """
    leaves = [frozenset([leaf]) for leaf in range(len(decay.leaves))]
    leaves += [frozenset(row.nonzero()[0].tolist()) for row in decay.membership]
    place = {members: node for node, members in enumerate(leaves)}
    first = list(range(len(leaves)))
    for symmetry in decay.symmetries.tolist():
        for node, members in enumerate(leaves):
            image = place[frozenset(symmetry[leaf] for leaf in members)]
            first[image] = min(first[image], node)
    return tuple(first)


def node_momenta(leaves: Tensor, decay: Decay) -> Tensor:
    """Return px, py, pz, energy and b-tag of all nodes: sums over the daughters.

    Sums one after the other and no matrix product, which a GPU may round to ten bits.

    Shapes:
        ``(..., n_leaves, 5)`` → ``(5, n_nodes, ...)``.
    """
    columns = leaves.movedim((-1, -2), (0, 1)).contiguous()
    rows = dict(zip(decay.leaves, columns.unbind(1), strict=True))
    for particle in decay.particles:
        first, *others = (rows[daughter] for daughter in particle.daughters)
        for other in others:
            first = first + other
        rows[particle.name] = first
    return torch.stack([rows[name] for name in decay.names], dim=1)


def physical_features(momenta: Tensor, decay: Decay, reference: str) -> Tensor:
    """Return ``PHYSICAL_FEATURES`` of all nodes.

    These are log pT, η (bounded), cosine and sine of φ - φ(reference), log E, log(1 + m), m in
    100 GeV (bounded), the b-tag, and the mean ΔR of all pairs of daughters (0 for leaves). A node
    without momentum has finite features.

    Args:
        momenta: Of ``node_momenta`` [GeV].
        decay: The decay.
        reference: The node whose azimuth is 0.

    Shapes:
        ``(5, n_nodes, ...)`` → ``(n_nodes, ..., 9)``.
    """
    px, py, pz, energy, tag = momenta
    pt = torch.hypot(px, py)
    some_pt = pt.clamp_min(_TINY)
    eta = torch.asinh(pz / some_pt).clamp(-_LARGEST_ETA, _LARGEST_ETA)
    x, y = px / some_pt, py / some_pt
    zero = decay.names.index(reference)
    cos, sin = x * x[zero] + y * y[zero], y * x[zero] - x * y[zero]
    square = energy.square() - pt.square() - pz.square()
    mass = torch.where(square > _MASS_ROUNDING * energy.square(), square, 0.0).sqrt()
    columns = [
        pt.clamp_min(_SMALLEST).log(),
        eta,
        cos,
        sin,
        energy.clamp_min(_SMALLEST).log(),
        mass.log1p(),
        (mass / _MASS_UNIT).clamp_max(_LARGEST_MASS),
        tag,
        _distances(eta, x, y, decay),
    ]
    return torch.stack(columns, dim=-1)


def _distances(eta: Tensor, x: Tensor, y: Tensor, decay: Decay) -> Tensor:
    """Return the mean ΔR of the daughters of each node; ``(n_nodes, ...)``, 0 for leaves."""
    place = {name: node for node, name in enumerate(decay.names)}
    pairs = [
        [(place[one], place[other]) for one, other in combinations(particle.daughters, 2)]
        for particle in decay.particles
    ]
    one = [pair[0] for own in pairs for pair in own]
    other = [pair[1] for own in pairs for pair in own]
    dot, cross = x[one] * x[other] + y[one] * y[other], x[one] * y[other] - y[one] * x[other]
    delta_r = torch.hypot(eta[one] - eta[other], torch.atan2(cross, dot))
    means = [own.mean(0) for own in delta_r.split([len(own) for own in pairs])]
    return torch.stack([*torch.zeros_like(eta[: len(decay.leaves)]), *means])


def guo_features(momenta: Tensor) -> Tensor:
    """Return ``GUO_FEATURES`` of all nodes, angles in rad.

    As in the author's code φ = arctan(y/x) and θ = arctan(pT/z) fold opposite quadrants together.
    An infinite η, which is 1e11 there, is bounded.

    Shapes:
        ``(5, n_nodes, ...)`` → ``(n_nodes, ..., 7)``.
    """
    px, py, pz, energy, tag = momenta
    pt = torch.hypot(px, py)
    eta = torch.asinh(pz / pt.clamp_min(_TINY)).clamp(-_LARGEST_ETA, _LARGEST_ETA)
    columns: Sequence[Tensor] = (
        torch.hypot(pt, pz),
        eta,
        _folded(pt, pz),
        _folded(py, px),
        energy,
        pt,
        tag,
    )
    return torch.stack(tuple(columns), dim=-1)


def _folded(y: Tensor, x: Tensor) -> Tensor:
    """Return arctan(y/x) in [-π/2, π/2], 0 for the origin."""
    return torch.atan2(torch.where(x < 0, -y, y), x.abs())
