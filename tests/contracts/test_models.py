"""What every model of ``hepdl/models`` keeps, whatever it is made of."""

from __future__ import annotations

import importlib
import io
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hepdl.models
from hepdl.errors import ConfigError
from hepdl.events import AssignedEvents, Events, Jagged, select_features
from hepdl.events.assigned import Truth
from hepdl.events.particles import attach_particles
from hepdl.events.trees import attach_trees
from hepdl.kinematics import RECONSTRUCTION_FEATURES, TTH_DECAY, Decay
from hepdl.models import Network, Trees
from hepdl.train.state.auxiliary import AuxiliaryHeads
from hepdl.train.state.heads import AuxiliaryHead

NAMES = [found.name for found in pkgutil.iter_modules(hepdl.models.__path__) if not found.ispkg]
FEATURES = ("jet_pt", "width")
# What a model cannot be made without, and whatever else is worth a run of its own.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "boosted_trees": [
        {"features": FEATURES, "n_rounds": 5},
        {"features": FEATURES, "n_rounds": 5, "subsample": 0.5, "colsample_bytree": 0.5},
    ],
    "mlp": [
        {"features": FEATURES},
        {"features": FEATURES, "residual": True, "dropout": 0.2, "batch_norm": False},
        {
            "features": FEATURES,
            "batch_norm": False,
            "layer_norm": True,
            "norm_after": True,
            "activation": "swiglu",
            "embedding": {"name": "periodic_linear_relu", "size": 3, "frequencies": 4},
        },
    ],
    "resmlp": [
        {"features": FEATURES, "width": 16, "n_blocks": 2},
        {"features": FEATURES, "width": 16, "dropout": 0.2, "embedding": "linear_relu"},
    ],
    "recnn": [
        {"cell": "simple"},
        {"cell": "gated", "features": FEATURES, "topology": "cambridge_aachen"},
        {"cell": "gated", "root_children": True, "preprocess": False, "topology": "random"},
    ],
    "deep_sets": [
        {"particle_hidden": (16, 16), "hidden": (16,)},
        {"particle_hidden": (16, 16), "hidden": (16,), "features": FEATURES, "max_particles": 5},
        {"weighted": True, "dropout": 0.2},
    ],
    "particle_net": [
        {"lite": True},
        {"blocks": [(8, 8), (12,)], "n_neighbours": 3, "features": FEATURES, "max_particles": 9},
    ],
    "lstm": [
        {"units": 8},
        {"units": 8, "order": "hardest_first", "features": FEATURES, "max_particles": 5},
    ],
    "decay_tree": [
        {"hidden": 8, "head": (6,), "n_assignments": 3},
        {"hidden": 8, "head": (6,), "pool": "log_sum_exp", "features": FEATURES, "residual": True},
        {"hidden": 8, "pool": "best", "head": (), "phi_reference": "tth"},
        {"preset": "guo2018"},
    ],
    "combo_lstm": [
        {"units": 8},
        {"units": 8, "order": "best_first", "n_assignments": 5, "features": FEATURES},
        {"preset": "guo2018", "features": FEATURES},
    ],
    "lorentz_boost_network": [
        {"hidden": (16,)},
        {"layer": "lola", "hidden": (16,), "features": FEATURES},
        {
            "n_combinations": 3,
            "phi_reference": None,
            "mirror": False,
            "batch_norm": False,
            "assignment_features": ("mass_higgs",),
        },
    ],
}
CASES = [(name, options) for name in NAMES for options in OPTIONS.get(name, [{}])]
is_network = [case for case in CASES if case[0] != "boosted_trees"]


def build(name: str, options: dict[str, Any]) -> Any:
    module = importlib.import_module(f"hepdl.models.{name}")
    torch.manual_seed(0)
    return getattr(module, module.__all__[0])(**options)


@pytest.fixture(scope="module")
def jets() -> Events:
    """Forty jets, the first three of one constituent; signal is wider.

    As events, each also has up to twelve assignments to a decay, every fifth none.
    """
    n, random = 40, np.random.default_rng(0)
    label = np.arange(n) % 2
    sizes = np.concatenate(([1, 1, 1, 2], random.integers(1, 30, n - 4)))
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    spread = np.repeat(0.1 + 0.3 * label, sizes)
    pt = random.exponential(10.0, offsets[-1]) + 0.1
    eta, phi = random.normal(0.0, spread), random.normal(0.5, spread)
    rows = np.stack((pt, eta, phi, pt * np.cosh(eta)), axis=1).astype(np.float32)
    jet_pt = np.add.reduceat(pt, offsets[:-1])
    width = np.add.reduceat(np.abs(eta), offsets[:-1]) / sizes
    return Events(
        event_number=torch.arange(n),
        run_number=torch.ones(n, dtype=torch.int64),
        process=torch.from_numpy(label),
        label=torch.from_numpy(label),
        event_weight=torch.from_numpy(random.uniform(0.5, 1.5, n).astype(np.float32)),
        flat=torch.from_numpy(np.stack((jet_pt, width), axis=1).astype(np.float32)),
        feature_names=FEATURES,
        nuisance=torch.zeros(n, 0),
        collections={
            "constituents": Jagged(
                torch.from_numpy(rows), torch.from_numpy(offsets), ("pt", "eta", "phi", "energy")
            )
        },
        assignments=assigned(n),
    )


