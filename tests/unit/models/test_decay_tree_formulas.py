"""The network in the shape of a decay against its formulas, node by node in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hepdl.events import Events
from hepdl.models.decay_tree import DecayTree
from tests.unit.models.decay_toys import (
    AUC_ERROR,
    BEST_ALONE,
    DECAYS,
    assigned_events,
    assignments_of,
    peak_events,
    trained_auc,
)


def made(pool: str, name: str) -> tuple[DecayTree, Events]:
    torch.manual_seed(0)
    model = DecayTree(
        DECAYS[name], pool=pool, n_assignments=4, hidden=8, head=(5,), features=("met", "n_jets")
    )
    events = assigned_events(decay=DECAYS[name])
    model.standardise(events)
    assert model.pooling.logits is not None
    nn.init.constant_(model.pooling.logits.score_factor, 0.7)
    return model.eval(), events


def plain_features(model: DecayTree, p4: dict[str, Any], name: str) -> list[float]:
    """What the network sees of a node, from its momentum, by scalar formulas."""
    px, py, pz, energy, tag = p4[name]
    p_t = math.hypot(px, py)
    rx, ry = p4[model.phi_reference][:2]
    angle = math.atan2(py, px) - math.atan2(ry, rx)
    mass = math.sqrt(max(energy**2 - p_t**2 - pz**2, 0))
    daughters = {p.name: p.daughters for p in model.decay.particles}.get(name, ())
    distances = []
    for i, one in enumerate(daughters):
        for other in daughters[i + 1 :]:
            a, b = p4[one], p4[other]
            turn = math.atan2(a[1], a[0]) - math.atan2(b[1], b[0])
            turn = math.atan2(math.sin(turn), math.cos(turn))
            eta = [math.asinh(v[2] / math.hypot(v[0], v[1])) for v in (a, b)]
            eta = [max(-6, min(6, value)) for value in eta]
            distances.append(math.hypot(eta[0] - eta[1], turn))
    return [
        math.log(max(p_t, 1)),
        max(-6, min(6, math.asinh(pz / p_t))),
        math.cos(angle),
        math.sin(angle),
        math.log(max(energy, 1)),
        math.log1p(mass),
        min(mass / 100, 15),
        tag,
        sum(distances) / len(distances) if distances else 0.0,
    ]


def plain_root(model: DecayTree, leaves: Any, alike: dict[str, str]) -> Any:
    """The state of the root of one assignment, node by node, in float64."""
    state = {k: v.double().numpy() for k, v in model.state_dict().items()}
    names = model.decay.names
    p4 = dict(zip(model.decay.leaves, leaves, strict=True))
    h = {}
    for name in names:
        daughters = {p.name: p.daughters for p in model.decay.particles}.get(name, ())
        if daughters:
            p4[name] = sum(p4[daughter] for daughter in daughters)
    for node, name in enumerate(names):
        x = (np.array(plain_features(model, p4, name)) - state["scaling.center"][node]) / state[
            "scaling.scale"
        ][node]
        u = np.maximum(state["embed.weight"] @ x + state["embed.bias"], 0)
        daughters = {p.name: p.daughters for p in model.decay.particles}.get(name, ())
        if not daughters:
            h[name] = u
            continue
        parts, done = [], set()
        for daughter in sorted(daughters, key=lambda d: names.index(alike.get(d, d))):
            group = [d for d in daughters if alike.get(d, d) == alike.get(daughter, daughter)]
            if alike.get(daughter, daughter) in done:
                continue
            done.add(alike.get(daughter, daughter))
            states = np.array([h[d] for d in group])
            parts += [states[0]] if len(group) == 1 else [states.mean(0), states.max(0)]
        cell = f"cells.cells.{alike.get(name, name)}"
        h[name] = np.maximum(
            state[f"{cell}.weight"] @ np.concatenate([*parts, u]) + state[f"{cell}.bias"], 0
        )
    return h[model.decay.root.name]


ALIKE: dict[str, dict[str, str]] = {
    "tth": {"b2": "b1", "q2": "q1"},
    "wz": {"q2": "q1", "q4": "q3"},
    "pair": {"q2": "q1", "q3": "q1", "q4": "q1", "b2": "b1", "w2": "w1", "top2": "top1"},
    "three": {"g2": "g1", "g3": "g1"},
}


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("pool", ["attention", "log_sum_exp"])
def test_it_is_what_its_formulas_say(pool: str, name: str) -> None:
    model, events = made(pool, name)
    found = assignments_of(events)
    state = {k: v.double().numpy() for k, v in model.state_dict().items()}
    with torch.no_grad():
        result = model(*model.prepare(events))

    def head(values: Any, event: int) -> float:
        x = np.concatenate([values, events.flat[event].double().numpy()])
        weight, bias = (state[f"stack.blocks.0.linear.{key}"] for key in ("weight", "bias"))
        hidden = np.maximum(weight @ x + bias, 0)
        return float(state["output.weight"][0] @ hidden + state["output.bias"][0])

    for event in range(6):
        rows = [k for k in range(4) if found.mask[event, k]]
        roots = [
            plain_root(model, found.leaves[event, k].double().numpy(), ALIKE[name]) for k in rows
        ]
        a = np.array(
            [
                state["pooling.logits.linear.weight"][0] @ root
                + 0.7
                * (found.score[event, k].item() - state["score_scaling.center"])
                / state["score_scaling.scale"]
                for root, k in zip(roots, rows, strict=True)
            ]
        )
        a = np.exp(a) / np.exp(a).sum()
        if pool == "attention":
            expected = head(sum(w * root for w, root in zip(a, roots, strict=True)), event)
        else:
            each = np.array([head(root, event) for root in roots])
            expected = math.log((a * np.exp(each)).sum())
        # Masses of float32 momenta: 1e-6 E² against 5 GeV, in units of the spread.
        assert result[event].item() == pytest.approx(expected, abs=1e-2)


def test_a_peak_in_any_of_the_assignments_is_found() -> None:
    train, test = peak_events(4000, n_best=4, seed=1), peak_events(4000, n_best=4, seed=2)
    for pool in ("best", "attention", "log_sum_exp"):
        torch.manual_seed(0)
        n_best = 1 if pool == "best" else 4
        model = DecayTree(DECAYS["higgs"], pool=pool, n_assignments=n_best, hidden=24, dropout=0.0)
        found = trained_auc(model, train, test)
        if pool == "best":
            assert found < BEST_ALONE + 5 * AUC_ERROR
        else:
            assert found > BEST_ALONE + 5 * AUC_ERROR, pool
