from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import vector
from scipy.linalg import expm
from torch import Tensor

from hepdl.errors import ConfigError
from hepdl.kinematics import fourvectors
from hepdl.layers.lorentz_boost import (
    BOOST_FEATURES,
    MAX_GAMMA,
    PUBLISHED_FEATURES,
    SMALL_MOMENTUM,
    LorentzBoost,
    boost,
    invariant_mass,
)


def particles(n_events: int, n_particles: int, *, seed: int = 0, mass: float = 0.1) -> Tensor:
    """Momenta of order one, in float64."""
    generator = torch.Generator().manual_seed(seed)
    momentum = torch.randn(n_events, n_particles, 3, dtype=torch.float64, generator=generator)
    energy = (momentum.square().sum(-1) + mass**2).sqrt()
    return torch.cat((momentum, energy[..., None]), dim=-1)


def turned(momenta: Tensor, angle: float) -> Tensor:
    px, py, pz, energy = momenta.unbind(-1)
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.stack((cos * px - sin * py, sin * px + cos * py, pz, energy), dim=-1)


def boosting(n_particles: int, n_combinations: int, **options: object) -> LorentzBoost:
    torch.manual_seed(3)
    return LorentzBoost(n_particles, n_combinations, **options)  # type: ignore[arg-type]


def with_weights(particle: Tensor, frame: Tensor, **options: object) -> LorentzBoost:
    layer = boosting(particle.shape[1], len(particle), **options)
    layer.particle_weight.data.copy_(particle)
    layer.frame_weight.data.copy_(frame)
    return layer


def test_whoever_is_boosted_to_its_own_rest_frame_rests_there() -> None:
    momenta = particles(200, 1, mass=0.5)[:, 0]
    rests = boost(momenta, momenta)
    # Gamma is at most about 8, and float64 rounds to 1e-16.
    torch.testing.assert_close(rests[:, :3], torch.zeros(200, 3).double(), rtol=0, atol=1e-13)
    torch.testing.assert_close(rests[:, 3], torch.full((200,), 0.5).double(), rtol=1e-13, atol=0)
    # E² - P² rounds to 1e-7 E² in float32, which is 1e-5 here, and a mass of 0.5 to 1e-5.
    rests = boost(momenta.float(), momenta.float())
    torch.testing.assert_close(rests[:, :3], torch.zeros(200, 3), rtol=0, atol=1e-4)
    torch.testing.assert_close(rests[:, 3], torch.full((200,), 0.5), rtol=1e-4, atol=0)


def test_a_boost_changes_no_product_of_two_momenta() -> None:
    one, other, frame = (particles(500, 1, seed=seed, mass=0.3)[:, 0] for seed in (1, 2, 3))
    metric = torch.tensor((-1.0, -1.0, -1.0, 1.0), dtype=torch.float64)
    before = (one * other * metric).sum(-1)
    after = (boost(one, frame) * boost(other, frame) * metric).sum(-1)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-11)
    torch.testing.assert_close(
        invariant_mass(boost(one, frame)), invariant_mass(one), rtol=0, atol=1e-11
    )


def test_it_is_the_exponential_of_the_generators_of_boosts() -> None:
    momentum, frame = particles(2, 1, mass=0.4)[:, 0].numpy()
    direction = frame[:3] / np.linalg.norm(frame[:3])
    rapidity = np.arctanh(np.linalg.norm(frame[:3]) / frame[3])
    generator = np.zeros((4, 4))
    generator[:3, 3] = generator[3, :3] = -direction
    found = boost(torch.from_numpy(momentum), torch.from_numpy(frame))
    np.testing.assert_allclose(found.numpy(), expm(rapidity * generator) @ momentum, rtol=1e-12)


def test_it_is_the_boost_of_the_library_vector() -> None:
    momenta, frames = particles(300, 2, mass=0.2).unbind(1)

    def foreign(table: Tensor) -> vector.MomentumNumpy4D:
        names = ("px", "py", "pz", "E")
        return vector.array(dict(zip(names, table.numpy().T, strict=True)))

    theirs = foreign(momenta).boostCM_of_p4(foreign(frames))
    found = boost(momenta, frames).numpy().T
    # Theirs takes the square of beta, which costs digits at large gamma.
    for ours, name in zip(found, ("px", "py", "pz", "E"), strict=True):
        np.testing.assert_allclose(ours, getattr(theirs, name), rtol=0, atol=1e-10)


