"""From visible particles to selected jets with constituents and substructure.

Reference: M. Cacciari, G. P. Salam and G. Soyez, "FastJet user manual", Eur. Phys. J. C 72 (2012)
1896, arXiv:1111.6097.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.simulate.showering.engines import load_fastjet
from hepdl.simulate.showering.events import Collisions
from hepdl.simulate.showering.options import JetOptions
from hepdl.simulate.showering.substructure import n_subjettiness_ratio, soft_drop_mass
from hepdl.simulate.showering.towers import build_towers

__all__ = ["MATCHING_RADIUS", "jets_from"]

# A jet is a W jet if the W boson, after all recoils, points this close to the jet axis.
MATCHING_RADIUS = 0.6

Floats = npt.NDArray[np.float64]


def jets_from(collisions: Collisions, options: JetOptions) -> ak.Array:
    """Return the selected jets of some collisions, in the order of the events.

    Args:
        collisions: What Pythia made.
        options: Windows, radius and level.

    Returns:
        One record a jet: ``event`` (row in ``collisions``), ``generator_weight``, the jet's
        kinematics and substructure, and its constituents by decreasing pT.
    """
    fastjet = load_fastjet()
    objects = collisions.particles
    if options.level == "towers":
        objects = build_towers(
            objects, tower_size=options.tower_size, threshold=options.tower_threshold
        )
    objects = objects[["px", "py", "pz", "E"]]
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, options.jet_radius)
    sequence = fastjet.ClusterSequence(objects, definition)
    jets = sequence.inclusive_jets(min_pt=options.pt[0])
    members = sequence.constituent_index(min_pt=options.pt[0])

    event = np.repeat(np.arange(len(objects)), ak.to_numpy(ak.num(jets, axis=1)))
    jet_p4 = _four_vectors(ak.flatten(jets, axis=1))
    selected = _select(jet_p4, event, collisions, options)
    event, jet_p4 = event[selected], jet_p4[selected]
    constituents = objects[event][ak.flatten(members, axis=1)[selected]]
    return _records(event, jet_p4, constituents, collisions, options)


def _select(
    jet_p4: Floats, event: npt.NDArray[np.int64], collisions: Collisions, options: JetOptions
) -> npt.NDArray[np.bool_]:
    """Return which jets are inside all windows and, for W jets, matched to the W boson."""
    pt, eta, phi, mass = _coordinates(jet_p4)
    selected = (pt >= options.pt[0]) & (pt < options.pt[1]) & (np.abs(eta) < options.eta_max)
    if options.mass is not None:
        selected &= (mass >= options.mass[0]) & (mass < options.mass[1])
    if collisions.w_boson is not None:
        px, py, pz = collisions.w_boson[event].T
        delta_eta = eta - np.arcsinh(pz / np.hypot(px, py))
        delta_phi = np.remainder(phi - np.arctan2(py, px) + np.pi, 2.0 * np.pi) - np.pi
        # False for an event without a W boson, where the distance is NaN.
        selected &= np.hypot(delta_eta, delta_phi) < MATCHING_RADIUS
    return selected


def _records(
    event: npt.NDArray[np.int64],
    jet_p4: Floats,
    constituents: ak.Array,
    collisions: Collisions,
    options: JetOptions,
) -> ak.Array:
    """Return the record of each selected jet, stored in single precision."""
    pt, eta, phi, mass = _coordinates(jet_p4)
    if len(event):
        tau21 = n_subjettiness_ratio(constituents, jet_radius=options.jet_radius)
        groomed_mass = soft_drop_mass(constituents, jet_radius=options.jet_radius)
    else:
        tau21 = groomed_mass = np.zeros(0)
    n_constituents = ak.to_numpy(ak.num(constituents, axis=1))
    flat = {
        "generator_weight": collisions.event_weight[event],
        "jet_pt": pt,
        "jet_eta": eta,
        "jet_phi": phi,
        "jet_mass": mass,
        "soft_drop_mass": groomed_mass,
        "tau21": tau21,
    }
    columns: dict[str, npt.NDArray[np.generic] | ak.Array] = {
        name: column.astype(np.float32) for name, column in flat.items()
    }
    columns["n_constituents"] = n_constituents.astype(np.int32)
    columns["constituents"] = _constituents(constituents, n_constituents)
    return ak.zip({"event": event, **columns}, depth_limit=1)


def _constituents(constituents: ak.Array, counts: npt.NDArray[np.int64]) -> ak.Array:
    """Return ``pt, eta, phi, energy`` of the constituents of each jet by decreasing pT."""
    p4 = _four_vectors(ak.flatten(constituents, axis=1))
    pt, eta, phi, _ = _coordinates(p4)
    jet = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((-pt, jet))
    columns = {"pt": pt, "eta": eta, "phi": phi, "energy": p4[:, 3]}
    flat = ak.zip({name: column[order].astype(np.float32) for name, column in columns.items()})
    return ak.unflatten(flat, counts)


def _four_vectors(flat: ak.Array) -> Floats:
    """Return ``(n, 4)``: px, py, pz, energy [GeV]."""
    columns = [np.asarray(ak.to_numpy(flat[name])) for name in ("px", "py", "pz", "E")]
    return np.stack(columns, axis=1).astype(np.float64)


def _coordinates(p4: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return pT [GeV], eta, phi [rad] in (-pi, pi] and mass [GeV], each ``(n,)``."""
    px, py, pz, energy = p4.T
    pt = np.hypot(px, py)
    mass_squared = energy**2 - pt**2 - pz**2
    return pt, np.arcsinh(pz / pt), np.arctan2(py, px), np.sqrt(np.maximum(mass_squared, 0.0))