def assigned(n: int) -> AssignedEvents:
    """Return assignments of ``n`` events to the decay of ttH, with features, scores and truth."""
    random = np.random.default_rng(1)
    decay = Decay.from_mapping(TTH_DECAY)
    n_best, n_leaves, n_particles = 12, len(decay.leaves), len(decay.particles)
    n_real = random.integers(1, n_best + 1, n)
    n_real[::5] = 0
    mask = np.arange(n_best) < n_real[:, None]
    momenta = random.normal(0.0, 60.0, (n, n_best, n_leaves, 3))
    energy = np.sqrt((momenta**2).sum(axis=3, keepdims=True) + random.uniform(0, 20) ** 2)
    has_tag = np.array([kind.endswith("jet") for kind in decay.kinds])
    tags = random.integers(0, 5, (n, n_best, n_leaves, 1)) * has_tag[:, None]
    leaves = np.concatenate([momenta, energy, tags], axis=3)
    features = random.normal(50.0, 30.0, (n, n_best, len(RECONSTRUCTION_FEATURES)))
    score = -np.sort(random.exponential(5.0, (n, n_best)), axis=1)
    return AssignedEvents(
        decay,
        leaves=torch.from_numpy((leaves * mask[..., None, None]).astype(np.float32)),
        features=torch.from_numpy((features * mask[..., None]).astype(np.float32)),
        score=torch.from_numpy((score * mask).astype(np.float32)),
        mask=torch.from_numpy(mask),
        feature_names=RECONSTRUCTION_FEATURES,
        truth=Truth(
            torch.from_numpy(random.random((n, n_best, n_particles)) < 0.5),
            torch.from_numpy(random.random((n, n_particles)) < 0.5),
        ),
    )


@pytest.fixture
def prepared(jets: Events) -> Callable[[Any], Events]:
    """Return a function that gives the jets what a model needs."""

    def prepare(model: Any) -> Events:
        events = select_features(jets, model.inputs.features)
        if model.inputs.trees:
            events = attach_trees(events, model.inputs.trees)
        if model.inputs.particles:
            events = attach_particles(events, model.inputs.particles)
        wanted = model.inputs.assignments
        if wanted is not None:
            assert events.assignments is not None
            best = events.assignments.best(wanted.n_best, wanted.features)
            events = replace(events, assignments=best)
        if hasattr(model, "standardise"):
            model.standardise(events)
        return events

    return prepare


@pytest.fixture
def scores(prepared: Callable[[Any], Events]) -> Callable[..., torch.Tensor]:
    """Return a function that gives the scores (logits of networks) of the chosen jets."""

    def score(model: Any, events: Events) -> torch.Tensor:
        if not isinstance(model, nn.Module):
            return torch.from_numpy(model.scores(events))
        model.eval()
        with torch.no_grad():
            result: torch.Tensor = model(*model.prepare(events))
        return result

    return score


def fitted(model: Any, events: Events) -> Any:
    if not isinstance(model, nn.Module):
        model.fit(events, events, seed=0, observe=lambda *_: None, n_threads=1)
    return model


def test_every_model_is_here() -> None:
    assert set(OPTIONS) <= set(NAMES)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_model_is_a_network_or_trees(name: str, options: dict[str, Any]) -> None:
    model = build(name, options)
    assert isinstance(model, Network if isinstance(model, nn.Module) else Trees)
    module = importlib.import_module(f"hepdl.models.{name}")
    assert module.__all__[0].lower().replace("_", "") == name.replace("_", "")


