"""A request for many jets as chunks, each with a random seed of its own.

A chunk is the same whoever makes it and whenever: this is what makes the result independent of
the number of processes and lets an interrupted production go on where it stopped.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import awkward as ak
import numpy as np

from hepdl.errors import ConfigError
from hepdl.simulate.showering.events import collide, make_pythia
from hepdl.simulate.showering.jets import jets_from
from hepdl.simulate.showering.options import JetOptions

__all__ = ["CHUNK_SIZE", "FIELDS", "ChunkRequest", "chunk_requests", "make_chunk"]

# What every jet has.
FIELDS = (
    "event_number",
    "run_number",
    "generator_weight",
    "jet_pt",
    "jet_eta",
    "jet_phi",
    "jet_mass",
    "soft_drop_mass",
    "tau21",
    "n_constituents",
    "constituents.pt",
    "constituents.eta",
    "constituents.phi",
    "constituents.energy",
)
# Initialising Pythia costs 0.45 s, 1000 jets 9 to 14 s: 3 to 5 % are lost, a killed production
# repeats at most that, and 10 000 jets still make ten pieces of work for the processes.
CHUNK_SIZE = 1000
# Event numbers of chunk k start at k times this; a chunk never makes that many events.
EVENTS_PER_CHUNK = 10_000_000
# 1.5 s, the time to react to Ctrl-C; Pythia's record takes about 0.2 MB an event.
LARGEST_BATCH = 200
SMALLEST_BATCH = 20
# So many events (under a minute) without a single jet: the windows exclude each other.
HOPELESS = 5000
# The random seeds that Pythia accepts are 1 to this.
N_PYTHIA_SEEDS = 900_000_000
SEEDS_PER_PROCESS = 1_000_000


@dataclass(frozen=True)
class ChunkRequest:
    """A piece of a request; picklable and small.

    Args:
        index: Number of the chunk in its request, from 0.
        n_jets: Jets wanted, at most ``CHUNK_SIZE``.
        seed: Seed of the whole request.
        options: What jets to make.
    """

    index: int
    n_jets: int
    seed: int
    options: JetOptions

    @property
    def pythia_seed(self) -> int:
        """The random seed of this chunk, different for all chunks of a request."""
        key = f"{self.seed}:{self.options.process}".encode()
        start = int.from_bytes(hashlib.sha256(key).digest()[:8])
        return 1 + (start + self.index) % N_PYTHIA_SEEDS

    @property
    def run_number(self) -> int:
        """Process and seed in one number, so that samples of two seeds share no event."""
        return self.options.process_number * SEEDS_PER_PROCESS + self.seed % SEEDS_PER_PROCESS


def chunk_requests(n_jets: int, *, seed: int, options: JetOptions) -> list[ChunkRequest]:
    """Return the chunks of a request, in order; all but the last are full.

    Raises:
        ConfigError: Fewer than one jet is asked for, or the seed is negative.
    """
    if n_jets < 1 or seed < 0:
        message = f"pythia_jets: n_events = {n_jets} must be >= 1 and seed = {seed} >= 0"
        raise ConfigError(message)
    return [
        ChunkRequest(index, min(CHUNK_SIZE, n_jets - index * CHUNK_SIZE), seed, options)
        for index in range(math.ceil(n_jets / CHUNK_SIZE))
    ]


def make_chunk(request: ChunkRequest, on_jets: Callable[[int], None] | None = None) -> ak.Array:
    """Return the jets of one chunk.

    Args:
        request: Which chunk.
        on_jets: Called after each batch of events with the number of new jets; what it raises
            ends the chunk.

    Raises:
        ConfigError: The options leave no jet.
        MissingExtraError: Pythia or FastJet is not installed.
    """
    options = request.options
    pythia = make_pythia(options, seed=request.pythia_seed)
    parts: list[ak.Array] = []
    n_jets = n_events = 0
    while n_jets < request.n_jets:
        wanted = _batch_size(request.n_jets - n_jets, n_jets, n_events)
        collisions = collide(pythia, wanted, has_w_boson=options.process == "w_jet")
        jets = jets_from(collisions, options)[: request.n_jets - n_jets]
        first = request.index * EVENTS_PER_CHUNK + n_events
        parts.append(_numbered(jets, first_event=first, run_number=request.run_number))
        n_jets += len(jets)
        n_events += len(collisions)
        _check_yield(n_jets, n_events, options)
        if on_jets is not None:
            on_jets(len(jets))
    return ak.concatenate(parts) if len(parts) > 1 else parts[0]


def _numbered(jets: ak.Array, *, first_event: int, run_number: int) -> ak.Array:
    """Return the jets with event and run numbers in place of the row of the event."""
    event = ak.to_numpy(jets.event).astype(np.int64)
    fields = {name: jets[name] for name in jets.fields if name != "event"}
    numbers = {
        "event_number": first_event + event,
        "run_number": np.full(len(event), run_number, dtype=np.int64),
    }
    return ak.zip({**numbers, **fields}, depth_limit=1)


def _batch_size(n_missing: int, n_jets: int, n_events: int) -> int:
    """Return how many events probably give the missing jets; the result does not depend on it."""
    per_event = n_jets / n_events if n_jets else 0.5
    return min(max(math.ceil(1.05 * n_missing / per_event), SMALLEST_BATCH), LARGEST_BATCH)


def _check_yield(n_jets: int, n_events: int, options: JetOptions) -> None:
    """Stop what would never end."""
    if (n_jets == 0 and n_events >= HOPELESS) or n_events >= EVENTS_PER_CHUNK - LARGEST_BATCH:
        message = (
            f"pythia_jets: {n_events} events of process {options.process!r} gave {n_jets} jets "
            f"with pt in {options.pt}, mass in {options.mass}, |eta| < {options.eta_max} and "
            f"pt_hat in {options.pt_hat or options.pt} GeV; widen the windows or bring pt_hat "
            "closer to pt"
        )
        raise ConfigError(message)
