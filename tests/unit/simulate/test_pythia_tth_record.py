"""Which particles of a record are the lepton and the quarks: hand-made records."""

from __future__ import annotations

import numpy as np

from hepdl.simulate.detector.parton_matching import PARTONS
from hepdl.simulate.showering.top_events import Particles, hard_partons, prompt_leptons

# identity, status, mother (in the event); a W+ to e+, a W- to quarks, a Higgs boson.
EVENT = [
    (90, -11, 0),
    (6, -62, 0),
    (-6, -62, 0),
    (25, -62, 0),
    (5, -23, 1),  # 4: b of the leptonic top
    (24, -22, 1),
    (-5, -23, 2),  # 6: b of the hadronic top
    (-24, -22, 2),
    (-11, -23, 5),  # 8: the positron before radiation
    (12, 23, 5),
    (1, -23, 7),  # 10: quark of the W-
    (-2, -23, 7),  # 11: antiquark
    (5, -23, 3),  # 12
    (-5, -23, 3),  # 13
    (-11, 51, 8),  # 14: the positron after radiation
    (22, 51, 8),
    (511, -83, 4),
    (11, 91, 16),  # an electron of a b-hadron
    (-11, 91, 15),  # a conversion
]
NAMES = {"b_lep": 4, "b_had": 6, "q1": 10, "q2": 11, "b1": 12, "b2": 13}


def particles(*events: list[tuple[int, int, int]]) -> Particles:
    counts = [len(event) for event in events]
    first = np.repeat(np.cumsum(counts) - counts, counts)
    identity, status, mother = np.array([row for event in events for row in event]).T
    return Particles(
        event=np.repeat(np.arange(len(events)), counts),
        identity=identity,
        status=status,
        mother=mother + first,
        p4=np.ones((len(identity), 4)),
        event_weight=np.ones(len(events)),
    )


def conjugated(event: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The same event with antiparticles; the system, photons and the Higgs boson are their own."""
    own = (90, 22, 25)
    return [(row[0] if row[0] in own else -row[0], *row[1:]) for row in event]


def test_the_lepton_is_the_last_copy_of_that_of_the_w_boson() -> None:
    found = prompt_leptons(particles(EVENT, conjugated(EVENT)))
    assert found.tolist() == [14, len(EVENT) + 14]


def test_an_event_without_such_a_lepton_has_none() -> None:
    without = [row for row in EVENT if row != (-11, 51, 8)]
    assert prompt_leptons(particles(without)).tolist() == [-1]


def test_quarks_are_named_by_their_mothers_and_the_charge_of_the_lepton() -> None:
    rows = hard_partons(particles(EVENT), np.array([1]))
    assert dict(zip(PARTONS, rows[0].tolist(), strict=True)) == NAMES


def test_charge_conjugation_swaps_quarks_and_antiquarks_and_nothing_else() -> None:
    rows = hard_partons(particles(conjugated(EVENT)), np.array([-1]))
    swapped = {**NAMES, "q1": 11, "q2": 10, "b1": 13, "b2": 12}
    assert dict(zip(PARTONS, rows[0].tolist(), strict=True)) == swapped


def test_without_a_higgs_boson_its_quarks_are_absent() -> None:
    background = [(row[0] if row[0] != 25 else 21, *row[1:]) for row in EVENT]
    rows = hard_partons(particles(background), np.array([1]))
    assert rows[0].tolist() == [4, 6, 10, 11, -1, -1]


def test_neutrinos_and_intermediate_particles_are_not_visible() -> None:
    visible = np.flatnonzero(particles(EVENT).is_visible)
    assert visible.tolist() == [14, 15, 17, 18]
