from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hepdl.errors import ConfigError
from hepdl.layers.lorentz_boost import SMALL_MOMENTUM, boost
from hepdl.layers.lorentz_layer import LorentzLayer


def particles(n_events: int, n_particles: int, *, mass: float = 0.1) -> Tensor:
    """Momenta of order one, in float64."""
    generator = torch.Generator().manual_seed(n_events)
    momentum = torch.randn(n_events, n_particles, 3, dtype=torch.float64, generator=generator)
    energy = (momentum.square().sum(-1) + mass**2).sqrt()
    return torch.cat((momentum, energy[..., None]), dim=-1)


def drawn(n_particles: int, n_combinations: int = 15, **options: int) -> LorentzLayer:
    torch.manual_seed(3)
    return LorentzLayer(n_particles, n_combinations, **options)


def named(layer: LorentzLayer, values: Tensor) -> dict[str, Tensor]:
    """Return the columns of each kind, ``(n_events, n_rows)``."""
    names = dict.fromkeys(column.rsplit("_", 1)[0] for column in layer.columns)
    return dict(zip(names, values.split(layer.n_rows, dim=1), strict=True))


def minkowski(one: Tensor, other: Tensor) -> float:
    return float(one[3] * other[3] - one[:3] @ other[:3])


def test_there_are_as_many_rows_and_outputs_as_published() -> None:
    # arXiv:1707.08966: the sum, the particles and 15 combinations; of each row its Minkowski square
    # and pT, one sum of energies, and two sums and two minima of distances.
    layer = LorentzLayer(20)
    assert layer.n_rows == 1 + 20 + 15
    assert layer.out_features == 7 * 36 == len(set(layer.columns))
    assert sum(p.numel() for p in layer.parameters()) == 15 * 20 + 5 * 36**2
    for n_sums, n_minima in ((0, 0), (3, 0), (0, 1)):
        layer = LorentzLayer(4, 0, n_sums=n_sums, n_minima=n_minima)
        assert layer(torch.zeros(2, 4, 4)).shape == (2, (3 + n_sums + n_minima) * 5)


def test_it_is_the_definition_written_as_loops() -> None:
    layer = drawn(3, 2)
    momenta = particles(4, 3)
    found = named(layer, layer(momenta.float()).detach().double())
    combination, energy, distance = (p.detach().double() for p in layer.parameters())
    for event in range(4):
        k = momenta[event]
        rows = [k.sum(0), *k, *(sum(c[n] * k[n] for n in range(3)) for c in combination)]
        n = len(rows)
        squares = [[minkowski(rows[j] - rows[m], rows[j] - rows[m]) for m in range(n)]
                   for j in range(n)]  # fmt: skip
        for j, row in enumerate(rows):
            others = [m for m in range(n) if m != j]
            expected = {
                "mass_squared": minkowski(row, row),
                "pt": float(row[:2].norm()),
                "energy_sum": float(sum(energy[j, m] * rows[m][3] for m in range(n))),
            }
            for copy in (0, 1):
                weighted, other = distance[copy], distance[2 + copy]
                expected[f"distance_sum_{copy}"] = float(
                    sum(weighted[j, m] * squares[j][m] for m in others)
                )
                expected[f"least_distance_{copy}"] = min(
                    float(other[j, m]) * squares[j][m] for m in others
                )
            assert set(found) == set(expected)
            for name, value in expected.items():
                # Squares of energies up to 5 in float32, and SMALL_MOMENTUM in quadrature.
                assert found[name][event, j] == pytest.approx(value, rel=1e-5, abs=2e-5), name


