"""Features of a whole lepton + jets event, for ttH(bb) against tt + jets.

``ATLAS_FEATURES`` is the list of ATLAS' classification BDT for at least 6 jets and 4 b-tags, less
what comes from an assignment (``hepdl.kinematics.tth_assignments``) and less the likelihood
discriminant, which needs templates of its own and is left out. ``TTH_FEATURES`` has more: the shape
of b-jets and of everything, further pairs, tags and momenta. ATLAS' names, and ours:

| ATLAS | here | what it is |
|---|---|---|
| Centrality_all | centrality_all | Σ pT / Σ E of jets and lepton |
| Mbb_MindR | mass_bb_min_delta_r | mass of the two b-jets that are closest |
| dRbb_MaxPt | delta_r_bb_max_pt | ΔR of the two b-jets of largest common pT |
| pT_jet5 | pt_jet5 | pT of the fifth jet by pT |
| H1_all | h1_all | Fox-Wolfram moment H_1 of jets and lepton, over (Σ E)² |
| dRbb_avg | delta_r_bb_mean | mean ΔR of all pairs of b-jets |
| nHiggsbb30 | n_higgs_bb_30 | pairs of b-jets with a mass within 30 GeV of 125 GeV |
| dEtajj_MaxdEta | delta_eta_jj_max | largest distance in η of two jets |
| Aplanarity_jets | aplanarity_jets | 3/2 λ₃ of the jets |
| jet_mv2_order_3…5_tagWeightBin | b_tag_3 … b_tag_5 | tag bins, in the order of tags |

"b-jets" are the four jets of highest tag (ATLAS' Sort4), also in an event with three tags.

Reference:
    ATLAS, arXiv:1712.08895, and its public software (packages TTHbbLeptonic, class
    TTHSemilepClassBDT, and MVAVariables of AthAnalysis); Z. Guo's public code
    tthbb_binary_lstm_plain for aplanarity_b_jets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hepdl.errors import DataError
from hepdl.kinematics import event_shapes, fourvectors
from hepdl.kinematics.b_tags import highest_tags, order_by_tag
from hepdl.kinematics.pairs import Pairs, at_largest, at_smallest, mean_of_pairs, pairs_of

__all__ = ["ATLAS_FEATURES", "TTH_FEATURES", "tth_features"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ATLAS_FEATURES = (
    "centrality_all",
    "mass_bb_min_delta_r",
    "delta_r_bb_max_pt",
    "pt_jet5",
    "h1_all",
    "delta_r_bb_mean",
    "n_higgs_bb_30",
    "delta_eta_jj_max",
    "aplanarity_jets",
    "b_tag_3",
    "b_tag_4",
    "b_tag_5",
)

TTH_FEATURES = (
    *ATLAS_FEATURES,
    "n_jets",
    "scalar_pt_sum_all",
    "mass_all",
    "h0_all",
    "h2_all",
    "h3_all",
    "h4_all",
    "sphericity_jets",
    "sphericity_b_jets",
    "aplanarity_b_jets",
    "delta_r_bb_min",
    "mass_bb_min",
    "mass_bb_max",
    "mass_bb_max_pt",
    "mass_bb_higgs",
    "mass_jj_min_delta_r",
    "delta_r_lepton_b_min",
    "b_tag_1",
    "b_tag_2",
    "b_tag_6",
    "b_tag_sum",
    "pt_jet1",
    "pt_jet2",
    "pt_jet3",
    "pt_jet4",
    "pt_jet6",
)

# Mass and window as in MVAVariables; the window is open.
_HIGGS_MASS = 125.0
_HIGGS_WINDOW = 30.0
# pT_jet5 needs five; b_tag_6 and pt_jet6 are 0 in an event of five jets.
_FEWEST_JETS = 5


def tth_features(
    jets: Array, b_tag: NDArray[np.number], mask: Mask, lepton: Array
) -> dict[str, Array]:
    """Return ``TTH_FEATURES`` of each event.

    Args:
        jets: Jets, by falling pT [GeV].
        b_tag: Their tag bin, rising with the belief in a b-jet.
        mask: True for real jets.
        lepton: Four-vector of the lepton [GeV].

    Shapes:
        jets ``(n_events, n_jets, 4)``, b_tag, mask ``(n_events, n_jets)``, lepton
        ``(n_events, 4)`` → each ``(n_events,)``; masses and momenta in GeV.

    Raises:
        DataError: An event has no lepton, fewer than five jets, or jets that are not ordered.
    """
    pt = np.where(mask, fourvectors.pt(jets), 0.0)
    _refuse_unusable(pt, mask, fourvectors.pt(lepton))
    everything = np.concatenate([jets, lepton[:, None]], axis=1)
    is_object = np.concatenate([mask, np.ones((len(jets), 1), dtype=bool)], axis=1)
    is_b = highest_tags(b_tag, pt, mask)
    moments = event_shapes.fox_wolfram(everything, is_object)
    all_pairs = pairs_of(jets, mask)
    found = {
        "n_jets": mask.sum(axis=1).astype(np.float64),
        "centrality_all": event_shapes.centrality(everything, is_object),
        "scalar_pt_sum_all": event_shapes.scalar_pt_sum(everything, is_object),
        "mass_all": fourvectors.mass(np.where(is_object[..., None], everything, 0.0).sum(axis=1)),
        "sphericity_jets": event_shapes.sphericity(jets, mask),
        "aplanarity_jets": event_shapes.aplanarity(jets, mask),
        "sphericity_b_jets": event_shapes.sphericity(jets, is_b),
        "aplanarity_b_jets": event_shapes.aplanarity(jets, is_b),
        "delta_eta_jj_max": all_pairs.delta_eta.max(axis=1),
        "mass_jj_min_delta_r": at_smallest(all_pairs.mass, all_pairs.delta_r, all_pairs.mask),
        "delta_r_lepton_b_min": _closest(lepton, jets, is_b),
    }
    found |= {f"h{order}_all": moments[:, order] for order in range(moments.shape[1])}
    found |= _b_pairs(all_pairs, is_b)
    found |= _ranked("pt_jet", pt)
    ordered = np.take_along_axis(np.where(mask, b_tag, 0), order_by_tag(b_tag, pt, mask), axis=1)
    tags = _ranked("b_tag_", ordered.astype(np.float64))
    found |= tags
    found["b_tag_sum"] = np.sum([*tags.values()], axis=0)
    return {name: found[name] for name in TTH_FEATURES}


def _b_pairs(pairs: Pairs, is_b: Mask) -> dict[str, Array]:
    """Return what is made of pairs of b-jets."""
    both = is_b[:, pairs.first] & is_b[:, pairs.second]
    off = np.abs(pairs.mass - _HIGGS_MASS)
    return {
        "mass_bb_min_delta_r": at_smallest(pairs.mass, pairs.delta_r, both),
        "delta_r_bb_max_pt": at_largest(pairs.delta_r, pairs.pt, both),
        "mass_bb_max_pt": at_largest(pairs.mass, pairs.pt, both),
        "delta_r_bb_mean": mean_of_pairs(pairs.delta_r, both),
        "delta_r_bb_min": at_smallest(pairs.delta_r, pairs.delta_r, both),
        "mass_bb_min": at_smallest(pairs.mass, pairs.mass, both),
        "mass_bb_max": at_largest(pairs.mass, pairs.mass, both),
        "mass_bb_higgs": at_smallest(pairs.mass, off, both),
        "n_higgs_bb_30": (both & (off < _HIGGS_WINDOW)).sum(axis=1).astype(np.float64),
    }


def _closest(lepton: Array, jets: Array, is_b: Mask) -> Array:
    """Return ΔR of the lepton and the b-jet next to it."""
    eta, phi = fourvectors.eta(jets), fourvectors.phi(jets)
    of_lepton = fourvectors.eta(lepton)[:, None], fourvectors.phi(lepton)[:, None]
    with np.errstate(invalid="ignore"):
        distance = fourvectors.delta_r(eta, phi, *of_lepton)
    return np.asarray(np.where(is_b, distance, np.inf).min(axis=1), dtype=np.float64)


def _ranked(prefix: str, values: Array, *, n: int = 6) -> dict[str, Array]:
    """Return the first ``n`` columns by name, counted from 1; 0 where there are fewer."""
    padded = np.zeros((len(values), n))
    padded[:, : values.shape[1]] = values[:, :n]
    return {f"{prefix}{rank + 1}": padded[:, rank] for rank in range(n)}


def _refuse_unusable(pt: Array, mask: Mask, lepton_pt: Array) -> None:
    """Raise if an event has no lepton, too few jets, or jets in another order."""
    is_lepton = (lepton_pt > 0.0) & np.isfinite(lepton_pt)
    if not is_lepton.all():
        event = int(np.argmin(is_lepton))
        message = (
            f"event {event}: lepton pT is {lepton_pt[event]:g} GeV, and {int((~is_lepton).sum())} of "
            f"{len(mask)} events have no lepton; select events with one"
        )
        raise DataError(message)
    count = mask.sum(axis=1)
    if (count < _FEWEST_JETS).any():
        event = int(np.argmax(count < _FEWEST_JETS))
        message = (
            f"event {event} has {count[event]} jets (and {int((count < _FEWEST_JETS).sum())} of "
            f"{len(count)} events have fewer than {_FEWEST_JETS}); pt_jet5 needs {_FEWEST_JETS}: "
            "put a cut on the number of jets into the selection of the schema"
        )
        raise DataError(message)
    # Equal momenta come out of single precision and of px and py with other last digits.
    rises = (np.diff(pt, axis=1) > 1e-6 * pt[:, :-1]).any(axis=1)
    if rises.any():
        event = int(np.argmax(rises))
        listed = ", ".join(f"{value:.1f}" for value in pt[event][mask[event]])
        message = f"event {event}: jets of {listed} GeV are not ordered by falling pT; sort them"
        raise DataError(message)
