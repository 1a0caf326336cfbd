"""Proton collisions from Pythia 8, as arrays of visible particles.

Reference: C. Bierlich et al., "A comprehensive guide to the physics and usage of PYTHIA 8.3",
SciPost Phys. Codebases 8 (2022), arXiv:2203.11601.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError
from hepdl.simulate.showering.engines import load_pythia
from hepdl.simulate.showering.options import JetOptions

__all__ = ["Collisions", "collide", "flat_values", "make_pythia", "start_pythia"]

# Particles beyond are lost; jets with |eta| < 2 and R = 1 keep a margin of one unit.
PARTICLE_ETA_MAX = 4.0
NEUTRINOS = (12, 14, 16)
# Status code of the W boson after all recoils of the initial state (negative once decayed).
STATUS_AFTER_RECOIL = 62
W_BOSON = 24

_HARD_PROCESS = {
    "w_jet": (
        "WeakBosonAndParton:qqbar2Wg = on",
        "WeakBosonAndParton:qg2Wq = on",
        "24:onMode = off",
        "24:onIfAny = 1 2 3 4 5",
    ),
    "qcd": ("HardQCD:all = on",),
}

Floats = npt.NDArray[np.float64]


class BeamOptions(Protocol):
    """What all simulated collisions have in common."""

    @property
    def beam_energy(self) -> float:
        """The proton-proton centre-of-mass energy [GeV]."""

    @property
    def multi_parton_interactions(self) -> bool:
        """Whether Pythia adds the underlying event."""


@dataclass(frozen=True)
class Collisions:
    """Some collisions.

    Args:
        particles: Visible final-state particles with fields ``px, py, pz, E`` [GeV] and ``id``,
            ``(n_events, var)``.
        w_boson: ``px, py`` and ``pz`` of the W boson [GeV], ``(n_events, 3)``, NaN where an event
            has none; or None if the process makes none.
        event_weight: Weight of each event as the generator gives it, ``(n_events,)``.
    """

    particles: ak.Array
    w_boson: Floats | None
    event_weight: Floats

    def __len__(self) -> int:
        return len(self.event_weight)


def make_pythia(options: JetOptions, *, seed: int) -> Any:
    """Return an initialised Pythia (0.4 s) with its default tune.

    Particles with a proper decay length below 1 m decay, as Pythia has it: so do K-short and
    Lambda.

    Args:
        options: Process, beam energy and windows.
        seed: Random seed, 1 to 900 000 000.

    Raises:
        ConfigError: Pythia cannot simulate what the options ask for.
    """
    low, high = options.pt_hat or options.pt
    settings = (
        f"PhaseSpace:pTHatMin = {low!r}",
        f"PhaseSpace:pTHatMax = {high!r}",
        *_HARD_PROCESS[options.process],
    )
    pythia = start_pythia(settings, options, seed=seed)
    if pythia is None:
        message = (
            f"Pythia cannot simulate process {options.process!r} with pt_hat = [{low:g}, {high:g}] "
            f"GeV at beam_energy = {options.beam_energy:g} GeV; the hard process needs "
            "2 pt_hat well below the beam energy"
        )
        raise ConfigError(message)
    return pythia


def start_pythia(settings: Sequence[str], options: BeamOptions, *, seed: int) -> Any | None:
    """Return a quiet, initialised Pythia, or None if it refuses the settings."""
    general = (
        "Print:quiet = on",
        f"Beams:eCM = {options.beam_energy!r}",
        "Random:setSeed = on",
        f"Random:seed = {seed}",
        f"PartonLevel:MPI = {'on' if options.multi_parton_interactions else 'off'}",
    )
    pythia = load_pythia().Pythia("", False)
    accepted = all(pythia.readString(setting) for setting in (*general, *settings))
    return pythia if accepted and pythia.init() else None


def collide(pythia: Any, n_events: int, *, has_w_boson: bool) -> Collisions:
    """Return the next collisions; those that Pythia fails to complete are left out.

    The events do not depend on how many are asked for at a time.
    """
    record = pythia.nextBatch(n_events)
    particles = record.prt
    n_particles = ak.to_numpy(ak.num(particles, axis=1))
    event = np.repeat(np.arange(len(record)), n_particles)
    identity = flat_values(particles.id)
    status = flat_values(particles.status)
    px, py, pz, energy = (flat_values(particles.p[name]) for name in ("px", "py", "pz", "e"))
    # |eta| < limit without a logarithm for each of 1500 particles an event.
    central = np.abs(pz) < np.sinh(PARTICLE_ETA_MAX) * np.hypot(px, py)
    visible = (status > 0) & ~np.isin(np.abs(identity), NEUTRINOS) & central
    columns = {"px": px, "py": py, "pz": pz, "E": energy, "id": identity}
    flat = ak.zip({name: column[visible] for name, column in columns.items()})
    counts = np.bincount(event[visible], minlength=len(record))
    w_boson = None
    if has_w_boson:
        w_boson = np.full((len(record), 3), np.nan)
        is_w = (np.abs(identity) == W_BOSON) & (np.abs(status) == STATUS_AFTER_RECOIL)
        w_boson[event[is_w]] = np.stack([px[is_w], py[is_w], pz[is_w]], axis=1)
    return Collisions(
        particles=ak.unflatten(flat, counts),
        w_boson=w_boson,
        event_weight=ak.to_numpy(record.info.weights[:, 0]),
    )


def flat_values(column: ak.Array) -> npt.NDArray[Any]:
    """Return the values of a jagged column one after the other."""
    return np.asarray(ak.to_numpy(ak.flatten(column, axis=1)))
