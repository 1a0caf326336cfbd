"""Four-vectors, jet clustering, event shapes, decays: pure functions on numpy arrays."""

from __future__ import annotations

from hepdl.kinematics.assignments import Assignments, Candidates, assign, chi_square, k_best
from hepdl.kinematics.b_tags import highest_tags, order_by_tag
from hepdl.kinematics.candidate_features import candidate_features
from hepdl.kinematics.candidates import hardest_members
from hepdl.kinematics.clustering import TOPOLOGIES, ClusteringHistory, cluster
from hepdl.kinematics.decays import Decay, Particle
from hepdl.kinematics.event_shapes import (
    aplanarity,
    centrality,
    fox_wolfram,
    momentum_tensor_eigenvalues,
    scalar_pt_sum,
    sphericity,
)
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
from hepdl.kinematics.neutrino import W_MASS, Neutrinos, neutrinos_of
from hepdl.kinematics.padding import pad
from hepdl.kinematics.pairs import Pairs, at_largest, at_smallest, mean_of_pairs, pairs_of
from hepdl.kinematics.particles import (
    KINEMATIC_FEATURES,
    PARTICLE_FEATURES,
    hardest,
    order_by_pt,
    particle_features,
)
from hepdl.kinematics.preprocessing import standardise, subjets
from hepdl.kinematics.truth_assignments import (
    Correctness,
    compare_with_truth,
    places_of_partons,
)
from hepdl.kinematics.tth_assignments import (
    CLASSIFICATION_FEATURES,
    RECONSTRUCTION_FEATURES,
    TTH_DECAY,
    TTH_PARTONS,
    tth_assignment_features,
    tth_candidates,
)
from hepdl.kinematics.tth_features import ATLAS_FEATURES, TTH_FEATURES, tth_features

__all__ = [
    "ATLAS_FEATURES",
    "CLASSIFICATION_FEATURES",
    "FOUR_VECTOR_NAMES",
    "KINEMATIC_FEATURES",
    "NODE_FEATURES",
    "PARTICLE_FEATURES",
    "RECONSTRUCTION_FEATURES",
    "TOPOLOGIES",
    "TTH_DECAY",
    "TTH_FEATURES",
    "TTH_PARTONS",
    "W_MASS",
    "Assignments",
    "Candidates",
    "ClusteringHistory",
    "Correctness",
    "Decay",
    "Neutrinos",
    "Pairs",
    "Particle",
    "TreeLayout",
    "aplanarity",
    "assign",
    "at_largest",
    "at_smallest",
    "breadth_first",
    "build",
    "candidate_features",
    "cartesian",
    "centrality",
    "chi_square",
    "cluster",
    "compare_with_truth",
    "delta_phi",
    "delta_r",
    "eta",
    "fox_wolfram",
    "from_pt_eta_phi",
    "hardest",
    "hardest_members",
    "highest_tags",
    "k_best",
    "mass",
    "mean_of_pairs",
    "momentum",
    "momentum_tensor_eigenvalues",
    "neutrinos_of",
    "node_features",
    "order_by_pt",
    "order_by_tag",
    "pad",
    "pairs_of",
    "particle_features",
    "phi",
    "places_of_partons",
    "pt",
    "rapidity",
    "scalar_pt_sum",
    "sphericity",
    "standardise",
    "subjets",
    "tth_assignment_features",
    "tth_candidates",
    "tth_features",
]
