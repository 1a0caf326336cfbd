"""Four-vectors, angles, jet clustering and its history: pure functions on numpy arrays."""

from __future__ import annotations

from hepdl.kinematics.clustering import TOPOLOGIES, ClusteringHistory, cluster
from hepdl.kinematics.fourvectors import (
    FOUR_VECTOR_NAMES,
    cartesian,
    delta_phi,
    delta_r,
    eta,
    from_pt_eta_phi,
    mass,
    momentum,
    phi,
    pt,
    rapidity,
)
from hepdl.kinematics.jet_tree import (
    NODE_FEATURES,
    TreeLayout,
    breadth_first,
    build,
    node_features,
)
from hepdl.kinematics.particles import (
    KINEMATIC_FEATURES,
    PARTICLE_FEATURES,
    hardest,
    order_by_pt,
    particle_features,
)
from hepdl.kinematics.preprocessing import standardise, subjets

__all__ = [
    "FOUR_VECTOR_NAMES",
    "KINEMATIC_FEATURES",
    "NODE_FEATURES",
    "PARTICLE_FEATURES",
    "TOPOLOGIES",
    "ClusteringHistory",
    "TreeLayout",
    "breadth_first",
    "build",
    "cartesian",
    "cluster",
    "delta_phi",
    "delta_r",
    "eta",
    "from_pt_eta_phi",
    "hardest",
    "mass",
    "momentum",
    "node_features",
    "order_by_pt",
    "particle_features",
    "phi",
    "pt",
    "rapidity",
    "standardise",
    "subjets",
]