def test_its_derivatives_are_right() -> None:
    momenta, frames = particles(3, 2, mass=0.4).unbind(1)
    assert torch.autograd.gradcheck(boost, (momenta.requires_grad_(), frames.requires_grad_()))


def test_there_are_as_many_outputs_as_published() -> None:
    # test.py of https://github.com/riga/LBN: ten particles, ten combinations, pairs: 95 features.
    assert LorentzBoost(10, 10).out_features == 95
    for n in (1, 2, 7):
        layer = LorentzBoost(4, n)
        assert layer.out_features == 5 * n + n * (n - 1) // 2 == len(set(layer.columns))
        assert sum(p.numel() for p in layer.parameters()) == 2 * 4 * n
    assert layer(torch.zeros(3, 4, 4)).shape == (3, layer.out_features)


def test_it_is_the_definition_written_as_loops() -> None:
    layer = boosting(5, 4, features=tuple(BOOST_FEATURES))
    momenta = particles(6, 5)
    found = layer(momenta.float()).double()
    weights = [
        np.abs(w.detach().double().numpy()) for w in (layer.particle_weight, layer.frame_weight)
    ]
    for event, k in enumerate(momenta.numpy()):
        expected: dict[str, float] = {}
        boosted = []
        for m in range(4):
            p, r = (sum(w[m, n] * k[n] for n in range(5)) for w in weights)
            mass = fourvectors.mass(r)
            energy = (r[3] * p[3] - r[:3] @ p[:3]) / mass
            gamma = r[3] / mass
            beta = r[:3] / r[3]
            along = gamma**2 / (1 + gamma) * (beta @ p[:3]) - gamma * p[3]
            q = np.array((*(p[:3] + along * beta), energy))
            boosted.append(q)
            expected |= {
                f"energy_{m}": energy,
                f"pt_{m}": float(fourvectors.pt(q)),
                f"eta_{m}": float(fourvectors.eta(q)),
                f"phi_{m}": float(fourvectors.phi(q)),
                f"cos_phi_{m}": math.cos(fourvectors.phi(q)),
                f"sin_phi_{m}": math.sin(fourvectors.phi(q)),
                f"mass_{m}": float(fourvectors.mass(p)),
            }
        for i in range(4):
            for j in range(i + 1, 4):
                a, b = boosted[i][:3], boosted[j][:3]
                expected[f"pair_cos_{i}_{j}"] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert set(layer.columns) == set(expected)
        for column, value in zip(layer.columns, found[event].tolist(), strict=True):
            # Momenta of order 0.1 in float32, and SMALL_MOMENTUM in quadrature.
            assert value == pytest.approx(expected[column], rel=1e-4, abs=2e-5), column


def test_a_w_boson_that_flies_and_decays_to_two_quarks() -> None:
    """By hand: 40 GeV each way in the rest frame of a W of 80 GeV, boosted by beta 0.8 along x."""
    quarks = torch.tensor([[[1.2, 0, 0, 1.2], [-0.4 / 3, 0, 0, 0.4 / 3]]])
    each, both = torch.eye(2), torch.ones(2, 2)
    names = ("energy", "pair_cos")
    # In float32; the cosine also knows SMALL_MOMENTUM in quadrature.
    found = with_weights(each, both, features=names)(quarks)
    torch.testing.assert_close(found, torch.tensor([[0.4, 0.4, -1.0]]), rtol=1e-5, atol=0)
    names = ("energy", "mass", "pt")
    whole = torch.ones(1, 2)
    rests = with_weights(whole, whole, features=names)(quarks)
    torch.testing.assert_close(rests[:, :2], torch.tensor([[0.8, 0.8]]), rtol=1e-5, atol=0)
    assert rests[0, 2] < 2 * SMALL_MOMENTUM


def test_an_event_turned_about_the_beam_has_the_same_features_but_for_the_azimuth() -> None:
    layer = boosting(6, 5)
    momenta = particles(50, 6)
    angle = 1.1
    before, after = layer(momenta.float()), layer(turned(momenta, angle).float())
    is_phi = torch.tensor([column.startswith("phi") for column in layer.columns])
    # The input is rounded in another way: 1e-7, times some gamma squared.
    torch.testing.assert_close(after[:, ~is_phi], before[:, ~is_phi], rtol=1e-3, atol=1e-4)
    difference = after[:, is_phi] - before[:, is_phi] - angle
    around = difference - 2 * math.pi * torch.round(difference / (2 * math.pi))
    torch.testing.assert_close(around, torch.zeros_like(around), rtol=0, atol=1e-3)
    assert (difference.abs() < 1).any()


