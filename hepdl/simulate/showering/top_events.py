"""Events with a pair of top quarks from Pythia 8: one lepton, jets, and what they come from.

Reference: C. Bierlich et al., "A comprehensive guide to the physics and usage of PYTHIA 8.3",
SciPost Phys. Codebases 8 (2022), arXiv:2203.11601.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError
from hepdl.simulate.detector.leptons import ELECTRON, MUON
from hepdl.simulate.detector.parton_matching import PARTONS
from hepdl.simulate.showering.events import NEUTRINOS, W_BOSON, flat_values, start_pythia
from hepdl.simulate.showering.top_options import TopOptions

__all__ = ["Particles", "collide_tops", "hard_partons", "make_top_pythia", "prompt_leptons"]

_HARD_PROCESS = {
    "tth": (
        "HiggsSM:gg2Httbar = on",
        "HiggsSM:qqbar2Httbar = on",
        "25:onMode = off",
        "25:onIfAny = 5",
    ),
    "tt": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on"),
}
TOP, HIGGS, BOTTOM = 6, 25, 5
# Outgoing partons of the hard process and of the decays of resonances.
STATUS_HARD = 23
# Radiation gives a lepton a few copies; a longer chain of them is none.
MOST_COPIES = 100

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Particles:
    """All particles of some collisions, one after the other.

    Attributes:
        event: Row of the collision.
        identity: Particle number.
        status: Pythia's status; positive in the final state.
        mother: Row of the first mother.
        p4: px, py, pz and energy [GeV].
        event_weight: Weight of each collision as the generator gives it.

    Shapes:
        ``(n_particles,)``, p4 ``(n_particles, 4)``, event_weight ``(n_events,)``.
    """

    event: Ints
    identity: Ints
    status: Ints
    mother: Ints
    p4: Floats
    event_weight: Floats

    @property
    def n_events(self) -> int:
        """Number of collisions."""
        return len(self.event_weight)

    @property
    def is_visible(self) -> Bools:
        """Which particles of the final state are no neutrinos."""
        return (self.status > 0) & ~np.isin(np.abs(self.identity), NEUTRINOS)

    def directions(self, rows: npt.NDArray[Any]) -> tuple[Floats, Floats]:
        """Return eta and phi [rad] of some particles, none of them along the beam."""
        px, py, pz, _ = self.p4[rows].T
        return np.arcsinh(pz / np.hypot(px, py)), np.arctan2(py, px)


def make_top_pythia(options: TopOptions, *, seed: int) -> Any:
    """Return an initialised Pythia (0.8 s) with its default tune.

    Raises:
        ConfigError: Pythia cannot simulate what the options ask for.
    """
    settings = (*_HARD_PROCESS[options.process], *_w_decays(positive_lepton=True))
    pythia = start_pythia(settings, options, seed=seed)
    if pythia is None:
        message = (
            f"Pythia cannot simulate process {options.process!r} at beam_energy = "
            f"{options.beam_energy:g} GeV"
        )
        raise ConfigError(message)
    return pythia


def collide_tops(pythia: Any, n_events: int, *, positive_lepton: bool) -> Particles:
    """Return the next collisions, in which one W boson decays to e or mu, the other to quarks.

    Args:
        pythia: From ``make_top_pythia``.
        n_events: Collisions wanted; those that Pythia fails to complete are left out.
        positive_lepton: Whether the W+ gives the lepton.
    """
    # Decay modes are looked up at each decay, so they may change between two events. The
    # cross-section that Pythia computes stays that of one charge.
    for setting in _w_decays(positive_lepton=positive_lepton):
        pythia.readString(setting)
    record = pythia.nextBatch(n_events)
    particles = record.prt
    counts = ak.to_numpy(ak.num(particles, axis=1)).astype(np.int64)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    columns = [flat_values(particles.p[name]) for name in ("px", "py", "pz", "e")]
    return Particles(
        event=np.repeat(np.arange(len(counts)), counts),
        identity=flat_values(particles.id).astype(np.int64),
        status=flat_values(particles.status).astype(np.int64),
        mother=first + flat_values(particles.mother1).astype(np.int64),
        p4=np.stack(columns, axis=1).astype(np.float64),
        event_weight=np.asarray(ak.to_numpy(record.info.weights[:, 0]), dtype=np.float64),
    )


def _w_decays(*, positive_lepton: bool) -> tuple[str, ...]:
    """Return the settings that let one W boson decay to e or mu, the other to quarks."""
    leptonic, hadronic = ("Pos", "Neg") if positive_lepton else ("Neg", "Pos")
    return (
        "24:onMode = off",
        f"24:on{leptonic}IfAny = 11 13",
        f"24:on{hadronic}IfAny = 1 2 3 4 5",
    )


def prompt_leptons(particles: Particles) -> Ints:
    """Return the row of the final electron or muon of the W boson of each event, -1 if none.

    Those of hadrons and photons are left in the jets.
    """
    absolute = np.abs(particles.identity)
    rows = np.flatnonzero((particles.status > 0) & ((absolute == ELECTRON) | (absolute == MUON)))
    ancestor = rows.copy()
    for _ in range(MOST_COPIES):
        mother = particles.mother[ancestor]
        is_copy = (particles.identity[mother] == particles.identity[ancestor]) & (
            mother != ancestor
        )
        if not is_copy.any():
            break
        ancestor = np.where(is_copy, mother, ancestor)
    rows = rows[absolute[particles.mother[ancestor]] == W_BOSON]
    found = np.full(particles.n_events, -1)
    found[particles.event[rows]] = rows
    return found


def hard_partons(particles: Particles, lepton_charge: Ints) -> Ints:
    """Return the rows of the six quarks, in the order of ``PARTONS``; -1 for those not there.

    Args:
        particles: Some collisions.
        lepton_charge: Sign of the W boson that gave the lepton, ``(n_events,)``.

    Shapes:
        ``(n_events, 6)``.
    """
    rows = np.flatnonzero(np.abs(particles.status) == STATUS_HARD)
    identity, event = particles.identity[rows], particles.event[rows]
    mother = particles.identity[particles.mother[rows]]
    is_bottom = np.abs(identity) == BOTTOM
    of_top = (np.abs(mother) == TOP) & is_bottom
    of_w = (np.abs(mother) == W_BOSON) & (np.abs(identity) < TOP)
    of_higgs = (mother == HIGGS) & is_bottom
    # A top quark, of positive number, decays to a W+.
    is_leptonic = np.sign(mother) == lepton_charge[event]
    choices = (
        of_top & is_leptonic,
        of_top & ~is_leptonic,
        of_w & (identity > 0),
        of_w & (identity < 0),
        of_higgs & (identity > 0),
        of_higgs & (identity < 0),
    )
    found = np.full((particles.n_events, len(PARTONS)), -1)
    for parton, chosen in enumerate(choices):
        found[event[chosen], parton] = rows[chosen]
    return found
