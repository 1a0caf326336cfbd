"""Jets per second of networks on particles, and of the search for neighbours, in one run.

OMP_NUM_THREADS=1 pytest -n 0 -o log_cli=true tests/benchmarks/test_particle_speed.py
pytest -n 0 -m gpu -o log_cli=true tests/benchmarks/test_particle_speed.py     # where there is one
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch import nn

from hepdl.events import Events, Jagged
from hepdl.events.particles import attach_particles
from hepdl.events.scaling import Scaling
from hepdl.layers.neighbours import arrange_neighbourhood, nearest_neighbours
from hepdl.models.deep_sets import DeepSets
from hepdl.models.lstm import Lstm
from hepdl.models.particle_net import ParticleNet

log = logging.getLogger(__name__)

N_REPEATS = 9
MODELS: dict[str, Callable[[], nn.Module]] = {
    "deep_sets": DeepSets,
    "lstm": Lstm,
    "particle_net_lite": lambda: ParticleNet(lite=True),
    "particle_net": ParticleNet,
}
# Multiplications and additions of ParticleNet for one edge and one particle, forward: layers of
# the three blocks, shortcuts. Backward takes twice as many.
EDGE_FLOPS = 2 * (
    14 * 64 + 2 * 64**2 + 128 * 128 + 2 * 128**2 + 256 * 256 + 2 * 256**2
)  # fmt: skip
PARTICLE_FLOPS = 2 * (7 * 64 + 64 * 128 + 128 * 256)


def jets(n: int) -> Events:
    """Jets of 20 to 105 particles, as many as W jets of 250 GeV have."""
    random = np.random.default_rng(1)
    counts = random.integers(20, 106, n)
    n_rows = int(counts.sum())
    pt = random.exponential(5.0, n_rows) + 0.1
    eta, phi = random.normal(0.0, 0.3, n_rows), random.normal(0.0, 0.3, n_rows)
    rows = np.stack((pt, eta, phi, pt * np.cosh(eta)), axis=1).astype(np.float32)
    offsets = torch.from_numpy(np.concatenate(([0], np.cumsum(counts))))
    columns = ("pt", "eta", "phi", "energy")
    return Events(
        event_number=torch.arange(n),
        run_number=torch.ones(n, dtype=torch.int64),
        process=torch.zeros(n, dtype=torch.int64),
        label=torch.arange(n) % 2,
        event_weight=torch.ones(n),
        flat=torch.zeros(n, 0),
        feature_names=(),
        nuisance=torch.zeros(n, 0),
        collections={"constituents": Jagged(torch.from_numpy(rows), offsets, columns)},
    )


def prepared(model: Any, events: Events) -> Events:
    ready = attach_particles(events, model.inputs.particles)
    return Scaling.fit(ready, model.inputs).apply(ready)


def cpu_seconds(call: Callable[[], Any]) -> float:
    """CPU time, which a loaded machine stretches less than the wall clock."""
    start = time.process_time()
    call()
    return time.process_time() - start


def training_step(model: Any, events: Events) -> None:
    logits = model(*model.prepare(events))
    loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), events.label.float())
    loss.backward()


@pytest.mark.parametrize("n_coordinates", [2, 64])
def test_neighbours_of_all_jets_at_once_are_faster_than_jet_by_jet(n_coordinates: int) -> None:
    """In the plane a k-d tree for each jet is faster still on a CPU; there is none on a GPU."""
    torch.set_num_threads(1)
    particles = jets(128).collections["constituents"]
    points = torch.randn(len(particles.values), n_coordinates)
    layout = arrange_neighbourhood(particles.offsets, particles.host_offsets, n_neighbours=16)
    pieces = points.split(particles.counts.tolist())

    def at_once() -> None:
        nearest_neighbours(points, layout, n_neighbours=16)

    def jet_by_jet() -> None:
        for piece in pieces:
            torch.cdist(piece, piece).fill_diagonal_(torch.inf).topk(16, largest=False)

    def with_trees() -> None:
        for piece in pieces:
            cKDTree(piece.numpy()).query(piece.numpy(), k=17)

    at_once()
    calls = (at_once, jet_by_jet, with_trees)
    times = [[cpu_seconds(call) for call in calls] for _ in range(N_REPEATS)]
    ours, theirs, trees = (median(column) for column in zip(*times, strict=True))
    log.info(
        "neighbours in %d coordinates: %.0f jets/s at once, %.0f jet by jet, %.0f with k-d trees",
        n_coordinates,
        *(128 / found for found in (ours, theirs, trees)),
    )
    assert ours < theirs


@pytest.mark.parametrize("name", MODELS)
def test_jets_per_second_of_one_thread(name: str) -> None:
    torch.set_num_threads(1)
    model: Any = MODELS[name]()
    n = 64 if name == "particle_net" else 128
    events = jets(n)
    built = cpu_seconds(lambda: attach_particles(events, model.inputs.particles))
    events = prepared(model, events)
    training_step(model, events)
    n_repeats = 3 if name == "particle_net" else N_REPEATS
    train = median(cpu_seconds(lambda: training_step(model, events)) for _ in range(n_repeats))
    model.eval()
    with torch.no_grad():
        score = median(cpu_seconds(lambda: model(*model.prepare(events))) for _ in range(n_repeats))
    log.info(
        "%s: %.0f jets/s training, %.0f scoring, %.0f built", name, n / train, n / score, n / built
    )
    assert score < train


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_jets_per_second_of_particle_net_on_a_gpu(compiled: bool, precision: torch.dtype) -> None:
    model: Any = ParticleNet().cuda()
    events = prepared(model, jets(1024)).to("cuda")
    tensors = model.prepare(events)
    forward = torch.compile(model) if compiled else model
    autocast = (
        nullcontext() if precision == torch.float32 else torch.autocast("cuda", dtype=precision)
    )

    def step() -> None:
        with autocast:
            logits = forward(*tensors)
        nn.functional.binary_cross_entropy_with_logits(
            logits.float(), events.label.float()
        ).backward()

    for _ in range(5):
        step()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        step()
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / 20
    flops = 3 * (len(tensors[-1]) * EDGE_FLOPS + len(tensors[0]) * PARTICLE_FLOPS)
    log.info(
        "particle_net, %s%s: %.0f jets/s, %.1f TFLOP/s",
        precision,
        ", compiled" if compiled else "",
        len(events) / seconds,
        flops / seconds / 1e12,
    )
    assert torch.isfinite(next(model.parameters()).grad).all()
