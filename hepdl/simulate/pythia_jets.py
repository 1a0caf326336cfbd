"""Large-radius jets from Pythia 8: boosted hadronic W bosons, and quarks and gluons.

* ``w_jet``: q qbar -> W g and q g -> W q, the W decays to quarks; anti-kt jets within
  delta_r < 0.6 of the W boson (after all recoils).
* ``qcd``: all 2 -> 2 processes of the strong interaction (``HardQCD:all``); every jet in the window,
  so that two jets may come from one event and share its number.

Stable particles except neutrinos with ``|eta| < 4`` are clustered. With ``level="towers"`` they
first leave their energy in a grid of calorimeter cells (muons leave none), each a massless tower.

The hard process is generated in the window ``pt_hat``, by default that of the jets. Jets that
would migrate in from outside (radiation leaves the jet, the underlying event adds to it) are then
missing, mostly near the lower edge: with ``pt_hat`` from 180 to 500 GeV half of the W jets and
three in five QCD jets between 250 and 300 GeV come from outside that window. The spectra of the two
processes so differ from nature and from each other. Flatten pT by weights, or widen ``pt_hat`` at
the price of fewer jets a second.

Jets come in chunks of 1000, each with its own Pythia and a seed made from (seed, process,
chunk): the result does not depend on the number of processes, and the first jets of a request
are those of a smaller one.

Needs the extra ``simulate``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import awkward as ak

from hepdl.simulate.showering.chunks import FIELDS, chunk_requests, make_chunk
from hepdl.simulate.showering.options import JetOptions
from hepdl.simulate.showering.requests import ChunkRequest, check_fields
from hepdl.simulate.showering.workers import make_chunks, start_engines

if TYPE_CHECKING:
    from hepdl.schema import Schema

# The part that a configuration names stands first.
__all__ = ["generate", "chunks", "generate_chunk", "iterate_chunks"]  # noqa: RUF022

Progress = Callable[[int], None]


def generate(
    n_events: int,
    *,
    seed: int,
    schema: Schema | None = None,
    n_processes: int = 1,
    progress: Progress | None = None,
    process: str = "w_jet",
    pt: tuple[float, float] = (250.0, 300.0),
    mass: tuple[float, float] | None = None,
    eta_max: float = 2.0,
    jet_radius: float = 1.0,
    level: str = "particle",
    multi_parton_interactions: bool = True,
    pt_hat: tuple[float, float] | None = None,
    beam_energy: float = 13000.0,
    tower_size: float = 0.1,
    tower_threshold: float = 0.2,
) -> ak.Array:
    """Return exactly ``n_events`` selected jets, whatever must be generated to get them.

    Args:
        n_events: Jets wanted.
        seed: The same seed gives the same jets, whatever ``n_processes``.
        schema: If given, all that it reads must be among the fields that every jet has.
        n_processes: Worker processes; more than there are chunks of 1000 jets do not help.
        progress: Called with the number of new jets, many times.
        process: ``"w_jet"`` or ``"qcd"``.
        pt: Window of the jet pT [GeV].
        mass: Window of the ungroomed jet mass [GeV], or None.
        eta_max: Largest absolute pseudorapidity of the jet axis.
        jet_radius: Radius of the anti-kt clustering, soft drop and N-subjettiness.
        level: ``"particle"`` or ``"towers"``.
        multi_parton_interactions: Whether the underlying event is simulated; without it Pythia is
            five times faster, and the jet masses are too small.
        pt_hat: Window of the hard process's pT [GeV]; that of the jets if None.
        beam_energy: Centre-of-mass energy [GeV].
        tower_size: Width of a calorimeter cell in eta and phi [rad].
        tower_threshold: Smallest transverse energy of a tower [GeV].

    Returns:
        Fields ``event_number``, ``run_number`` (int64), ``generator_weight``, ``jet_pt``,
        ``jet_eta``, ``jet_phi``, ``jet_mass``, ``soft_drop_mass``, ``tau21`` (float32),
        ``n_constituents`` (int32) and ``constituents`` with ``pt``, ``eta``, ``phi``, ``energy``
        (float32) by decreasing pT.

    Raises:
        ConfigError: An option is not accepted, or the windows leave no jet.
        SchemaError: The schema reads a field that the jets do not have.
        MissingExtraError: Pythia or FastJet is not installed.
        EnvironmentFailure: A worker process was killed.
    """
    requests = chunks(
        n_events,
        seed=seed,
        schema=schema,
        process=process,
        pt=pt,
        mass=mass,
        eta_max=eta_max,
        jet_radius=jet_radius,
        level=level,
        multi_parton_interactions=multi_parton_interactions,
        pt_hat=pt_hat,
        beam_energy=beam_energy,
        tower_size=tower_size,
        tower_threshold=tower_threshold,
    )
    made = iterate_chunks(requests, n_processes=n_processes, progress=progress)
    jets = {request.index: part for request, part in made}
    return ak.concatenate([jets[request.index] for request in requests])


def chunks(
    n_events: int, *, seed: int, schema: Schema | None = None, **options: Any
) -> list[ChunkRequest[JetOptions]]:
    """Return the chunks that together are ``generate(n_events, …)`` with the same options.

    Raises:
        ConfigError: An option is not accepted.
        SchemaError: The schema reads a field that the jets do not have.
    """
    check_fields(schema, FIELDS, generator="pythia_jets")
    return chunk_requests(n_events, seed=seed, options=JetOptions.from_keywords(options))


def generate_chunk(request: ChunkRequest[JetOptions], progress: Progress | None = None) -> ak.Array:
    """Return the jets of one chunk, the same whoever asks and whenever."""
    return make_chunk(request, progress)


def iterate_chunks(
    requests: Sequence[ChunkRequest[JetOptions]],
    *,
    n_processes: int = 1,
    progress: Progress | None = None,
) -> Iterator[tuple[ChunkRequest[JetOptions], ak.Array]]:
    """Yield each request and its jets as soon as they are there, not always in order.

    A caller that stores each chunk under ``request.index`` and asks only for those that it does
    not have yet goes on after any interruption.

    Raises:
        ConfigError: ``n_processes`` is below 1, or the windows leave no jet.
        MissingExtraError: Pythia or FastJet is not installed.
        EnvironmentFailure: A worker process was killed.
    """
    start_engines(n_processes, generator="pythia_jets")
    return make_chunks(make_chunk, requests, n_processes=n_processes, progress=progress)
