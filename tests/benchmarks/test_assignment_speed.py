"""Events per second of building assignments of ttH(bb), each step on one thread, in one run.

NUMBA_NUM_THREADS=1 pytest -n 0 -o log_cli=true tests/benchmarks/test_assignment_speed.py
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hepdl.kinematics import from_pt_eta_phi, mass
from hepdl.kinematics.assignments import assign, chi_square, k_best
from hepdl.kinematics.decays import Decay
from hepdl.kinematics.neutrino import neutrinos_of
from hepdl.kinematics.tth_assignments import TTH_DECAY, tth_assignment_features, tth_candidates
from hepdl.kinematics.tth_features import tth_features

log = logging.getLogger(__name__)

N_EVENTS = 4000
N_BEST = 12
N_REPEATS = 9


def seconds(call: Callable[[], Any]) -> float:
    """CPU time, which a loaded machine stretches less than the wall clock."""
    start = time.process_time()
    call()
    return time.process_time() - start


def events() -> dict[str, Any]:
    """Six to ten jets, four of them tagged, in random directions."""
    random = np.random.default_rng(1)
    shape = (N_EVENTS, 10)
    mask = np.arange(10) < random.integers(6, 11, N_EVENTS)[:, None]
    pt = -np.sort(-random.exponential(50.0, shape) - 25.0, axis=1)
    directions = random.uniform(-2.5, 2.5, shape), random.uniform(-3.1, 3.1, shape)
    jets = from_pt_eta_phi(pt, *directions, mass=np.full(shape, 8.0))
    of_lepton = random.uniform(-2.5, 2.5, N_EVENTS), random.uniform(-3.1, 3.1, N_EVENTS)
    lepton = from_pt_eta_phi(random.uniform(27, 150, N_EVENTS), *of_lepton, mass=np.zeros(N_EVENTS))
    return {
        "jets": np.where(mask[..., None], jets, 0.0),
        "mask": mask,
        "b_tag": random.integers(0, 5, shape),
        "lepton": lepton,
        "met": random.uniform(5, 150, N_EVENTS),
        "met_phi": random.uniform(-3.1, 3.1, N_EVENTS),
    }


def test_chi_square_of_all_assignments_is_faster_than_with_numpy() -> None:
    data = events()
    decay = Decay.from_mapping(TTH_DECAY)
    found = neutrinos_of(data["lepton"], data["met"], data["met_phi"])
    momenta = {"jets": data["jets"], "lepton": data["lepton"][:, None], "neutrino": found.p4}

    def assignments() -> Any:
        candidates = tth_candidates(data["jets"], data["b_tag"], data["mask"], found.is_real)
        return assign(decay, candidates)

    made = assignments()
    known = [
        (made.decay.names.index(particle.name), particle.mass, particle.resolution)
        for particle in decay.particles
        if particle.mass is not None
    ]

    def with_numpy() -> Any:
        p4 = made.momenta(momenta)
        pulls = [((mass(p4[:, :, row]) - m) / width) ** 2 for row, m, width in known]
        return np.where(made.mask, np.sum(pulls, axis=0), np.inf)

    cost = chi_square(made, momenta)
    assert np.allclose(cost, with_numpy(), rtol=1e-9)
    best = k_best(cost, N_BEST)
    steps: dict[str, Callable[[], Any]] = {
        "neutrino, both solutions": lambda: neutrinos_of(
            data["lepton"], data["met"], data["met_phi"]
        ),
        "candidates and assignments": assignments,
        "chi square of all assignments": lambda: chi_square(made, momenta),
        "the same with numpy": with_numpy,
        f"best {N_BEST}": lambda: k_best(cost, N_BEST),
        f"29 features of the best {N_BEST}": lambda: tth_assignment_features(
            made, momenta, data["b_tag"], best
        ),
        "29 features of all": lambda: tth_assignment_features(made, momenta, data["b_tag"]),
        "features of the event": lambda: tth_features(
            data["jets"], data["b_tag"], data["mask"], data["lepton"]
        ),
    }
    for call in steps.values():
        call()
    times = {name: np.empty(N_REPEATS) for name in steps}
    for repeat in range(N_REPEATS):
        for name, call in steps.items():
            times[name][repeat] = seconds(call) / N_EVENTS
    log.info("%.1f valid assignments an event", made.mask.sum(axis=1).mean())
    for name, values in times.items():
        low, middle, high = 1e6 * np.quantile(values, [0.0, 0.5, 1.0])
        log.info("%-32s%7.1f us/event (%.1f-%.1f)", name, middle, low, high)
    aside = ("the same with numpy", "29 features of all")
    whole = sum(np.median(v) for name, v in times.items() if name not in aside)
    log.info("with the features of the best and of the event: %.0f events/s", 1 / whole)
    chain = ("neutrino, both solutions", "candidates and assignments",
             "chi square of all assignments", f"best {N_BEST}")  # fmt: skip
    log.info("to the best %d: %.0f events/s", N_BEST, 1 / sum(np.median(times[n]) for n in chain))
    ratio = np.median(times["the same with numpy"]) / np.median(
        times["chi square of all assignments"]
    )
    log.info("numpy / compiled chi square: %.1f", ratio)
    # A tenth of the usual gain already says that the compiled loop is what runs.
    assert ratio > 2.0
