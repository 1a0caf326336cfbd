"""Large-radius jets in chunks of a request."""

from __future__ import annotations

import math
from collections.abc import Callable

import awkward as ak

from hepdl.errors import ConfigError
from hepdl.simulate.showering.events import collide, make_pythia
from hepdl.simulate.showering.jets import jets_from
from hepdl.simulate.showering.options import JetOptions
from hepdl.simulate.showering.requests import (
    EVENTS_PER_CHUNK,
    ChunkRequest,
    first_event_number,
    numbered,
    split_request,
)

__all__ = ["CHUNK_SIZE", "FIELDS", "chunk_requests", "make_chunk"]

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
# 1.5 s, the time to react to Ctrl-C; Pythia's record takes about 0.2 MB an event.
LARGEST_BATCH = 200
SMALLEST_BATCH = 20
# So many events (under a minute) without a single jet: the windows exclude each other.
HOPELESS = 5000


def chunk_requests(
    n_jets: int, *, seed: int, options: JetOptions
) -> list[ChunkRequest[JetOptions]]:
    """Return the chunks of a request, in order; all but the last are full.

    Raises:
        ConfigError: Fewer than one jet is asked for, or the seed is negative.
    """
    return split_request(
        n_jets, seed=seed, options=options, chunk_size=CHUNK_SIZE, generator="pythia_jets"
    )


def make_chunk(
    request: ChunkRequest[JetOptions], on_jets: Callable[[int], None] | None = None
) -> ak.Array:
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
    while n_jets < request.n_entries:
        wanted = _batch_size(request.n_entries - n_jets, n_jets, n_events)
        collisions = collide(pythia, wanted, has_w_boson=options.process == "w_jet")
        jets = jets_from(collisions, options)[: request.n_entries - n_jets]
        first = first_event_number(request, n_events)
        parts.append(numbered(jets, first_event=first, run_number=request.run_number))
        n_jets += len(jets)
        n_events += len(collisions)
        _check_yield(n_jets, n_events, options)
        if on_jets is not None:
            on_jets(len(jets))
    return ak.concatenate(parts) if len(parts) > 1 else parts[0]


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
