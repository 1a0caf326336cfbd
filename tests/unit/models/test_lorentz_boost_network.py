from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError
from hepdl.events import AssignedEvents, Events, select_features
from hepdl.kinematics import TTH_DECAY, Decay
from hepdl.models.lorentz_boost_network import LorentzBoostNetwork, measured_from, mirrored

DECAY = Decay.from_mapping(TTH_DECAY)
LAYERS = ("lbn", "lola")


def toy_events(n: int = 40, *, seed: int = 0) -> Events:
    """Two assignments of random objects; in signal b1 and b2 fly closer together."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 2
    momentum = 80 * torch.randn(n, 2, 8, 3, generator=generator)
    b1, b2 = DECAY.leaves.index("b1"), DECAY.leaves.index("b2")
    near = momentum[:, :, b1] + 40 * torch.randn(n, 2, 3, generator=generator)
    momentum[:, :, b2] = torch.where(label[:, None, None] == 1, near, momentum[:, :, b2])
    energy = (momentum.square().sum(-1, keepdim=True) + 25).sqrt()
    tags = torch.randint(0, 5, (n, 2, 8, 1), generator=generator)
    tags[:, :, [DECAY.leaves.index(name) for name in ("lepton", "neutrino")]] = 0
    return Events(
        event_number=torch.arange(n),
        run_number=torch.ones(n, dtype=torch.int64),
        process=label,
        label=label,
        event_weight=torch.ones(n),
        flat=torch.randn(n, 2, generator=generator),
        feature_names=("met", "n_jets"),
        nuisance=torch.zeros(n, 0),
        assignments=AssignedEvents(
            DECAY,
            leaves=torch.cat((momentum, energy, tags), dim=3),
            features=torch.rand(n, 2, 2, generator=generator),
            score=torch.rand(n, 2, generator=generator),
            mask=torch.ones(n, 2, dtype=torch.bool),
            feature_names=("mass_higgs", "delta_r_b1_b2"),
        ),
    )


def with_leaves(events: Events, leaves: Tensor) -> Events:
    assert events.assignments is not None
    return replace(events, assignments=replace(events.assignments, leaves=leaves))


def leaves_of(events: Events) -> Tensor:
    assert events.assignments is not None
    return events.assignments.leaves


def moved(events: Events, angle: float, signs: tuple[float, float]) -> Events:
    """Return the events turned about the beam, then with other signs of py and pz."""
    px, py, pz, energy, tag = leaves_of(events).unbind(-1)
    cos, sin = math.cos(angle), math.sin(angle)
    turned = (cos * px - sin * py, signs[0] * (sin * px + cos * py), signs[1] * pz, energy, tag)
    return with_leaves(events, torch.stack(turned, dim=-1))


def ready(model: LorentzBoostNetwork, events: Events) -> Events:
    """Return the events with what the model takes."""
    wanted = model.inputs.assignments
    assert wanted is not None
    assert events.assignments is not None
    best = events.assignments.best(wanted.n_best, wanted.features)
    return replace(select_features(events, model.inputs.features), assignments=best)


def made(**options: Any) -> LorentzBoostNetwork:
    """Return a network that has seen one minibatch, ready for scoring."""
    torch.manual_seed(0)
    model = LorentzBoostNetwork(**options)
    events = ready(model, toy_events(200, seed=9))
    with torch.no_grad():
        model.train()(*model.prepare(events))
    return model.eval()


def logits(model: LorentzBoostNetwork, events: Events) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(*model.prepare(ready(model, events)))
    return found


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("angle", [0.0, 2.0])
@pytest.mark.parametrize("signs", [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)])
def test_an_event_turned_or_mirrored_has_the_same_score(
    layer: str, angle: float, signs: tuple[float, float]
) -> None:
    model, events = made(layer=layer), toy_events()
    # Momenta of some 100 GeV are rounded in another way, 1e-7, then boosted and squared.
    other = logits(model, moved(events, angle, signs))
    torch.testing.assert_close(other, logits(model, events), rtol=1e-3, atol=1e-3)


def test_without_a_frame_of_its_own_a_boosted_azimuth_depends_on_the_detector() -> None:
    """The checks above can fail."""
    events = toy_events()
    for options, other in (
        ({"phi_reference": None}, moved(events, 2.0, (1.0, 1.0))),
        ({"mirror": False}, moved(events, 0.0, (-1.0, 1.0))),
        ({"mirror": False}, moved(events, 0.0, (1.0, -1.0))),
    ):
        model = made(**options)
        assert (logits(model, other) - logits(model, events)).abs().max() > 0.05
        lola = made(layer="lola", **options)
        torch.testing.assert_close(logits(lola, other), logits(lola, events), rtol=1e-3, atol=1e-3)


def test_azimuths_are_measured_from_the_reference() -> None:
    momenta = toy_events().assignments.leaves[:, 0, :, :4]  # type: ignore[union-attr]
    turned = measured_from(momenta, 3)
    # Some 100 GeV in float32.
    torch.testing.assert_close(turned[:, 3, 1], torch.zeros(40), rtol=0, atol=1e-4)
    assert (turned[:, 3, 0] > 0).all()
    torch.testing.assert_close(turned[..., 2:], momenta[..., 2:])
    phi = torch.atan2(momenta[..., 1], momenta[..., 0])
    expected = torch.remainder(phi - phi[:, 3:4] + math.pi, 2 * math.pi) - math.pi
    found = torch.atan2(turned[..., 1], turned[..., 0])
    difference = torch.remainder(found - expected + math.pi, 2 * math.pi) - math.pi
    torch.testing.assert_close(difference, torch.zeros_like(phi), rtol=0, atol=1e-5)
    nothing = torch.zeros(2, 8, 4)
    assert torch.equal(measured_from(nothing, 0), nothing)
    along = momenta.clone()
    along[:, 3, :2] = 0
    assert torch.equal(measured_from(along, 3), along)


def test_mirrored_events_have_one_sign() -> None:
    momenta = leaves_of(toy_events())[:, 0, :, :4]
    found = mirrored(momenta)
    assert torch.equal(found.abs(), momenta.abs())
    assert (found[..., 2].sum(1) >= 0).all()
    assert torch.equal(found[..., 1].amax(1), momenta[..., 1].abs().amax(1))
    assert torch.equal(mirrored(found), found)
    assert torch.equal(mirrored(momenta[:0]), momenta[:0])


def test_it_takes_the_leaves_by_name_from_the_best_assignment() -> None:
    model = LorentzBoostNetwork(
        leaves=("b2", "lepton"), b_tags=("b1",), phi_reference=None, mirror=False,
        assignment_features=("delta_r_b1_b2",), features=("n_jets",),
    )  # fmt: skip
    events = toy_events()
    momenta, assigned, flat = model.prepare(ready(model, events))
    best, where = leaves_of(events)[:, 0], DECAY.leaves.index
    assert torch.equal(momenta[:, 0], best[:, where("b2"), :4] / 100)
    assert torch.equal(momenta[:, 1], best[:, where("lepton"), :4] / 100)
    assert torch.equal(assigned[:, 0], best[:, where("b1"), 4])
    assert events.assignments is not None
    assert torch.equal(assigned[:, 1], events.assignments.features[:, 0, 1])
    assert torch.equal(flat, events.flat[:, 1:])
    assert momenta.shape == (40, 2, 4)
    no_tags = LorentzBoostNetwork(b_tags=())
    assert no_tags.prepare(ready(no_tags, events))[1].shape == (40, 0)


@pytest.mark.parametrize("layer", LAYERS)
def test_only_the_best_assignment_and_all_inputs_count(layer: str) -> None:
    names = ("mass_higgs", "delta_r_b1_b2")
    model = made(layer=layer, assignment_features=names, features=("met",))
    events = toy_events()
    before = logits(model, events)
    second = leaves_of(events).clone()
    second[:, 1] += 1.0
    assert torch.equal(logits(model, with_leaves(events, second)), before)
    for leaf in range(8):
        first = leaves_of(events).clone()
        first[:, 0, leaf, 2:4] *= 1.2
        assert (logits(model, with_leaves(events, first)) != before).all()
    tagged = leaves_of(events).clone()
    tagged[:, 0, DECAY.leaves.index("q1"), 4] += 1
    assert (logits(model, with_leaves(events, tagged)) != before).any()
    assert events.assignments is not None
    features = replace(events.assignments, features=events.assignments.features + 0.3)
    assert (logits(model, replace(events, assignments=features)) != before).any()
    assert (logits(model, replace(events, flat=events.flat + 0.3)) != before).any()


@pytest.mark.parametrize("layer", LAYERS)
def test_an_event_without_an_assignment_has_a_finite_score_and_gradient(layer: str) -> None:
    events = toy_events()
    empty = leaves_of(events).clone()
    empty[::4] = 0
    events = with_leaves(events, empty)
    model = made(layer=layer).train()
    model(*model.prepare(ready(model, events))).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert logits(model.eval(), events).isfinite().all()


def test_the_number_of_parameters_is_that_of_its_parts() -> None:
    def n_parameters(**options: Any) -> int:
        return sum(p.numel() for p in LorentzBoostNetwork(**options).parameters())

    def dense(n: int) -> int:
        """Norm of n columns, two layers of 128 with batch norm in place of the bias, output."""
        return 2 * n + 128 * n + 256 + 128**2 + 256 + 129

    # Six features of ten combinations and 45 angles; six tags; weights of eight leaves.
    assert n_parameters() == 2 * 8 * 10 + dense(6 * 10 + 45 + 6)
    # With the published features: 95 columns.
    published = ("energy", "pt", "eta", "phi", "mass", "pair_cos")
    assert n_parameters(boost_features=published) == 2 * 8 * 10 + dense(95 + 6)
    # 1 + 8 + 15 rows of seven numbers.
    assert n_parameters(layer="lola") == 15 * 8 + 5 * 24**2 + dense(7 * 24 + 6)
    assert n_parameters(layer="lola", n_combinations=0) == 5 * 9**2 + dense(7 * 9 + 6)


@pytest.mark.parametrize("layer", LAYERS)
def test_it_learns_that_two_leaves_are_close(layer: str) -> None:
    torch.manual_seed(1)
    model = LorentzBoostNetwork(layer, hidden=(32,), dropout=0.0, b_tags=())
    train, test = (ready(model, toy_events(1000, seed=seed)) for seed in (1, 2))
    tensors, label = model.prepare(train), train.label.float()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(*tensors), label).backward()
        optimizer.step()
    right = (logits(model.eval(), test) > 0) == test.label.bool()
    # Guessing gives 0.5 with a standard deviation of 1/63.
    assert float(right.float().mean()) > 0.5 + 5 / 63


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown layer 'lolla'"):
        LorentzBoostNetwork("lolla")
    with pytest.raises(ConfigError, match=r"\['b1', 'b1'\]; name each once"):
        LorentzBoostNetwork(leaves=("b1", "b1"), phi_reference=None)
    with pytest.raises(ConfigError, match="or phi_reference: null"):
        LorentzBoostNetwork(leaves=("b1", "b2"))
    with pytest.raises(ConfigError, match="but lola does not boost"):
        LorentzBoostNetwork("lola", boost_features=("pt",))
    events, model = toy_events(), LorentzBoostNetwork(leaves=("lepton", "b_1"))
    with pytest.raises(DataError, match="these events have none; add the section reconstruction"):
        model.prepare(replace(events, assignments=None))
    with pytest.raises(
        DataError, match=r"unknown leaf 'b_1' \(of lorentz_boost_network.* mean 'b1'"
    ):
        model.prepare(ready(model, events))
