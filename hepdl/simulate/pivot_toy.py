"""The toy of "Learning to pivot": two Gaussians, one of which is moved by a nuisance.

Background is ``(x0, x1) ~ N((0, 0), ((1, -1/2), (-1/2, 1)))``, signal given the nuisance ``(x0, x1) ~ N((1, 1 + z), 1)``,
and ``z ~ N(0, 1)`` for both. What is best is known: with z averaged the largest AUC is 0.8594, and x0, which does not
know z, has Phi(1 / sqrt 2) = 0.7602. Whatever a decorrelated classifier reaches lies between the two.

The variations ``low`` and ``high`` are the same events with z = -1 and z = +1: between them the distributions of a score
that does not know z are the same.

Reference: G. Louppe, M. Kagan and K. Cranmer, "Learning to pivot with adversarial networks", NeurIPS 2017, arXiv:1611.01046,
section 5.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np

from hepdl.errors import ConfigError, unknown_name
from hepdl.simulate.showering.requests import (
    ChunkRequest,
    check_fields,
    first_event_number,
    split_request,
)

if TYPE_CHECKING:
    from hepdl.schema import Schema

# The part that a configuration names stands first.
__all__ = ["generate", "chunks", "iterate_chunks", "iterate_variations"]  # noqa: RUF022

FIELDS = ("event_number", "run_number", "x0", "x1", "z")
LABELS = ("background", "signal")
VARIATIONS = {"low": -1.0, "high": 1.0}
CHUNK_SIZE = 50_000

Progress = Callable[[int], None]


@dataclass(frozen=True)
class ToyOptions:
    """What to draw.

    Attributes:
        label: ``"signal"`` or ``"background"``.
        nuisance: The value of z for all events; None draws it.
        variations: Names of further tables.
    """

    label: str = "signal"
    nuisance: float | None = None
    variations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigError: There is no such class or variation.
        """
        if self.label not in LABELS:
            raise ConfigError(unknown_name("label", self.label, LABELS, where="pivot_toy"))
        for name in self.variations:
            if name not in VARIATIONS:
                raise ConfigError(unknown_name("variation", name, VARIATIONS, where="pivot_toy"))

    @property
    def process(self) -> str:
        """The name of the process."""
        return self.label

    @property
    def process_number(self) -> int:
        """Its number in ``run_number``."""
        return LABELS.index(self.label)


Request = ChunkRequest[ToyOptions]


def generate(
    n_events: int,
    *,
    seed: int,
    schema: Schema | None = None,
    label: str = "signal",
    nuisance: float | None = None,
    n_processes: int = 1,
    progress: Progress | None = None,
) -> ak.Array:
    """Return ``n_events`` events.

    Args:
        n_events: Events wanted.
        seed: The same seed and label give the same events; the first ones do not depend on how many
            are wanted.
        schema: If given, all that it reads must be among the fields that every event has.
        label: ``"signal"`` or ``"background"``.
        nuisance: The value of z for all events; None draws it.
        n_processes: Has no effect; one process is fast enough.
        progress: Called with the number of new events.

    Returns:
        Fields ``event_number``, ``run_number`` (int64), ``x0``, ``x1``, ``z`` (float32).

    Raises:
        ConfigError: An option is not accepted.
        SchemaError: The schema reads a field that the events do not have.
    """
    requests = chunks(n_events, seed=seed, schema=schema, label=label, nuisance=nuisance)
    made = iterate_chunks(requests, n_processes=n_processes, progress=progress)
    return ak.concatenate([part for _, part in made])


def chunks(
    n_events: int, *, seed: int, schema: Schema | None = None, **options: Any
) -> list[Request]:
    """Return the chunks that together are ``generate(n_events, …)`` with the same options.

    A further option is ``variations``, for ``iterate_variations``.

    Raises:
        ConfigError: An option is not accepted.
        SchemaError: The schema reads a field that the events do not have.
    """
    check_fields(schema, FIELDS, generator="pivot_toy")
    if "variations" in options:
        options["variations"] = tuple(options["variations"])
    made = ToyOptions(**options)
    return split_request(
        n_events, seed=seed, options=made, chunk_size=CHUNK_SIZE, generator="pivot_toy"
    )


def iterate_chunks(
    requests: Sequence[Request], *, n_processes: int = 1, progress: Progress | None = None
) -> Iterator[tuple[Request, ak.Array]]:
    """Yield each request and its events."""
    for request, tables in iterate_variations(requests, n_processes=n_processes, progress=progress):
        yield request, tables["nominal"]


def iterate_variations(
    requests: Sequence[Request], *, n_processes: int = 1, progress: Progress | None = None
) -> Iterator[tuple[Request, dict[str, ak.Array]]]:
    """Yield each request and its tables by name, ``"nominal"`` first."""
    for request in requests:
        # Whole chunks, so that a shorter one is the beginning of a longer one.
        random = np.random.default_rng(
            (request.seed, request.options.process_number, request.index)
        )
        noise = random.standard_normal((CHUNK_SIZE, 3))[: request.n_entries]
        z = noise[:, 2]
        if request.options.nuisance is not None:
            z = np.full(request.n_entries, request.options.nuisance)
        tables = {"nominal": _events(request, noise, z)}
        for name in request.options.variations:
            tables[name] = _events(request, noise, np.full(len(z), VARIATIONS[name]))
        if progress is not None:
            progress(request.n_entries)
        yield request, tables


def _events(request: Request, noise: np.ndarray, z: np.ndarray) -> ak.Array:
    if request.options.label == "signal":
        x0, x1 = 1 + noise[:, 0], 1 + z + noise[:, 1]
    else:
        x0, x1 = noise[:, 0], -0.5 * noise[:, 0] + np.sqrt(0.75) * noise[:, 1]
    number = first_event_number(request, 0) + np.arange(len(z), dtype=np.int64)
    columns = {"x0": x0, "x1": x1, "z": z}
    return ak.zip(
        {
            "event_number": number,
            "run_number": np.full(len(z), request.run_number, dtype=np.int64),
            **{name: values.astype(np.float32) for name, values in columns.items()},
        },
        depth_limit=1,
    )
