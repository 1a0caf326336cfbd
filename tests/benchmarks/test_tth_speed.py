"""CPU time of ttH and tt events on one thread, and how much of it is not Pythia's.

OMP_NUM_THREADS=1 pytest -n 0 -o log_cli=true tests/benchmarks/test_tth_speed.py
"""

from __future__ import annotations

import logging
import time

import numpy as np
import pytest

from hepdl.simulate.detector.measurement import measure
from hepdl.simulate.showering.top_chunks import BATCH_SIZE
from hepdl.simulate.showering.top_events import collide_tops, make_top_pythia
from hepdl.simulate.showering.top_objects import true_events
from hepdl.simulate.showering.top_options import TopOptions
from hepdl.simulate.showering.top_selection import select_events

log = logging.getLogger(__name__)

N_BATCHES = 12
STEPS = ("Pythia, nextBatch alone", "collide_tops", "true_events", "measure and select")


@pytest.mark.simulation
@pytest.mark.parametrize("process", ["tth", "tt"])
def test_the_detector_costs_less_than_the_collisions(process: str) -> None:
    pytest.importorskip("pythia8mc")
    options = TopOptions(process=process)
    pythia = make_top_pythia(options, seed=1)
    times = np.empty((N_BATCHES, len(STEPS)))
    n_selected = 0
    for batch in range(N_BATCHES + 1):
        random = np.random.default_rng(batch)
        clock = [time.process_time()]
        pythia.nextBatch(BATCH_SIZE)
        clock.append(time.process_time())
        collisions = collide_tops(pythia, BATCH_SIZE, positive_lepton=batch % 2 == 0)
        clock.append(time.process_time())
        truth = true_events(collisions, random, lepton_pt=options.lepton_pt)
        clock.append(time.process_time())
        measured = measure(truth, random)
        events = select_events(measured, collisions.event_weight, options, variation="nominal")
        clock.append(time.process_time())
        # The first batch also loads what is loaded on first use.
        if batch:
            times[batch - 1] = np.diff(clock) / BATCH_SIZE
            n_selected += len(events)
    for name, found in zip(STEPS, times.T, strict=True):
        low, middle, high = 1e3 * np.quantile(found, [0.0, 0.5, 1.0])
        log.info("%-4s %-24s%7.3f ms/event (%.3f-%.3f)", process, name, middle, low, high)
    chain = np.median(times[:, 1:].sum(axis=1))
    selected = n_selected / (N_BATCHES * BATCH_SIZE)
    log.info("%s chain: %.0f collisions/s, %.1f selected/s", process, 1 / chain, selected / chain)
    # All that is not Pythia costs less than Pythia does.
    assert chain < 2.0 * np.median(times[:, 0])
