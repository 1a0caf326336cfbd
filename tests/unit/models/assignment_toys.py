"""Events of five jets, two of which come from one heavy particle: what a reconstruction must find."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hepdl.events import Events, Jagged
from hepdl.kinematics import from_pt_eta_phi

RECIPE: dict[str, Any] = {
    "decay": {
        "particles": {"higgs": {"daughters": ["b1", "b2"], "mass": 125.0, "resolution": 10.0}},
        "leaves": {"b1": "b_jet", "b2": "b_jet"},
    },
    "objects": {"jets": {"collection": "jets", "b_tag": "b_tag"}},
    "candidates": {"b_jet": {"of": "jets", "n": 5}},
    "truth": {"column": "origin", "codes": {"b1": 5, "b2": 6}},
}
COLUMNS = ("px", "py", "pz", "energy", "b_tag", "origin")
N_JETS = 5


def toy_events(n: int, *, seed: int = 0, random_truth: bool = False) -> Events:
    """Return signal and background in turn; only signal has a pair of jets with a mass of 125 GeV.

    Args:
        n: Number of events.
        seed: Of everything.
        random_truth: Mark two jets at random instead of those of the heavy particle.
    """
    random = np.random.default_rng(seed)
    label = np.arange(n) % 2
    directions = random.uniform(-2, 2, (n, N_JETS)), random.uniform(-np.pi, np.pi, (n, N_JETS))
    size = 25.0 + random.exponential(40.0, (n, N_JETS))
    p4 = np.asarray(from_pt_eta_phi(size, *directions, mass=np.zeros((n, N_JETS))))
    pair = np.argsort(random.random((n, N_JETS)), axis=1)[:, :2]
    rows = np.arange(n)
    # The second jet is made as hard as it takes for the pair to have the mass.
    first, second = p4[rows, pair[:, 0]], p4[rows, pair[:, 1]]
    dot = first[:, 3] * second[:, 3] - (first[:, :3] * second[:, :3]).sum(axis=1)
    wanted = np.where(label == 1, random.normal(125.0, 8.0, n), np.sqrt(2 * dot))
    p4[rows, pair[:, 1]] *= (wanted**2 / (2 * dot))[:, None]
    origin = np.zeros((n, N_JETS))
    marked = np.argsort(random.random((n, N_JETS)), axis=1)[:, :2] if random_truth else pair
    origin[rows, marked[:, 0]], origin[rows, marked[:, 1]] = 5, 6
    origin[label == 0] = 0
    tags = random.integers(0, 5, (n, N_JETS))
    order = np.argsort(-np.hypot(p4[..., 0], p4[..., 1]), axis=1)
    values = np.concatenate([p4, tags[..., None], origin[..., None]], axis=2)
    values = np.take_along_axis(values, order[..., None], axis=1).reshape(-1, len(COLUMNS))
    jets = Jagged(
        torch.from_numpy(values.astype(np.float32)), torch.arange(n + 1) * N_JETS, COLUMNS
    )
    return Events(
        event_number=torch.from_numpy(random.permutation(n) + 1000 * seed),
        run_number=torch.ones(n, dtype=torch.int64),
        process=torch.from_numpy(1 - label),
        label=torch.from_numpy(label),
        event_weight=torch.ones(n),
        flat=torch.zeros(n, 0),
        feature_names=(),
        nuisance=torch.zeros(n, 0),
        collections={"jets": jets},
        process_names=("signal", "background"),
    )
