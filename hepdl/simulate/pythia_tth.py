"""Higgs bosons with a pair of top quarks, and top quarks alone: one lepton and jets.

* ``tth``: g g -> H t tbar and q qbar -> H t tbar at leading order, the Higgs boson decays to b bbar.
* ``tt``: g g -> t tbar and q qbar -> t tbar at leading order. Further b-quarks come from the parton
  shower alone: do not quote a sensitivity from this background.

One W boson decays to an electron or a muon, the other to quarks; both charges come equally. Final
particles with ``|eta| < 4.9`` but neutrinos and the lepton are clustered (anti-kt, R = 0.4), and a
parametrised detector measures them (``hepdl/simulate/detector``): resolution of jets and lepton,
efficiency and isolation of the lepton, missing pT from what is visible, b-tagging in five bins.
Missing are pile-up, fakes, tau leptons, events with two leptons, and every other process.

``b_tagging="hard"`` draws tags and cuts on their number. ``b_tagging="truth"`` keeps every event
with the probability that it passes as ``tag_weight`` and with tags drawn under that condition: the
same distributions, from many more events. The weight of an event is ``mc_weight * tag_weight``.

Truth is in fields that begin with ``truth_`` and must not become a feature: ``jets.truth_flavour``
(5, 4 or 0), ``jets.truth_parton`` (1 to 6: b of the leptonic and of the hadronic top, quark and
antiquark of the W, b and bbar of the Higgs boson; 0 for none), numbers of true b- and c-jets, and
``truth_n_overlaps``, the partons that lost their jet to another parton.

``generated_weight`` is the weight of all collisions since the selected event before. The yield at
a luminosity is ``luminosity * cross_section * sum(mc_weight * tag_weight) / sum(generated_weight)``
with the sums over a whole sample, and ``CROSS_SECTION`` at leading order.

Variations of the jet energy scale, ``jes_up`` and ``jes_down``, are further tables of the same
collisions with the same event numbers, random numbers and b-tagging; ``generate_variations`` and
``iterate_variations`` give a mapping from name to table, the first of which is ``nominal``. An event
may be in one and not in another. Fold by event number, and divide by the nominal
``generated_weight``.

Events come in chunks of 500, each with its own Pythia and a seed made from (seed, process, chunk):
the result does not depend on the number of processes, and the first events of a request are those
of a smaller one.

Needs the extra ``simulate``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import awkward as ak

from hepdl.simulate.showering.requests import ChunkRequest, check_fields, split_request
from hepdl.simulate.showering.top_chunks import make_nominal_chunk, make_variation_chunk
from hepdl.simulate.showering.top_options import TopOptions
from hepdl.simulate.showering.top_selection import FIELDS
from hepdl.simulate.showering.workers import make_chunks, start_engines

if TYPE_CHECKING:
    from hepdl.schema import Schema

# The part that a configuration names stands first.
__all__ = [  # noqa: RUF022
    "generate",
    "CROSS_SECTION",
    "chunks",
    "generate_chunk",
    "generate_variations",
    "iterate_chunks",
    "iterate_variations",
]

Progress = Callable[[int], None]
Request = ChunkRequest[TopOptions]

# Pythia takes 0.8 s to start, 500 events 8 s (tth) to 25 s (tt, by truth tagging) on a busy core; by
# hard tagging 500 events of tt take five minutes, which a killed production repeats at most.
CHUNK_SIZE = 500
# Leading order at 13 TeV with these decays and both charges [fb], known to 0.2 and 0.07 %.
CROSS_SECTION = {"tth": 59.2, "tt": 148_800.0}


def generate(
    n_events: int,
    *,
    seed: int,
    schema: Schema | None = None,
    n_processes: int = 1,
    progress: Progress | None = None,
    process: str = "tth",
    multi_parton_interactions: bool = False,
    minimum_jets: int = 6,
    b_tagging: str = "truth",
    minimum_b_tags: int = 3,
    working_point: int = 77,
    jet_pt: float = 25.0,
    lepton_pt: float = 27.0,
    beam_energy: float = 13000.0,
) -> ak.Array:
    """Return exactly ``n_events`` selected events, whatever must be generated to get them.

    Args:
        n_events: Events wanted.
        seed: The same seed gives the same events, whatever ``n_processes``.
        schema: If given, all that it reads must be among the fields that every event has.
        n_processes: Worker processes; more than there are chunks of 500 events do not help.
        progress: Called with the number of new events, many times.
        process: ``"tth"`` or ``"tt"``.
        multi_parton_interactions: Whether the underlying event is simulated; with it Pythia is
            three to five times slower.
        minimum_jets: Fewest jets with ``|eta| < 2.5``.
        b_tagging: ``"truth"`` or ``"hard"``.
        minimum_b_tags: Fewest jets that pass the working point.
        working_point: Efficiency for b-jets in per cent: 85, 77, 70 or 60.
        jet_pt: Smallest jet pT [GeV].
        lepton_pt: Smallest lepton pT [GeV].
        beam_energy: Centre-of-mass energy [GeV].

    Returns:
        Fields ``event_number``, ``run_number`` (int64), ``mc_weight``, ``tag_weight``,
        ``generated_weight``, ``lepton_pt``, ``lepton_eta``, ``lepton_phi``, ``lepton_energy``,
        ``met``, ``met_phi`` (float32), ``lepton_charge``, ``lepton_is_electron``, ``n_jets``,
        ``n_b_tags``, ``truth_n_b_jets``, ``truth_n_c_jets``, ``truth_n_overlaps`` (int32) and
        ``jets`` with ``pt``, ``eta``, ``phi``, ``energy`` (float32), ``b_tag`` (0 to 4),
        ``truth_flavour``, ``truth_parton`` (int32) by decreasing pT.

    Raises:
        ConfigError: An option is not accepted, or the cuts leave no event.
        SchemaError: The schema reads a field that the events do not have.
        MissingExtraError: Pythia or FastJet is not installed.
        EnvironmentFailure: A worker process was killed.
    """
    requests = chunks(
        n_events,
        seed=seed,
        schema=schema,
        process=process,
        multi_parton_interactions=multi_parton_interactions,
        minimum_jets=minimum_jets,
        b_tagging=b_tagging,
        minimum_b_tags=minimum_b_tags,
        working_point=working_point,
        jet_pt=jet_pt,
        lepton_pt=lepton_pt,
        beam_energy=beam_energy,
    )
    made = iterate_chunks(requests, n_processes=n_processes, progress=progress)
    events = {request.index: part for request, part in made}
    return ak.concatenate([events[request.index] for request in requests])


def generate_variations(
    n_events: int,
    *,
    seed: int,
    variations: Sequence[str] = ("jes_up", "jes_down"),
    n_processes: int = 1,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, ak.Array]:
    """Return ``{"nominal": …, "jes_up": …, "jes_down": …}``; the first has ``n_events`` events.

    Args:
        n_events: Nominal events wanted.
        seed: As for ``generate``, which gives the same nominal events.
        variations: Names of the further tables.
        n_processes: Worker processes.
        progress: Called with the number of new nominal events.
        options: As for ``generate``.

    Raises:
        HepdlError: As ``generate``.
    """
    requests = chunks(n_events, seed=seed, variations=variations, **options)
    made = iterate_variations(requests, n_processes=n_processes, progress=progress)
    tables = {request.index: part for request, part in made}
    return {
        name: ak.concatenate([tables[request.index][name] for request in requests])
        for name in tables[0]
    }


def chunks(
    n_events: int, *, seed: int, schema: Schema | None = None, **options: Any
) -> list[Request]:
    """Return the chunks that together are ``generate(n_events, …)`` with the same options.

    A further option is ``variations``, for ``iterate_variations``.

    Raises:
        ConfigError: An option is not accepted.
        SchemaError: The schema reads a field that the events do not have.
    """
    check_fields(schema, FIELDS, generator="pythia_tth")
    return split_request(
        n_events,
        seed=seed,
        options=TopOptions.from_keywords(options),
        chunk_size=CHUNK_SIZE,
        generator="pythia_tth",
    )


def generate_chunk(request: Request, progress: Progress | None = None) -> ak.Array:
    """Return the nominal events of one chunk, the same whoever asks and whenever."""
    return make_nominal_chunk(request, progress)


def iterate_chunks(
    requests: Sequence[Request], *, n_processes: int = 1, progress: Progress | None = None
) -> Iterator[tuple[Request, ak.Array]]:
    """Yield each request and its nominal events as soon as they are there, not always in order.

    Raises:
        ConfigError: ``n_processes`` is below 1, or the cuts leave no event.
        MissingExtraError: Pythia or FastJet is not installed.
        EnvironmentFailure: A worker process was killed.
    """
    start_engines(n_processes, generator="pythia_tth")
    return make_chunks(make_nominal_chunk, requests, n_processes=n_processes, progress=progress)


def iterate_variations(
    requests: Sequence[Request], *, n_processes: int = 1, progress: Progress | None = None
) -> Iterator[tuple[Request, dict[str, ak.Array]]]:
    """Yield each request and its tables by name, ``"nominal"`` first; otherwise ``iterate_chunks``."""
    start_engines(n_processes, generator="pythia_tth")
    return make_chunks(make_variation_chunk, requests, n_processes=n_processes, progress=progress)
