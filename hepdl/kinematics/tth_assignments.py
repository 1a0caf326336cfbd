"""The decay ttH(bb) → lepton + jets, its candidates, and the features of an assignment.

The features are those of ATLAS' reconstruction BDT for at least 6 jets and 4 b-tags, "with Higgs"
(19), the six tag bins that Guo's LSTM reads beside them (25 in all), and those that the
classification BDT takes from the best assignment. ATLAS' names, and ours:

| ATLAS | here | ATLAS | here |
|---|---|---|---|
| leptop_mass | mass_top_lep | bhadTopq1hadW_dR | delta_r_b_had_q1 |
| hadtop_mass | mass_top_had | bhadTopq2hadW_dR | delta_r_b_had_q2 |
| hadW_mass | mass_w_had | minbhadTopqhadW_dR | delta_r_b_had_q_min |
| hadWblepTop_mass | mass_w_had_b_lep | diff_mindRbhadTopqhadW_dRlepblepTop | delta_r_difference |
| lepWbhadTop_mass | mass_w_lep_b_had | Higgs_mass | mass_higgs |
| hadWbhadTop_dR | delta_r_w_had_b_had | bbHiggs_dR | delta_r_b1_b2 |
| hadWblepTop_dR | delta_r_w_had_b_lep | lepb1Higgs_dR | delta_r_lepton_b1 |
| lepblepTop_dR | delta_r_lepton_b_lep | Higgsq1hadW_mass | mass_higgs_q1 |
| lepbhadTop_dR | delta_r_lepton_b_had | Higgsbleptop_mass | mass_higgs_b_lep |
| qqhadW_dR | delta_r_q1_q2 | Higgsleptop_dR | delta_r_higgs_top_lep |
| blepTopbhadTop_dR | delta_r_b_lep_b_had | Higgsttbar_dR | delta_r_higgs_tt |

Of identical daughters the one of larger pT comes first. The likelihood discriminant is left out.

Reference:
    ATLAS, arXiv:1712.08895, and its public software (package TTHbbLeptonic of AthAnalysis, classes
    TTHSemilepReco and TTHSemilepClassBDT, strategy "b4l4"; RecoCombinationsDecorator); Z. Guo's
    public code tthbb_binary_lstm_plain for the list of 25.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepdl.kinematics import fourvectors
from hepdl.kinematics.assignment_geometry import masses_and_distances
from hepdl.kinematics.assignments import Assignments, Candidates
from hepdl.kinematics.b_tags import highest_tags
from hepdl.kinematics.candidates import hardest_members

__all__ = [
    "CLASSIFICATION_FEATURES",
    "RECONSTRUCTION_FEATURES",
    "TTH_DECAY",
    "TTH_PARTONS",
    "tth_assignment_features",
    "tth_candidates",
]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Where the masses of truth-matched candidates lie and how wide: median and half of the central 68 %
# of 5000 events of the generator `pythia_tth` with its default options, rounded. They lie below the
# pole masses, since jets lose radiation and the neutrinos of b-hadrons; the leptonic top is made with
# the better of the two neutrinos. Set them in YAML for another detector.
TTH_DECAY: dict[str, Any] = {
    "particles": {
        "tth": ["tt", "higgs"],
        "tt": ["top_lep", "top_had"],
        "top_lep": {"daughters": ["w_lep", "b_lep"], "mass": 172.5, "resolution": 24.0},
        "w_lep": ["lepton", "neutrino"],
        "top_had": {"daughters": ["w_had", "b_had"], "mass": 164.0, "resolution": 21.0},
        "w_had": {"daughters": ["q1", "q2"], "mass": 78.0, "resolution": 13.0},
        "higgs": {"daughters": ["b1", "b2"], "mass": 111.0, "resolution": 18.0},
    },
    "leaves": {
        "lepton": "lepton",
        "neutrino": "neutrino",
        "b_lep": "b_jet",
        "q1": "light_jet",
        "q2": "light_jet",
        "b_had": "b_jet",
        "b1": "b_jet",
        "b2": "b_jet",
    },
}

# The numbers by which the generator `pythia_tth` marks matched jets.
TTH_PARTONS = {"b_lep": 1, "b_had": 2, "q1": 3, "q2": 4, "b1": 5, "b2": 6}

_TAGS = (
    "b_tag_b_had",
    "b_tag_b_lep",
    "b_tag_b1",
    "b_tag_b2",
    "b_tag_q_max",
    "b_tag_q_min",
)

# The 25 inputs of Guo's LSTM; the first 19 are those of ATLAS' reconstruction BDT.
RECONSTRUCTION_FEATURES = (
    "mass_top_lep",
    "mass_top_had",
    "mass_w_had",
    "mass_w_had_b_lep",
    "mass_w_lep_b_had",
    "delta_r_w_had_b_had",
    "delta_r_w_had_b_lep",
    "delta_r_lepton_b_lep",
    "delta_r_lepton_b_had",
    "delta_r_q1_q2",
    "delta_r_b_lep_b_had",
    "delta_r_b_had_q1",
    "delta_r_b_had_q2",
    "delta_r_b_had_q_min",
    "delta_r_difference",
    "mass_higgs",
    "delta_r_b1_b2",
    "delta_r_lepton_b1",
    "mass_higgs_q1",
    *_TAGS,
)

# What ATLAS' classification BDT takes from the best assignment, beside its score.
CLASSIFICATION_FEATURES = (
    "mass_higgs",
    "delta_r_b1_b2",
    "delta_r_higgs_top_lep",
    "mass_higgs_b_lep",
    "delta_r_higgs_tt",
    "b_tag_higgs",
)

_MASSES = {
    "mass_top_lep": ("top_lep",),
    "mass_top_had": ("top_had",),
    "mass_w_had": ("w_had",),
    "mass_higgs": ("higgs",),
    "mass_w_had_b_lep": ("w_had", "b_lep"),
    "mass_w_lep_b_had": ("w_lep", "b_had"),
    "mass_higgs_q1": ("higgs", "q1"),
    "mass_higgs_b_lep": ("higgs", "b_lep"),
}

_DISTANCES = {
    "delta_r_w_had_b_had": ("w_had", "b_had"),
    "delta_r_w_had_b_lep": ("w_had", "b_lep"),
    "delta_r_lepton_b_lep": ("lepton", "b_lep"),
    "delta_r_lepton_b_had": ("lepton", "b_had"),
    "delta_r_q1_q2": ("q1", "q2"),
    "delta_r_b_lep_b_had": ("b_lep", "b_had"),
    "delta_r_b_had_q1": ("b_had", "q1"),
    "delta_r_b_had_q2": ("b_had", "q2"),
    "delta_r_b1_b2": ("b1", "b2"),
    "delta_r_lepton_b1": ("lepton", "b1"),
    "delta_r_higgs_top_lep": ("higgs", "top_lep"),
    "delta_r_higgs_tt": ("higgs", "tt"),
}


def tth_candidates(
    jets: Array, b_tag: IntArray, mask: Mask, is_real: Mask, *, n_b: int = 4, n_light: int = 4
) -> dict[str, Candidates]:
    """Return the candidates of ``TTH_DECAY``: ATLAS' "b4l4".

    The ``n_b`` jets of highest tag are the candidates for b-jets, the ``n_light`` leading ones of
    the others those for the jets of the W. Both come by falling pT.

    Args:
        jets: Jets of each event, by falling pT [GeV].
        b_tag: Their tag bin.
        mask: True for real jets.
        is_real: Whether the neutrino has two different solutions.
        n_b: Number of candidates for b-jets.
        n_light: Number of candidates for light jets.

    Shapes:
        jets ``(n_events, n_jets, 4)``, b_tag, mask ``(n_events, n_jets)``, is_real ``(n_events,)``.
    """
    pt = np.where(mask, fourvectors.pt(jets), 0.0)
    is_b = highest_tags(b_tag, pt, mask, n=n_b)
    only = np.zeros((len(jets), 1), dtype=np.int64)
    second = np.where(is_real, 1, -1)
    return {
        "b_jet": Candidates("jets", hardest_members(pt, is_b, n_b)),
        "light_jet": Candidates("jets", hardest_members(pt, mask & ~is_b, n_light)),
        "lepton": Candidates("lepton", only),
        "neutrino": Candidates("neutrino", np.column_stack([only, second])),
    }


def tth_assignment_features(
    assignments: Assignments,
    momenta: Mapping[str, Array],
    b_tag: IntArray,
    chosen: IntArray | None = None,
) -> dict[str, Array]:
    """Return the features of assignments of ``TTH_DECAY``; see the module.

    Args:
        assignments: The assignments.
        momenta: Four-vectors of ``jets``, ``lepton`` and ``neutrino`` [GeV].
        b_tag: Tag bins of the jets.
        chosen: Which assignments of each event (see ``k_best``); without it, all.

    Shapes:
        b_tag ``(n_events, n_jets)``, chosen ``(n_events, n_chosen)`` → each
        ``(n_events, n_chosen)``; masses in GeV; NaN where there is no assignment.
    """
    masses, distances = masses_and_distances(
        assignments,
        momenta,
        masses=tuple(_MASSES.values()),
        distances=tuple(_DISTANCES.values()),
        chosen=chosen,
    )
    found: dict[str, Array] = dict(zip(_MASSES, masses, strict=True))
    found |= zip(_DISTANCES, distances, strict=True)
    nearest_q = np.minimum(found["delta_r_b_had_q1"], found["delta_r_b_had_q2"])
    found["delta_r_b_had_q_min"] = nearest_q
    found["delta_r_difference"] = nearest_q - found["delta_r_lepton_b_lep"]
    tags = {
        leaf: assignments.values(leaf, b_tag.astype(np.float64), chosen)
        for leaf in ("b_lep", "b_had", "b1", "b2", "q1", "q2")
    }
    found |= {f"b_tag_{leaf}": tags[leaf] for leaf in ("b_had", "b_lep", "b1", "b2")}
    found["b_tag_q_max"] = np.maximum(tags["q1"], tags["q2"])
    found["b_tag_q_min"] = np.minimum(tags["q1"], tags["q2"])
    found["b_tag_higgs"] = tags["b1"] + tags["b2"]
    return found
