"""A request for many entries as chunks, each with a random seed of its own.

A chunk is the same whoever makes it and whenever: this is what makes the result independent of
the number of processes and lets an interrupted production go on where it stopped.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, SchemaError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hepdl.schema import Schema

__all__ = [
    "EVENTS_PER_CHUNK",
    "ChunkRequest",
    "ProcessOptions",
    "check_fields",
    "first_event_number",
    "numbered",
    "split_request",
]

# Event numbers of chunk k start at k times this; a chunk never makes that many events.
EVENTS_PER_CHUNK = 10_000_000
# The random seeds that Pythia accepts are 1 to this.
N_PYTHIA_SEEDS = 900_000_000
SEEDS_PER_PROCESS = 1_000_000


class ProcessOptions(Protocol):
    """What options of every generator have; they are frozen, picklable and small."""

    @property
    def process(self) -> str:
        """The name of the process."""

    @property
    def process_number(self) -> int:
        """Its number in ``run_number``."""


Options = TypeVar("Options", bound=ProcessOptions)


@dataclass(frozen=True)
class ChunkRequest(Generic[Options]):
    """A piece of a request; picklable and small.

    Args:
        index: Number of the chunk in its request, from 0.
        n_entries: Entries (jets or events) wanted.
        seed: Seed of the whole request.
        options: What to make.
    """

    index: int
    n_entries: int
    seed: int
    options: Options

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


def split_request(
    n_entries: int, *, seed: int, options: Options, chunk_size: int, generator: str
) -> list[ChunkRequest[Options]]:
    """Return the chunks of a request, in order; all but the last are full.

    Raises:
        ConfigError: Fewer than one entry is asked for, or the seed is negative.
    """
    if n_entries < 1 or seed < 0:
        message = f"{generator}: n_events = {n_entries} must be >= 1 and seed = {seed} >= 0"
        raise ConfigError(message)
    return [
        ChunkRequest(index, min(chunk_size, n_entries - index * chunk_size), seed, options)
        for index in range(math.ceil(n_entries / chunk_size))
    ]


def check_fields(schema: Schema | None, known: Sequence[str], *, generator: str) -> None:
    """Refuse a schema that reads what the generator does not make, before hours of simulation.

    Raises:
        SchemaError: The schema reads an unknown field.
    """
    for field in schema.fields if schema is not None else ():
        if field.name not in known:
            where = f"schema, {field.key}"
            message = unknown_name(f"field of {generator}", field.name, known, where=where)
            raise SchemaError(message)


def first_event_number(request: ChunkRequest[Options], n_made: int) -> int:
    """Return the number of the next event of a chunk that has made ``n_made`` events."""
    return request.index * EVENTS_PER_CHUNK + n_made


def numbered(entries: ak.Array, *, first_event: int, run_number: int) -> ak.Array:
    """Return the entries with event and run numbers in place of the row of the event, ``event``."""
    event: npt.NDArray[np.int64] = ak.to_numpy(entries.event).astype(np.int64)
    fields = {name: entries[name] for name in entries.fields if name != "event"}
    numbers = {
        "event_number": first_event + event,
        "run_number": np.full(len(event), run_number, dtype=np.int64),
    }
    return ak.zip({**numbers, **fields}, depth_limit=1)
