"""Particles of events as networks take them: ordered by pT, features relative to the jet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from hepdl.errors import DataError, unknown_name
from hepdl.events.containers import Events, Jagged
from hepdl.events.features import refuse_truth
from hepdl.events.inputs import ParticleInputs
from hepdl.events.trees import FOUR_VECTOR_COLUMNS, four_vectors
from hepdl.kinematics import PARTICLE_FEATURES, hardest, order_by_pt, particle_features

__all__ = ["attach_particles", "particle_columns"]

# Entries at a time: the float64 working arrays of a particle take some 200 bytes.
_ENTRIES_AT_ONCE = 20_000


def attach_particles(events: Events, inputs: ParticleInputs) -> Events:
    """Return the same events with the particles of each entry.

    Args:
        events: Their collection ``inputs.collection`` holds the four-vectors.
        inputs: Which collection, which features, at most how many particles.

    Raises:
        DataError: The collection or a feature is not there, its columns are no four-vectors, or a
            particle's momentum is not finite.
    """
    if inputs.collection not in events.collections:
        message = unknown_name(
            "collection", inputs.collection, events.collections, where="collection of particles"
        )
        raise DataError(message)
    rows = events.collections[inputs.collection]
    refuse_truth(events, inputs.collection, (*FOUR_VECTOR_COLUMNS, *inputs.columns))
    for name in inputs.columns:
        if name not in PARTICLE_FEATURES and name not in rows.columns:
            known = {*PARTICLE_FEATURES, *rows.columns}
            where = f"features of the particles of collection {inputs.collection}"
            raise DataError(unknown_name("particle feature", name, known, where=where))
    parts = [
        _build(rows.slice(first, min(first + _ENTRIES_AT_ONCE, len(rows))), inputs)
        for first in range(0, len(rows), _ENTRIES_AT_ONCE)
    ]
    counts = torch.cat([part_counts for _, part_counts in parts] or [torch.zeros(0).long()])
    offsets = torch.zeros(len(counts) + 1, dtype=torch.int64)
    torch.cumsum(counts, 0, out=offsets[1:])
    values = torch.cat([torch.zeros(0, len(inputs.columns)), *(part for part, _ in parts)])
    particles = Jagged(values, offsets, inputs.columns)
    return replace(events, particles=particles.to(events.device))


def particle_columns(events: Events, inputs: ParticleInputs) -> Jagged:
    """Return ``events.particles`` after a check that its columns are those of ``inputs``.

    Raises:
        DataError: They are not, or there are no particles.
    """
    particles = events.particles
    if particles is None:
        message = (
            "these events have no particles; call hepdl.events.particles.attach_particles first"
        )
        raise DataError(message)
    if particles.columns != inputs.columns:
        message = (
            f"the model takes particles with the columns {list(inputs.columns)}, the events have "
            f"{list(particles.columns)}; call hepdl.events.particles.attach_particles first"
        )
        raise DataError(message)
    return particles


def _build(rows: Jagged, inputs: ParticleInputs) -> tuple[Tensor, Tensor]:
    """Return the columns of the particles of some entries, and how many each has."""
    p4 = four_vectors(rows, where=inputs.collection)
    offsets = rows.offsets.cpu().numpy()
    # Axis and sums are those of all particles, whatever is kept.
    chosen, new_offsets = order_by_pt(p4, offsets)
    derived = [name for name in inputs.columns if name in PARTICLE_FEATURES]
    features = particle_features(p4[chosen], new_offsets, derived)
    if inputs.max_particles is not None:
        keep, new_offsets = hardest(new_offsets, inputs.max_particles)
        chosen, features = chosen[keep], features[keep]
    values = np.empty((len(chosen), len(inputs.columns)), dtype=np.float32)
    stored = rows.values.cpu().numpy()
    for column, name in enumerate(inputs.columns):
        if name in derived:
            values[:, column] = features[:, derived.index(name)]
        else:
            values[:, column] = stored[chosen, rows.columns.index(name)]
    return torch.from_numpy(values), torch.from_numpy(np.diff(new_offsets))
