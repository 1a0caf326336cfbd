"""Events with top quarks in chunks of a request, in all variations at once."""

from __future__ import annotations

from collections.abc import Callable

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError
from hepdl.simulate.detector.measurement import measure
from hepdl.simulate.showering.requests import (
    EVENTS_PER_CHUNK,
    ChunkRequest,
    first_event_number,
    numbered,
)
from hepdl.simulate.showering.top_events import Particles, collide_tops, make_top_pythia
from hepdl.simulate.showering.top_objects import true_events
from hepdl.simulate.showering.top_options import TopOptions
from hepdl.simulate.showering.top_selection import FIELDS, select_events

__all__ = ["NOMINAL", "make_nominal_chunk", "make_variation_chunk"]

NOMINAL = "nominal"
# Collisions made at a time, always as many, since the detector's random numbers are drawn by batch.
# 0.2 s; Pythia's record takes about 0.1 MB a collision. The charge of the lepton alternates.
BATCH_SIZE = 100
# So many collisions (a minute) without a single selected event: the cuts are too hard.
HOPELESS = 50_000

Request = ChunkRequest[TopOptions]
Progress = Callable[[int], None]


def make_nominal_chunk(request: Request, on_events: Progress | None = None) -> ak.Array:
    """Return the events of one chunk, without variations."""
    return make_variation_chunk(request, on_events)[NOMINAL]


def make_variation_chunk(
    request: Request, on_events: Progress | None = None
) -> dict[str, ak.Array]:
    """Return the events of one chunk in each variation.

    A variation has those events of the same collisions that it selects, up to the last one that is
    selected nominally.

    Args:
        request: Which chunk.
        on_events: Called after each batch with the number of new nominal events; what it raises
            ends the chunk.

    Raises:
        ConfigError: The options leave no event.
        MissingExtraError: Pythia or FastJet is not installed.
    """
    options = request.options
    pythia = make_top_pythia(options, seed=request.pythia_seed)
    variations = (NOMINAL, *options.variations)
    parts: dict[str, list[ak.Array]] = {name: [] for name in variations}
    generated: list[npt.NDArray[np.float64]] = []
    n_selected = n_made = batch = 0
    while n_selected < request.n_entries:
        particles = collide_tops(pythia, BATCH_SIZE, positive_lepton=batch % 2 == 0)
        tables = _selected(particles, request, batch, variations)
        n_new = min(len(tables[NOMINAL]), request.n_entries - n_selected)
        is_last = n_selected + n_new == request.n_entries
        end = int(tables[NOMINAL].event[n_new - 1]) + 1 if is_last else particles.n_events
        first = first_event_number(request, n_made)
        for name, table in tables.items():
            kept = table[table.event < end]
            parts[name].append(numbered(kept, first_event=first, run_number=request.run_number))
        generated.append(particles.event_weight)
        n_selected += n_new
        n_made += particles.n_events
        batch += 1
        _check_yield(n_selected, n_made, options)
        if on_events is not None:
            on_events(n_new)
    weights = np.concatenate(generated)
    start = first_event_number(request, 0)
    return {
        name: _with_generated_weight(ak.concatenate(tables), weights, start)
        for name, tables in parts.items()
    }


def _selected(
    particles: Particles, request: Request, batch: int, variations: tuple[str, ...]
) -> dict[str, ak.Array]:
    """Return the selected events of one batch in each variation."""
    random = np.random.default_rng((request.pythia_seed, batch))
    truth = true_events(particles, random, lepton_pt=request.options.lepton_pt)
    measured = measure(truth, random)
    return {
        name: select_events(measured, particles.event_weight, request.options, variation=name)
        for name in variations
    }


def _with_generated_weight(
    events: ak.Array, weights: npt.NDArray[np.float64], first_event: int
) -> ak.Array:
    """Return the events with the weight of all collisions since the selected one before."""
    total = np.cumsum(weights)[ak.to_numpy(events.event_number) - first_event]
    since = np.diff(total, prepend=0.0).astype(np.float32)
    events = ak.with_field(events, since, "generated_weight")
    return events[list(dict.fromkeys(name.partition(".")[0] for name in FIELDS))]


def _check_yield(n_selected: int, n_made: int, options: TopOptions) -> None:
    """Stop what would never end."""
    if (n_selected == 0 and n_made >= HOPELESS) or n_made >= EVENTS_PER_CHUNK - BATCH_SIZE:
        message = (
            f"pythia_tth: {n_made} collisions of process {options.process!r} gave {n_selected} "
            f"events with {options.minimum_jets} jets above {options.jet_pt:g} GeV, a lepton above "
            f"{options.lepton_pt:g} GeV and, by {options.b_tagging} tagging, "
            f"{options.minimum_b_tags} b-tags; lower these, or use b_tagging: truth"
        )
        raise ConfigError(message)
