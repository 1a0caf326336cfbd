"""Rates against an independent program: numbers measured once with its 80 000 and 280 000 events."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepdl.simulate.detector.measurement import MAX_JETS, measure
from hepdl.simulate.pythia_tth import CROSS_SECTION
from hepdl.simulate.showering.top_chunks import BATCH_SIZE
from hepdl.simulate.showering.top_events import collide_tops, make_top_pythia
from hepdl.simulate.showering.top_objects import true_events
from hepdl.simulate.showering.top_options import TopOptions
from hepdl.simulate.showering.top_selection import select_events

pytestmark = [pytest.mark.simulation, pytest.mark.slow]

# Fractions of collisions with one lepton, and >= 6 jets, and >= 3 and >= 4 b-tags at 77 %.
RATES = {"tth": (0.546, 0.245, 0.148, 0.053), "tt": (0.557, 0.053, 0.0046, 0.00050)}
N_BATCHES = {"tth": 30, "tt": 80}
# The other program also takes leptons of tau decays, and so loses events to a second lepton.
DIFFERENT_LEPTONS = 0.02


@pytest.mark.parametrize("process", ["tth", "tt"])
def test_selected_fractions_and_both_ways_of_tagging_agree(process: str) -> None:
    cuts = [
        TopOptions(process=process, minimum_jets=0, minimum_b_tags=0),
        TopOptions(process=process, minimum_b_tags=0),
        TopOptions(process=process),
        TopOptions(process=process, minimum_b_tags=4),
        TopOptions(process=process, b_tagging="hard"),
    ]
    pythia = make_top_pythia(cuts[0], seed=4711)
    sums, squares = np.zeros(len(cuts)), np.zeros(len(cuts))
    # Sum and square of hard minus truth tagging in bins of the hardest jet's tag.
    difference, spread = np.zeros(5), np.zeros(5)
    generated = 0.0
    for batch in range(N_BATCHES[process]):
        collisions = collide_tops(pythia, BATCH_SIZE, positive_lepton=batch % 2 == 0)
        random = np.random.default_rng(batch)
        truth = true_events(collisions, random, lepton_pt=27.0)
        assert not truth.jets[:, MAX_JETS - 1].any()
        measured = measure(truth, random)
        generated += collisions.event_weight.sum()
        for row, options in enumerate(cuts):
            events = select_events(measured, collisions.event_weight, options, variation="nominal")
            weight = ak.to_numpy(events.mc_weight * events.tag_weight).astype(np.float64)
            sums[row] += weight.sum()
            squares[row] += (weight**2).sum()
            if row in (2, 4):
                tag = ak.to_numpy(events.jets.b_tag[:, 0])
                sign = 1.0 if options.b_tagging == "hard" else -1.0
                difference += sign * np.bincount(tag, weight, minlength=5)
                spread += np.bincount(tag, weight**2, minlength=5)
    found, errors = sums / generated, np.sqrt(squares) / generated
    expected = np.array(RATES[process])
    assert (np.abs(found[:4] - expected) < 5 * errors[:4] + DIFFERENT_LEPTONS * expected).all()
    # The two samples of one set of collisions are correlated, so this is wide.
    assert (np.abs(difference) < 5 * np.sqrt(spread) + 1e-9).all()
    assert abs(found[4] - found[2]) < 5 * np.hypot(errors[4], errors[2])
    # Pythia's is the cross-section of one charge, and improves with the number of its trials.
    info = pythia.infoPython()
    sigma, error = 2e12 * info.sigmaGen(), 2e12 * info.sigmaErr()
    assert abs(sigma - CROSS_SECTION[process]) < 5 * error
