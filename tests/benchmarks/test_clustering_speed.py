"""Jets per second on one thread, beside FastJet in the same run.

NUMBA_NUM_THREADS=1 pytest -n 0 -o log_cli=true tests/benchmarks/test_clustering_speed.py
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest

from hepdl.kinematics import build, cluster, standardise

log = logging.getLogger(__name__)

N_JETS = 2000
N_CONSTITUENTS = 57
N_REPEATS = 9


def seconds(call: Callable[[], Any]) -> float:
    """CPU time, which a loaded machine stretches less than the wall clock."""
    start = time.process_time()
    call()
    return time.process_time() - start


@pytest.mark.simulation
def test_clustering_is_not_slower_than_fastjet() -> None:
    fastjet = pytest.importorskip("fastjet")
    rng = np.random.default_rng(1)
    n = N_JETS * N_CONSTITUENTS
    pt, y, phi = rng.exponential(5.0, n), rng.normal(0.0, 0.4, n), rng.normal(0.0, 0.4, n)
    momentum = [pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(y), pt * np.cosh(y)]
    p4 = np.stack(momentum, axis=1)
    offsets = np.arange(0, n + 1, N_CONSTITUENTS)
    records = ak.zip(dict(zip(("px", "py", "pz", "E"), momentum, strict=True)))
    jagged = ak.unflatten(ak.with_name(records, "Momentum4D"), N_CONSTITUENTS)
    definition = fastjet.JetDefinition(fastjet.kt_algorithm, 1000.0)
    contenders: dict[str, Callable[[], Any]] = {
        "cluster, kt": lambda: cluster(p4, offsets, topology="kt"),
        "FastJet, kt, awkward interface": lambda: fastjet.ClusterSequence(jagged, definition),
        "standardise": lambda: standardise(p4, offsets),
        "build, kt": lambda: build(p4, offsets, topology="kt", preprocess=False),
        "build, kt, preprocess": lambda: build(p4, offsets, topology="kt", preprocess=True),
    }
    for call in contenders.values():
        call()
    times = {name: np.empty(N_REPEATS) for name in contenders}
    for repeat in range(N_REPEATS):
        for name, call in contenders.items():
            times[name][repeat] = seconds(call) / N_JETS
    for name, found in times.items():
        low, middle, high = 1e6 * np.quantile(found, [0.0, 0.5, 1.0])
        speed = 1e6 / middle
        log.info("%-32s%7.1f us/jet (%.1f-%.1f)%8.0f jets/s", name, middle, low, high, speed)
    ratio = np.median(times["FastJet, kt, awkward interface"]) / np.median(times["cluster, kt"])
    log.info("FastJet / cluster: %.2f", ratio)
    # Parity, less the spread of a loaded machine.
    assert ratio > 0.8