def test_particles_in_another_order_with_their_weights_change_nothing() -> None:
    layer, order = boosting(6, 5), torch.tensor([3, 1, 5, 0, 2, 4])
    momenta = particles(20, 6).float()
    before = layer(momenta)
    layer.particle_weight.data = layer.particle_weight.data[:, order]
    layer.frame_weight.data = layer.frame_weight.data[:, order]
    # Sums in another order, and a boost.
    torch.testing.assert_close(layer(momenta[:, order]), before, rtol=1e-3, atol=1e-4)


def nothing() -> Tensor:
    return torch.zeros(1, 3, 4)


def massless() -> Tensor:
    momentum = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.1, 0.3], [1e-3, 0.0, 30.0]]])
    return torch.cat((momentum, momentum.norm(dim=2, keepdim=True)), dim=2)


def collinear() -> Tensor:
    return massless()[:, :1] * torch.tensor([1.0, 2.0, 0.1])[None, :, None]


def along_the_beam() -> Tensor:
    return torch.tensor([[[0.0, 0.0, -5.0, 5.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]])


def spacelike() -> Tensor:
    return massless() * torch.tensor([1.0, 1.0, 1.0, 0.999])


def huge() -> Tensor:
    return particles(1, 3).float() * 1e4


def tiny() -> Tensor:
    return particles(1, 3).float() * 1e-20


def padded() -> Tensor:
    momenta = particles(1, 3).float()
    momenta[:, 1:] = 0
    return momenta


EXTREMES = [nothing, massless, collinear, along_the_beam, spacelike, huge, tiny, padded]


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("weights", ["drawn", "single", "zero"])
def test_features_and_gradients_are_finite(extreme: Callable[[], Tensor], weights: str) -> None:
    layer = boosting(3, 3, features=tuple(BOOST_FEATURES))
    if weights == "single":
        # Each object in its own rest frame, then in that of another one.
        layer.particle_weight.data = torch.eye(3)
        layer.frame_weight.data = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    elif weights == "zero":
        for parameter in layer.parameters():
            parameter.data.zero_()
    momenta = extreme().requires_grad_()
    found = layer(momenta)
    assert torch.isfinite(found).all()
    for column in range(layer.out_features):
        inputs = (momenta, layer.particle_weight, layer.frame_weight)
        gradients = torch.autograd.grad(
            found[:, column].sum(), inputs, retain_graph=True, allow_unused=True
        )
        for gradient in gradients:
            assert gradient is None or torch.isfinite(gradient).all(), layer.columns[column]


def test_a_frame_without_momentum_leaves_everything_as_it_is() -> None:
    momenta = particles(9, 1)[:, 0]
    torch.testing.assert_close(boost(momenta, torch.zeros_like(momenta)), momenta)


def test_a_massless_frame_is_a_frame_of_the_largest_gamma() -> None:
    frame = torch.tensor([0.0, 0.0, 2.0, 2.0])
    meets = torch.tensor([0.0, 0.0, -1.0, 1.0])
    # Head on: gamma (1 + beta), nearly 2 gamma; SMALL_MOMENTUM adds 1/4 % to the mass of 2e-3.
    assert float(boost(meets, frame)[3]) == pytest.approx(2 * MAX_GAMMA, rel=2e-3)


def test_half_precision_does_not_reach_the_layer() -> None:
    layer, momenta = boosting(6, 5), particles(20, 6).float()
    expected = layer(momenta)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(momenta), expected)


def test_first_weights_are_of_the_published_size() -> None:
    layer = LorentzBoost(50, 40)
    layer.reset_parameters(torch.Generator().manual_seed(1))
    first = layer.particle_weight.detach().clone()
    # The standard deviation of 2000 numbers is known to 1 / sqrt(4000): five sigma are 8 %.
    assert float(first.std()) == pytest.approx(1 / 40, rel=0.08)
    assert not torch.equal(first, layer.frame_weight)
    layer.reset_parameters(torch.Generator().manual_seed(1))
    assert torch.equal(layer.particle_weight, first)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 particles to 3 combinations; both must be at least 1"):
        LorentzBoost(0, 3)
    with pytest.raises(ConfigError, match=r"unknown feature 'masses' .* did you mean 'mass'"):
        LorentzBoost(2, 3, features=("masses",))
    with pytest.raises(ConfigError, match=r"1 combinations have no features \['pair_cos'\]"):
        LorentzBoost(2, 1, features=("pair_cos",))
    assert set(PUBLISHED_FEATURES) <= set(BOOST_FEATURES)
