"""Events whose objects are assigned to a decay, and decays of several shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from hepdl.events import AssignedEvents, Events
from hepdl.events.assigned import Truth
from hepdl.kinematics import TTH_DECAY, Decay

# Two unlike bosons, two alike, three jets alike, and a lepton pair beside one jet.
WZ: dict[str, Any] = {
    "particles": {
        "w_prime": ["w", "z"],
        "w": {"daughters": ["q1", "q2"], "mass": 80.0, "resolution": 10.0},
        "z": {"daughters": ["q3", "q4"], "mass": 91.0, "resolution": 10.0},
    },
    "leaves": dict.fromkeys(("q1", "q2", "q3", "q4"), "jet"),
}
PAIR: dict[str, Any] = {
    "particles": {"x": ["top1", "top2"], "top1": ["w1", "b1"], "top2": ["b2", "w2"],
                  "w1": ["q1", "q2"], "w2": ["q3", "q4"]},
    "leaves": dict.fromkeys(("q1", "q2", "q3", "q4"), "jet") | dict.fromkeys(("b1", "b2"), "b_jet"),
}  # fmt: skip
THREE: dict[str, Any] = {
    "particles": {"x": ["g1", "lepton", "g2", "g3"]},
    "leaves": {"g1": "jet", "g2": "jet", "g3": "jet", "lepton": "lepton"},
}
HIGGS: dict[str, Any] = {
    "particles": {"higgs": ["b1", "b2"]},
    "leaves": {"b1": "b_jet", "b2": "b_jet"},
}
DECAYS = {"tth": TTH_DECAY, "wz": WZ, "pair": PAIR, "three": THREE, "higgs": HIGGS}


def assigned_events(
    n: int = 30,
    *,
    n_best: int = 4,
    decay: dict[str, Any] = TTH_DECAY,
    seed: int = 0,
    feature_names: tuple[str, ...] = (),
) -> Events:
    """Return events with 1 to ``n_best`` random assignments each, every seventh none."""
    random = np.random.default_rng(seed)
    made = Decay.from_mapping(decay)
    n_leaves, n_particles = len(made.leaves), len(made.particles)
    n_real = random.integers(1, n_best + 1, n)
    n_real[6::7] = 0
    mask = np.arange(n_best) < n_real[:, None]
    momenta = random.normal(0.0, 60.0, (n, n_best, n_leaves, 3))
    mass = random.uniform(5.0, 15.0, (n, n_best, n_leaves, 1))
    energy = np.sqrt((momenta**2).sum(axis=3, keepdims=True) + mass**2)
    tags = random.integers(0, 5, (n, n_best, n_leaves, 1))
    leaves = np.concatenate([momenta, energy, tags], axis=3) * mask[..., None, None]
    features = random.normal(60.0, 30.0, (n, n_best, len(feature_names))) * mask[..., None]
    score = -np.sort(random.exponential(5.0, (n, n_best)), axis=1) * mask
    label = np.arange(n) % 2
    return Events(
        event_number=torch.arange(n),
        run_number=torch.ones(n, dtype=torch.int64),
        process=torch.from_numpy(label),
        label=torch.from_numpy(label),
        event_weight=torch.from_numpy(random.uniform(-0.5, 1.5, n).astype(np.float32)),
        flat=torch.from_numpy(random.normal(size=(n, 2)).astype(np.float32)),
        feature_names=("met", "n_jets"),
        nuisance=torch.zeros(n, 0),
        assignments=AssignedEvents(
            made,
            leaves=torch.from_numpy(leaves.astype(np.float32)),
            features=torch.from_numpy(features.astype(np.float32)),
            score=torch.from_numpy(score.astype(np.float32)),
            mask=torch.from_numpy(mask),
            feature_names=feature_names,
            truth=Truth(
                torch.from_numpy(random.random((n, n_best, n_particles)) < 0.5),
                torch.from_numpy(random.random((n, n_particles)) < 0.5),
            ),
        ),
    )


def assignments_of(events: Events) -> AssignedEvents:
    assert events.assignments is not None
    return events.assignments


def with_assignments(events: Events, **changes: Any) -> Events:
    return replace(events, assignments=replace(assignments_of(events), **changes))


def peak_events(n: int, *, n_best: int, seed: int) -> Events:
    """Return pairs of jets; in signal one of each event, at a random place, has a mass of 125 GeV.

    All other pairs, and those of background, have any mass from 50 to 250 GeV. The mass is a
    feature, too.
    """
    random = np.random.default_rng(seed)
    label = np.arange(n) % 2
    mass = random.uniform(50.0, 250.0, (n, n_best))
    place = random.integers(0, n_best, n)
    is_it = (np.arange(n_best) == place[:, None]) & (label == 1)[:, None]
    mass = np.where(is_it, random.normal(125.0, 4.0, (n, n_best)), mass)
    # Two massless momenta back to back, then boosted along the beam.
    cos, phi = random.uniform(-0.8, 0.8, (n, n_best)), random.uniform(-np.pi, np.pi, (n, n_best))
    sin = np.sqrt(1 - cos**2)
    axis = np.stack([sin * np.cos(phi), sin * np.sin(phi), cos], axis=-1)
    rapidity = random.normal(0.0, 0.5, (n, n_best))
    leaves = np.zeros((n, n_best, 2, 5))
    for row, sign in enumerate((1, -1)):
        energy, pz = mass / 2, sign * axis[..., 2] * mass / 2
        leaves[:, :, row, :2] = sign * axis[..., :2] * mass[..., None] / 2
        leaves[:, :, row, 2] = np.cosh(rapidity) * pz + np.sinh(rapidity) * energy
        leaves[:, :, row, 3] = np.cosh(rapidity) * energy + np.sinh(rapidity) * pz
    events = assigned_events(n, n_best=n_best, decay=HIGGS, seed=seed)
    return replace(
        with_assignments(
            events,
            leaves=torch.from_numpy(leaves.astype(np.float32)),
            score=torch.from_numpy(random.normal(size=(n, n_best)).astype(np.float32)),
            mask=torch.ones(n, n_best, dtype=torch.bool),
            features=torch.from_numpy(mass[..., None].astype(np.float32)),
            feature_names=("mass_higgs",),
            truth=Truth(torch.from_numpy(is_it[..., None]), torch.from_numpy(label == 1)[:, None]),
        ),
        event_weight=torch.ones(n),
        flat=torch.zeros(n, 0),
        feature_names=(),
    )


# The first of four assignments of ``peak_events`` has the peak in a quarter of the signal, so that
# whoever sees it alone has an AUC of at most 3/4 · 1/2 + 1/4.
BEST_ALONE = 0.625
# Of the AUC of 2000 against 2000 events: at most that of chance, sqrt(4001 / (12 · 2000²)).
AUC_ERROR = 0.0092


def trained_auc(model: Any, train: Events, test: Events) -> float:
    """Train a network for some epochs, and return its AUC on other events."""
    wanted = model.inputs.assignments
    train, test = (
        with_assignments_of(events, wanted.n_best, wanted.features) for events in (train, test)
    )
    model.standardise(train)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(15):
        for first in range(0, len(train), 200):
            part = train.slice(first, first + 200)
            optimizer.zero_grad()
            found = model.train()(*model.prepare(part))
            nn.functional.binary_cross_entropy_with_logits(found, part.label.float()).backward()
            optimizer.step()
    with torch.no_grad():
        scores = model.eval()(*model.prepare(test)).numpy()
    is_signal = test.label.numpy() == 1
    ranks = scores.argsort().argsort() + 1.0
    n = int(is_signal.sum())
    return float((ranks[is_signal].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))


def with_assignments_of(events: Events, n_best: int, features: tuple[str, ...]) -> Events:
    """Return the events with the best assignments alone, as a model takes them."""
    return replace(events, assignments=assignments_of(events).best(n_best, features))
