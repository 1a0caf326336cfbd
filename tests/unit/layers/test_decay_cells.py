"""Cells of a decay against a plain recursion, and what the exchange of identical branches does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError
from hepdl.kinematics import Decay
from hepdl.layers.decay_cells import DecayCells
from tests.unit.models.decay_toys import DECAYS

MADE = {name: Decay.from_mapping(decay) for name, decay in DECAYS.items()}


def embeddings(decay: Decay, n: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(decay.names), n, 4, generator=generator, dtype=torch.float64)


def recursion(name: str, decay: Decay, layer: DecayCells, u: dict[str, Tensor]) -> Tensor:
    """Side by side, in the order of the decay; without symmetry."""
    daughters = {p.name: p.daughters for p in decay.particles}
    if name not in daughters:
        return u[name]
    states = [recursion(daughter, decay, layer, u) for daughter in daughters[name]]
    cell = layer.cells[name]
    assert isinstance(cell, nn.Linear)
    found = (cell.weight @ torch.cat([*states, u[name]]) + cell.bias).clamp_min(0)
    return found + u[name] if layer.residual else found


@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize("residual", [False, True])
def test_without_symmetry_it_is_the_plain_recursion(name: str, residual: bool) -> None:
    decay = MADE[name]
    layer = DecayCells(decay, 4, symmetric=False, residual=residual).double()
    assert len(layer.cells) == len(decay.particles)
    given = embeddings(decay)
    found = layer(given)
    for row in range(5):
        u = dict(zip(decay.names, given[:, row], strict=True))
        torch.testing.assert_close(found[row], recursion(decay.root.name, decay, layer, u))


@pytest.mark.parametrize("name", DECAYS)
def test_symmetries_of_the_decay_change_nothing(name: str) -> None:
    decay = MADE[name]
    layer, given = DecayCells(decay, 4).double(), embeddings(decay)
    rows = {frozenset(row.nonzero()[0].tolist()): i for i, row in enumerate(decay.membership)}
    n_leaves = len(decay.leaves)
    for symmetry in decay.symmetries:
        inner = [
            n_leaves + rows[frozenset(symmetry[row.nonzero()[0]].tolist())]
            for row in decay.membership
        ]
        turned = given[[*symmetry.tolist(), *inner]]
        torch.testing.assert_close(layer(turned), layer(given))


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("tth", "b1", "b_lep"),
        ("wz", "q1", "q3"),
        ("pair", "q1", "q3"),
        ("pair", "b1", "b2"),
        ("three", "g1", "lepton"),
    ],
)
def test_an_exchange_that_is_no_symmetry_changes_the_state(name: str, one: str, other: str) -> None:
    decay = MADE[name]
    layer, given = DecayCells(decay, 4).double(), embeddings(decay)
    order = list(range(len(decay.names)))
    i, j = decay.names.index(one), decay.names.index(other)
    order[i], order[j] = j, i
    assert not torch.allclose(layer(given[order]), layer(given))


def test_identical_particles_share_their_cell() -> None:
    layer = DecayCells(MADE["pair"], 4)
    assert set(layer.cells) == {"w1", "top1", "x"}
    assert set(DecayCells(MADE["wz"], 4).cells) == {"w", "z", "w_prime"}


def test_mean_and_maximum_of_identical_daughters_by_hand() -> None:
    layer = DecayCells(MADE["three"], 1)
    (cell,) = layer.cells.values()
    assert isinstance(cell, nn.Linear)
    names = MADE["three"].names
    values = {"g1": 1.0, "g2": 2.0, "g3": 6.0, "lepton": 10.0, "x": 100.0}
    given = torch.tensor([[values[name]] for name in names])[:, None]
    nn.init.zeros_(cell.bias)
    found = []
    for place in range(4):
        nn.init.zeros_(cell.weight)
        cell.weight.data[0, place] = 1.0
        found.append(layer(given).item())
    # Mean and maximum of 1, 2, 6; the lepton; x itself.
    assert found == [3.0, 6.0, 10.0, 100.0]


def test_senseless_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="hidden is 0"):
        DecayCells(MADE["higgs"], 0)
    with pytest.raises(ConfigError, match=r"dropout 1\.5"):
        DecayCells(MADE["higgs"], 3, dropout=1.5)