@pytest.mark.parametrize(("name", "options"), CASES)
def test_there_is_one_finite_score_per_jet(
    name: str, options: dict[str, Any], prepared: Any, scores: Any
) -> None:
    model = build(name, options)
    events = prepared(model)
    found = scores(fitted(model, events), events)
    assert found.shape == (len(events),)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_score_does_not_depend_on_the_other_jets_or_on_their_order(
    name: str, options: dict[str, Any], prepared: Any, scores: Any
) -> None:
    model = build(name, options)
    events = prepared(model)
    together = scores(fitted(model, events), events)
    order = torch.randperm(len(events), generator=torch.Generator().manual_seed(1))
    # Other shapes of matrix products round differently: a few float32 ulp.
    torch.testing.assert_close(
        scores(model, events.take(order)), together[order], rtol=1e-5, atol=1e-6
    )
    for jet in (0, 3, 17):
        alone = scores(model, events.take(torch.tensor([jet])))
        torch.testing.assert_close(alone[0], together[jet], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_no_jets_give_no_scores(
    name: str, options: dict[str, Any], prepared: Any, scores: Any
) -> None:
    model = build(name, options)
    events = prepared(model)
    nothing = events.take(torch.arange(0))
    assert scores(fitted(model, events), nothing).shape == (0,)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_model_survives_the_disk(
    name: str, options: dict[str, Any], prepared: Any, scores: Any, tmp_path: Path
) -> None:
    model, other = build(name, options), build(name, options)
    events = prepared(model)
    fitted(model, events)
    if isinstance(model, nn.Module):
        other.reset_parameters(torch.Generator().manual_seed(9))
        buffer = io.BytesIO()
        torch.save(model.state_dict(), buffer)
        buffer.seek(0)
        other.load_state_dict(torch.load(buffer, weights_only=True))
    else:
        model.save(tmp_path)
        other.load(tmp_path)
    assert torch.equal(scores(other, events), scores(model, events))


@pytest.mark.parametrize(("name", "options"), is_network)
def test_gradients_reach_every_parameter_and_are_finite(
    name: str, options: dict[str, Any], prepared: Any
) -> None:
    model = build(name, options)
    events = prepared(model)
    logits = model.train()(*model.prepare(events))
    nn.functional.binary_cross_entropy_with_logits(logits, events.label.float()).backward()
    for parameter_name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue  # a constant that a layer of torch brings with it
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize(("name", "options"), is_network)
def test_intermediate_layers_can_carry_auxiliary_heads(
    name: str, options: dict[str, Any], prepared: Any
) -> None:
    model = build(name, options)
    events = prepared(model)
    *layers, _ = [layer for layer, _ in model.named_modules() if layer]
    carrying = []
    for layer in layers:
        heads = AuxiliaryHeads([AuxiliaryHead("a", layer)])
        try:
            heads.attach(model, events)
        except ConfigError:
            continue  # it runs more than once, or gives no vector per event
        model.zero_grad()
        model.train()(*model.prepare(events))
        heads.loss(events, position=0.0, n_epochs=1).backward()
        heads.remove()
        reached = [p.grad for p in model.parameters() if p.grad is not None]
        assert all(torch.isfinite(gradient).all() for gradient in reached), layer
        carrying += [layer] if reached else []
    assert carrying


@pytest.mark.parametrize(("name", "options"), is_network)
def test_preparing_needs_no_gradient_and_changes_nothing(
    name: str, options: dict[str, Any], prepared: Any
) -> None:
    model = build(name, options)
    events = prepared(model)
    before = events.flat.clone()
    one, other = model.prepare(events), model.prepare(events)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not any(tensor.requires_grad for tensor in one)
    assert torch.equal(events.flat, before)


@pytest.mark.parametrize(("name", "options"), is_network)
def test_one_generator_draws_one_network(name: str, options: dict[str, Any]) -> None:
    drawn = []
    for _ in range(2):
        model = build(name, options)
        torch.rand(3)
        model.reset_parameters(torch.Generator().manual_seed(4))
        drawn.append(nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(*drawn)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_nuisances_weights_and_labels_are_no_inputs(
    name: str, options: dict[str, Any], prepared: Any, scores: Any
) -> None:
    model = build(name, options)
    events = prepared(model)
    before = scores(fitted(model, events), events)
    other = replace(
        events.with_event_weight(torch.ones(len(events))),
        label=1 - events.label,
        nuisance=torch.ones(len(events), 1),
    )
    assert torch.equal(scores(model, other), before)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_truth_is_no_input(name: str, options: dict[str, Any], prepared: Any, scores: Any) -> None:
    model = build(name, options)
    events = prepared(model)
    before = scores(fitted(model, events), events)
    found = events.assignments
    assert found is not None
    assert found.truth is not None
    scrambled = Truth(~found.truth.is_right, found.truth.is_known.roll(1, 0))
    for truth in (scrambled, None):
        other = replace(events, assignments=replace(found, truth=truth))
        if hasattr(model, "standardise"):
            model.standardise(other)
        assert torch.equal(scores(model, other), before)


def test_every_model_has_a_reference_or_is_plain() -> None:
    for name in set(NAMES) - {"mlp"}:
        assert "Reference:" in (importlib.import_module(f"hepdl.models.{name}").__doc__ or "")
