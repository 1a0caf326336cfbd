"""Which measured events are selected, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.simulate.detector.b_tagging import count_tags, tag_bins
from hepdl.simulate.detector.flavour import BOTTOM, CHARM
from hepdl.simulate.detector.leptons import ELECTRON, are_isolated
from hepdl.simulate.detector.measurement import Measured
from hepdl.simulate.detector.missing_momentum import missing_momentum
from hepdl.simulate.detector.parton_matching import match_partons, partons_of_jets
from hepdl.simulate.detector.smearing import scale_factor
from hepdl.simulate.detector.truth_tagging import draw_tags
from hepdl.simulate.showering.top_options import TopOptions

__all__ = ["FIELDS", "select_events"]

# What every event has.
FIELDS = (
    "event_number",
    "run_number",
    "mc_weight",
    "tag_weight",
    "generated_weight",
    "lepton_pt",
    "lepton_eta",
    "lepton_phi",
    "lepton_energy",
    "lepton_charge",
    "lepton_is_electron",
    "met",
    "met_phi",
    "n_jets",
    "n_b_tags",
    "truth_n_b_jets",
    "truth_n_c_jets",
    "truth_n_overlaps",
    "jets.pt",
    "jets.eta",
    "jets.phi",
    "jets.energy",
    "jets.b_tag",
    "jets.truth_flavour",
    "jets.truth_parton",
)
JET_ETA_MAX = 2.5

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Jets:
    """The jets of some events by falling measured pT, ``(n_events, n_jets)``."""

    pt: Floats
    eta: Floats
    phi: Floats
    energy: Floats
    flavour: npt.NDArray[np.int8]
    tag: Floats
    is_selected: Bools

    def take(self, events: Bools) -> _Jets:
        """Return the jets of some events."""
        return _Jets(*(column[events] for column in vars(self).values()))


def select_events(
    measured: Measured, event_weight: Floats, options: TopOptions, *, variation: str
) -> ak.Array:
    """Return the selected events in one variation of the jet energy scale.

    Exactly one lepton with enough pT and no jet within 0.4, jets with enough pT and |eta| < 2.5,
    and b-tags: with hard tagging a cut, with truth tagging a weight.

    Args:
        measured: Some events.
        event_weight: Their weight as the generator gives it, ``(n_events,)``.
        options: Cuts.
        variation: ``"nominal"``, ``"jes_up"`` or ``"jes_down"``.

    Returns:
        One record an event with ``FIELDS``, but ``event`` (the row in ``measured``) in place of its
        numbers, and no ``generated_weight``.
    """
    pt = np.hypot(measured.jets[..., 0], measured.jets[..., 1])
    p4 = measured.jets * scale_factor(pt, variation)[..., None]
    jets = _ordered(p4, measured, options)
    _, eta, phi = measured.truth.lepton.T
    kept = (
        (measured.lepton_pt > options.lepton_pt)
        & (jets.is_selected.sum(axis=1) >= options.minimum_jets)
        & are_isolated(eta, phi, jets.eta, jets.phi, jets.is_selected)
    )
    jets = jets.take(kept)
    tags, tag_weight = _tags(jets, options)
    n_tags = count_tags(tags, working_point=options.working_point)
    if options.b_tagging == "hard":
        passed = n_tags >= options.minimum_b_tags
        jets, tags, tag_weight, n_tags = (
            jets.take(passed),
            tags[passed],
            tag_weight[passed],
            n_tags[passed],
        )
        kept[kept] = passed
    flat = _flat(measured, p4, kept)
    flat["mc_weight"] = event_weight[kept].astype(np.float32)
    flat["tag_weight"] = tag_weight.astype(np.float32)
    flat["n_b_tags"] = n_tags.astype(np.int32)
    collection, counted = _collection(measured.truth.partons[kept], jets, tags)
    names = [name for name in FIELDS if "." not in name]
    columns = {"event": np.flatnonzero(kept), **flat, **counted}
    columns = {name: columns[name] for name in ("event", *names) if name in columns}
    return ak.zip({**columns, "jets": collection}, depth_limit=1)


def _ordered(p4: Floats, measured: Measured, options: TopOptions) -> _Jets:
    """Return the jets by falling pT; those that are not selected come last."""
    px, py, pz, energy = np.moveaxis(p4, -1, 0)
    pt = np.hypot(px, py)
    eta = np.arcsinh(pz / np.maximum(pt, 1e-9))
    is_selected = (pt > options.jet_pt) & (np.abs(eta) < JET_ETA_MAX)
    order = np.argsort(np.where(is_selected, -pt, np.inf), axis=1, kind="stable")
    columns = (pt, eta, np.arctan2(py, px), energy, measured.truth.flavour, measured.tag)
    ordered = (np.take_along_axis(column, order, axis=1) for column in (*columns, is_selected))
    return _Jets(*ordered)


def _tags(jets: _Jets, options: TopOptions) -> tuple[npt.NDArray[np.int8], Floats]:
    """Return the bin of each jet and the weight of each event."""
    if options.b_tagging == "hard":
        return tag_bins(jets.flavour, jets.tag, jets.is_selected), np.ones(len(jets.pt))
    return draw_tags(
        jets.flavour,
        jets.tag,
        jets.is_selected,
        minimum=options.minimum_b_tags,
        working_point=options.working_point,
    )


def _flat(measured: Measured, p4: Floats, kept: Bools) -> dict[str, npt.NDArray[np.generic]]:
    """Return lepton and missing momentum of the kept events."""
    pt = measured.lepton_pt[kept]
    _, eta, phi = measured.truth.lepton[kept].T
    identity = measured.truth.identity[kept]
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi)], axis=1)
    met, met_phi = missing_momentum(p4[kept][..., :2], momentum, measured.soft[kept])
    kinematics = {
        "lepton_pt": pt,
        "lepton_eta": eta,
        "lepton_phi": phi,
        # Masses of electrons and muons are lost in the resolution.
        "lepton_energy": pt * np.cosh(eta),
        "met": met,
        "met_phi": met_phi,
    }
    columns: dict[str, npt.NDArray[np.generic]] = {
        name: column.astype(np.float32) for name, column in kinematics.items()
    }
    columns["lepton_charge"] = (-np.sign(identity)).astype(np.int32)
    columns["lepton_is_electron"] = (np.abs(identity) == ELECTRON).astype(np.int32)
    return columns


def _collection(
    partons: Floats, jets: _Jets, tags: npt.NDArray[np.int8]
) -> tuple[ak.Array, dict[str, npt.NDArray[np.int32]]]:
    """Return the jets as a collection, and what is counted of them."""
    selected = jets.is_selected
    matched, n_overlaps = match_partons(
        partons[..., 0], partons[..., 1], jets.eta, jets.phi, selected
    )
    columns = {
        "pt": jets.pt.astype(np.float32),
        "eta": jets.eta.astype(np.float32),
        "phi": jets.phi.astype(np.float32),
        "energy": jets.energy.astype(np.float32),
        "b_tag": tags.astype(np.int32),
        "truth_flavour": jets.flavour.astype(np.int32),
        "truth_parton": partons_of_jets(matched, selected.shape[1]).astype(np.int32),
    }
    counts = selected.sum(axis=1)
    flat = ak.zip({name: column[selected] for name, column in columns.items()})
    counted = {
        "n_jets": counts,
        "truth_n_b_jets": (selected & (jets.flavour == BOTTOM)).sum(axis=1),
        "truth_n_c_jets": (selected & (jets.flavour == CHARM)).sum(axis=1),
        "truth_n_overlaps": n_overlaps,
    }
    return ak.unflatten(flat, counts), {
        name: values.astype(np.int32) for name, values in counted.items()
    }
