"""From the particles of events with top quarks to true jets, lepton, flavours and partons.

Reference: M. Cacciari, G. P. Salam and G. Soyez, "FastJet user manual", Eur. Phys. J. C 72 (2012)
1896, arXiv:1111.6097.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.simulate.detector.flavour import (
    BOTTOM,
    CHARM,
    HADRON_PT,
    are_last_hadrons,
    contains_quark,
    label_jets,
)
from hepdl.simulate.detector.leptons import are_found
from hepdl.simulate.detector.measurement import MAX_JETS, TrueEvents
from hepdl.simulate.detector.padding import pad_rows
from hepdl.simulate.showering.engines import load_fastjet
from hepdl.simulate.showering.top_events import Particles, hard_partons, prompt_leptons

__all__ = ["true_events"]

JET_RADIUS = 0.4
# Jets below are part of the soft term; the selection begins at 20 GeV or more.
TRUE_JET_PT = 15.0
VISIBLE_ETA_MAX = 4.9
LEPTON_ETA_MAX = 2.5
# Of the lepton whose event is worth clustering, as a fraction of the cut: 10 resolutions.
LEPTON_PT_MARGIN = 0.8
# A D meson is 411.
LIGHTEST_HEAVY_HADRON = 400
# Where pT is 0, and where a jet is only padding: away from everything.
FAR = 99.0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def true_events(
    particles: Particles, random: np.random.Generator, *, lepton_pt: float
) -> TrueEvents:
    """Return what there is to be measured in each event.

    Only events with a lepton that the detector finds have jets: the others cannot be selected, and
    clustering is a third of the work.

    Args:
        particles: Some collisions.
        random: One number an event is drawn for the efficiency of the lepton.
        lepton_pt: Cut on the measured pT of the lepton [GeV].
    """
    n_events = particles.n_events
    rows = prompt_leptons(particles)
    lepton, identity = _leptons(particles, rows, random, pt_min=LEPTON_PT_MARGIN * lepton_pt)
    has_lepton = identity != 0
    visible = particles.is_visible & has_lepton[particles.event]
    px, py, pz, _ = particles.p4.T
    # |eta| < limit without a logarithm for each particle.
    visible &= np.abs(pz) < np.sinh(VISIBLE_ETA_MAX) * np.hypot(px, py)
    visible[rows[has_lepton]] = False
    jets = _jets(particles, visible)
    jet_pt = np.hypot(jets[..., 0], jets[..., 1])
    eta = np.where(jet_pt > 0.0, np.arcsinh(jets[..., 2] / np.maximum(jet_pt, 1e-9)), FAR)
    flavour = label_jets(eta, np.arctan2(jets[..., 1], jets[..., 0]), _hadrons(particles))
    total = [
        np.bincount(particles.event[visible], component[visible], minlength=n_events)
        for component in (px, py)
    ]
    return TrueEvents(
        lepton=lepton,
        identity=identity,
        jets=jets,
        flavour=flavour,
        soft=np.stack(total, axis=1) - jets[..., :2].sum(axis=1),
        partons=_partons(particles, rows),
    )


def _leptons(
    particles: Particles, rows: Ints, random: np.random.Generator, *, pt_min: float
) -> tuple[Floats, Ints]:
    """Return pT, eta and phi of the lepton that is found in each event, and its identity."""
    exists = rows >= 0
    identity = np.where(exists, particles.identity[rows], 0)
    found = are_found(identity, random) & exists
    eta, phi = particles.directions(rows)
    pt = np.hypot(*particles.p4[rows, :2].T)
    found &= (pt > pt_min) & (np.abs(eta) < LEPTON_ETA_MAX)
    lepton = np.where(found[:, None], np.stack([pt, eta, phi], axis=1), 0.0)
    return lepton, np.where(found, identity, 0)


def _jets(particles: Particles, visible: npt.NDArray[np.bool_]) -> Floats:
    """Return the anti-kt jets of each event by falling pT, ``(n_events, MAX_JETS, 4)``."""
    fastjet = load_fastjet()
    columns = dict(zip(("px", "py", "pz", "E"), particles.p4[visible].T, strict=True))
    counts = np.bincount(particles.event[visible], minlength=particles.n_events)
    busy = np.flatnonzero(counts)
    if not len(busy):
        return np.zeros((particles.n_events, MAX_JETS, 4))
    inputs = ak.unflatten(ak.zip(columns), counts[busy])
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, JET_RADIUS)
    jets = fastjet.ClusterSequence(inputs, definition).inclusive_jets(min_pt=TRUE_JET_PT)
    event = np.repeat(busy, ak.to_numpy(ak.num(jets, axis=1)))
    flat = ak.flatten(jets, axis=1)
    p4 = np.stack([np.asarray(ak.to_numpy(flat[name])) for name in columns], axis=1)
    order = np.lexsort((-np.hypot(p4[:, 0], p4[:, 1]), event))
    rows: Floats = pad_rows(p4[order], event[order], particles.n_events, fill=0.0, width=MAX_JETS)
    return rows


def _hadrons(particles: Particles) -> dict[int, tuple[Floats, Floats]]:
    """Return eta and phi of the last hadrons with each heavy quark, NaN for padding."""
    hadrons = {}
    # One particle in twenty; the numbers of hadrons with heavy quarks begin here.
    heavy = np.flatnonzero(np.abs(particles.identity) > LIGHTEST_HEAVY_HADRON)
    for quark in (CHARM, BOTTOM):
        has_quark = np.zeros(len(particles.identity), dtype=bool)
        has_quark[heavy] = contains_quark(particles.identity[heavy], quark)
        rows = np.flatnonzero(are_last_hadrons(has_quark, particles.mother))
        rows = rows[np.hypot(*particles.p4[rows, :2].T) > HADRON_PT]
        event = particles.event[rows]
        eta, phi = (
            pad_rows(values, event, particles.n_events, fill=np.nan)
            for values in particles.directions(rows)
        )
        hadrons[quark] = (eta, phi)
    return hadrons


def _partons(particles: Particles, leptons: Ints) -> Floats:
    """Return eta and phi of the quarks of the hard process, ``(n_events, 6, 2)``."""
    # A lepton of positive number has negative charge. Events without one are never matched.
    charge = np.where(leptons >= 0, -np.sign(particles.identity[leptons]), 1)
    rows = hard_partons(particles, charge)
    directions = np.stack(particles.directions(rows.ravel()), axis=1).reshape(*rows.shape, 2)
    return np.where((rows >= 0)[..., None], directions, np.nan)