def test_a_w_boson_that_flies_and_decays_to_two_quarks() -> None:
    """By hand: 40 GeV each way in the rest frame of a W of 80 GeV, boosted by beta 0.8 along x."""
    quarks = torch.tensor([[[1.2, 0, 0, 1.2], [-0.4 / 3, 0, 0, 0.4 / 3]]])
    layer = LorentzLayer(2, 1)
    layer.combination_weight.data = torch.tensor([[1.0, -1.0]])
    layer.energy_weight.data = torch.tensor([[0.0, 1, 1, 0]] * 4)
    layer.distance_weight.data.fill_(-1.0)
    found = named(layer, layer(quarks))
    # The sum has the mass of the W, the quarks none, the difference -0.64: twice -2 q1 q2.
    expected = torch.tensor([[0.64, 0.0, 0.0, -0.64]])
    torch.testing.assert_close(found["mass_squared"], expected, rtol=0, atol=1e-6)
    expected = torch.tensor([[1.2 - 0.4 / 3, 1.2, 0.4 / 3, 1.2 + 0.4 / 3]])
    torch.testing.assert_close(found["pt"], expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(found["energy_sum"], torch.full((1, 4), 1.2 + 0.4 / 3))
    # W to q1: d² = 0 since it is q2, W to q2 likewise; W to q1 - q2: 2 q2, so 0.
    # q1 to q2: -0.64; q1 to q1 - q2: 0; q2 to q1 - q2: (q1 - 2 q2)² = -1.28.
    expected = torch.tensor([[0.0, 0.64, 0.64 + 1.28, 1.28]])
    torch.testing.assert_close(found["distance_sum_1"], expected, rtol=0, atol=2e-6)
    expected = torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(found["least_distance_0"], expected, rtol=0, atol=1e-6)
    layer.distance_weight.data.fill_(1.0)
    expected = torch.tensor([[0.0, -0.64, -1.28, -1.28]])
    least = named(layer, layer(quarks))["least_distance_1"]
    torch.testing.assert_close(least, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("how", ["turned", "mirrored", "backwards"])
def test_an_event_turned_or_mirrored_is_the_same(how: str) -> None:
    layer, momenta = drawn(5, 4), particles(30, 5)
    matrix = {
        "turned": [[0.6, -0.8, 0.0, 0.0], [0.8, 0.6, 0.0, 0.0]],
        "mirrored": [[1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0]],
        "backwards": [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
    }[how]
    matrix += [[0.0, 0.0, -1.0 if how == "backwards" else 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    other = momenta @ torch.tensor(matrix).double().T
    # Squares of energies up to 10, rounded in another way.
    torch.testing.assert_close(layer(other.float()), layer(momenta.float()), rtol=1e-5, atol=1e-4)


def test_a_boosted_event_has_the_same_squares_and_distances() -> None:
    layer, momenta = drawn(5, 4), particles(30, 5)
    frame = torch.tensor([0.3, 0.0, -0.5, 1.0]).double().expand_as(momenta)
    before = named(layer, layer(momenta.float()))
    after = named(layer, layer(boost(momenta, frame).float()))
    for name in before:
        close = torch.allclose(after[name], before[name], rtol=1e-4, atol=1e-3)
        assert close == (name not in ("pt", "energy_sum")), name


def test_particles_in_another_order_with_their_weights_change_nothing() -> None:
    layer, other = drawn(5, 4), drawn(5, 4)
    momenta, order = particles(30, 5).float(), torch.tensor([3, 0, 4, 2, 1])
    rows = torch.cat((torch.tensor([0]), 1 + order, torch.arange(6, 10)))
    other.combination_weight.data = layer.combination_weight.data[:, order]
    other.energy_weight.data = layer.energy_weight.data[rows][:, rows]
    other.distance_weight.data = layer.distance_weight.data[:, rows][:, :, rows]
    before = named(layer, layer(momenta))
    for name, values in named(other, other(momenta[:, order])).items():
        # Sums in another order, of squares up to 10.
        torch.testing.assert_close(values, before[name][:, rows], rtol=1e-5, atol=1e-4)


def nothing() -> Tensor:
    return torch.zeros(1, 3, 4)


def equal_and_massless() -> Tensor:
    return torch.tensor([3.0, 4.0, 0.0, 5.0]).expand(1, 3, 4).clone()


def along_the_beam() -> Tensor:
    return torch.tensor([[[0.0, 0.0, -5.0, 5.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]])


def huge() -> Tensor:
    return particles(1, 3).float() * 1e4


@pytest.mark.parametrize("extreme", [nothing, equal_and_massless, along_the_beam, huge])
def test_outputs_and_gradients_are_finite(extreme: Callable[[], Tensor]) -> None:
    layer = drawn(3, 2)
    momenta = extreme().requires_grad_()
    found = layer(momenta)
    assert torch.isfinite(found).all()
    inputs = (momenta, *layer.parameters())
    for column in range(layer.out_features):
        gradients = torch.autograd.grad(
            found[:, column].sum(), inputs, retain_graph=True, allow_unused=True
        )
        for gradient in gradients:
            assert gradient is None or torch.isfinite(gradient).all(), layer.columns[column]


def test_a_row_is_not_its_own_nearest() -> None:
    """Of massless momenta all distances are negative but those to the sum."""
    layer = drawn(4, 0, n_sums=0, n_minima=1)
    weight = layer.distance_weight.data
    weight.copy_(-weight.abs())
    weight[:, :, 0] *= -1
    found = layer(particles(8, 4, mass=0.0).float())[:, -4:]
    assert (found > 0).all()
    found.sum().backward()
    gradient = layer.distance_weight.grad
    assert gradient is not None
    assert (gradient[0, 1:] != 0).any(dim=1).all()
    assert not gradient[0].diagonal().any()


def test_half_precision_does_not_reach_the_layer() -> None:
    layer, momenta = drawn(5), particles(20, 5).float()
    expected = layer(momenta)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(momenta), expected)


def test_one_generator_draws_one_layer() -> None:
    layer = LorentzLayer(8)
    drawings = []
    for _ in range(2):
        layer.reset_parameters(torch.Generator().manual_seed(1))
        drawings.append([p.detach().clone() for p in layer.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*drawings, strict=True))
    # The standard deviation of 4 * 24 * 24 numbers is known to 1.5 %: five sigma.
    deviation = float(drawings[0][2].std()) * 24**0.5
    assert deviation == pytest.approx(1.0, rel=0.075)


def test_a_number_that_is_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="a Lorentz layer of 0 particles, 15 combinations"):
        LorentzLayer(0)
    with pytest.raises(ConfigError, match="2 sums and -1 minima; it needs at least 1 particle"):
        LorentzLayer(3, n_minima=-1)


def test_small_momenta_are_small() -> None:
    layer = drawn(1, 0)
    assert float(named(layer, layer(torch.zeros(1, 1, 4)))["pt"].detach().max()) == pytest.approx(
        SMALL_MOMENTUM
    )
