from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hepdl.errors import ConfigError, DataError
from hepdl.layers.recursive import RecursiveEmbedding, arrange_levels

CELLS = ["simple", "gated"]
MIXED = [3, 1, 12, 2, 1, 30, 7, 1]


def reference(network: RecursiveEmbedding, node: Any, features: Tensor) -> Tensor:
    """The formulas of arXiv:1702.00748, one node at a time, by recursion."""
    state = dict(network.named_parameters())

    def linear(name: str, x: Tensor) -> Tensor:
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    def s(x: Tensor) -> Tensor:
        return 0.5 * (torch.tanh(x) + 1)

    u = linear("embed", features[node[0]]).clamp(min=0)
    if len(node) == 1:
        return u
    left, right = (reference(network, child, features) for child in node[1:])
    v = torch.cat([left, right, u])
    if "cell.mix_gates.weight" not in state:
        return linear("cell.combine", v).clamp(min=0)
    candidate = linear("cell.combine", s(linear("cell.reset_gates", v)) * v).clamp(min=0)
    gates = linear("cell.mix_gates", torch.cat([candidate, v])).reshape(4, -1).exp()
    z = gates / gates.sum(0)
    return z[0] * candidate + z[1] * left + z[2] * right + z[3] * u


def embed(network: RecursiveEmbedding, forest: Any) -> Tensor:
    levels = arrange_levels(forest.depth, forest.is_inner, forest.offsets)
    result: Tensor = network(forest.features[levels.order], levels.inner, levels.sizes)
    return result


def make(cell: Any, *, hidden: int = 5, n_features: int = 7, **options: Any) -> RecursiveEmbedding:
    network = RecursiveEmbedding(n_features, hidden, cell=cell, **options).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            # Far from the small initialisation, where gates would hardly matter.
            parameter.normal_(0.0, 0.4, generator=generator)
    return network


@pytest.mark.parametrize("cell", CELLS)
def test_states_of_roots_are_those_of_the_recursion_for_any_mix_of_sizes(
    cell: str, grow_forest: Callable[..., Any]
) -> None:
    forest, network = grow_forest(MIXED), make(cell)
    expected = torch.stack([reference(network, root, forest.features) for root in forest.roots])
    # The same float64 sums in another order: a few ulp of numbers of order one.
    torch.testing.assert_close(embed(network, forest), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    leaves=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    cell=st.sampled_from(CELLS),
    seed=st.integers(0, 1000),
)
def test_any_forest_agrees_with_the_recursion(
    leaves: list[int], cell: str, seed: int, grow_forest: Callable[..., Any]
) -> None:
    forest, network = grow_forest(leaves, seed=seed), make(cell)
    expected = torch.stack([reference(network, root, forest.features) for root in forest.roots])
    # As above.
    torch.testing.assert_close(embed(network, forest), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_the_recursion(cell: str, grow_forest: Callable[..., Any]) -> None:
    forest, network = grow_forest(MIXED), make(cell)
    forest.features.requires_grad_()
    leaves = [forest.features, *network.parameters()]
    direction = torch.randn(len(MIXED), 5, dtype=torch.float64, generator=_seeded())
    expected_states = [reference(network, root, forest.features) for root in forest.roots]
    expected = torch.autograd.grad((torch.stack(expected_states) * direction).sum(), leaves)
    found = torch.autograd.grad((embed(network, forest) * direction).sum(), leaves)
    for one, other in zip(found, expected, strict=True):
        # Sums over all nodes in another order, of magnitude up to a hundred.
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-11)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(2)


@pytest.mark.parametrize("cell", CELLS)
def test_gradcheck_passes(cell: str, grow_forest: Callable[..., Any]) -> None:
    forest, network = grow_forest([3, 1, 4], n_features=2), make(cell, hidden=3, n_features=2)
    levels = arrange_levels(forest.depth, forest.is_inner, forest.offsets)
    features = forest.features[levels.order].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, *_: network(x, levels.inner, levels.sizes), (features, *network.parameters())
    )


@pytest.mark.parametrize("cell", CELLS)
def test_a_tree_does_not_depend_on_the_others_or_on_their_order(
    cell: str, grow_forest: Callable[..., Any]
) -> None:
    network, forest = make(cell), grow_forest(MIXED)
    together = embed(network, forest)
    for jet in range(len(MIXED)):
        rows = slice(int(forest.offsets[jet]), int(forest.offsets[jet + 1]))
        depth = forest.depth[rows]
        levels = arrange_levels(depth, forest.is_inner[rows], torch.tensor([0, len(depth)]))
        alone = network(forest.features[rows][levels.order], levels.inner, levels.sizes)
        # Other shapes of matrix products round differently.
        torch.testing.assert_close(alone[0], together[jet], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_left_and_right_child_play_different_parts(
    cell: str, grow_forest: Callable[..., Any]
) -> None:
    network, forest = make(cell), grow_forest([2])
    before = embed(network, forest)
    forest.features = forest.features[[0, 2, 1]]
    assert not torch.allclose(embed(network, forest), before)


@pytest.mark.parametrize("cell", CELLS)
def test_root_children_are_the_states_of_the_two_subtrees(
    cell: str, grow_forest: Callable[..., Any]
) -> None:
    forest, network = grow_forest(MIXED), make(cell, root_children=True)
    expected = []
    for root in forest.roots:
        subtrees = root[1:] or (root, root)
        expected.append(torch.cat([reference(network, t, forest.features) for t in subtrees]))
    # As above.
    torch.testing.assert_close(
        embed(network, forest), torch.stack(expected), rtol=1e-12, atol=1e-12
    )
    singles = grow_forest([1, 1])
    assert embed(network, singles).shape == (2, 10)


@pytest.mark.parametrize("cell", CELLS)
def test_a_chain_of_two_hundred_leaves_has_finite_gradients(cell: str) -> None:
    n = 200
    depth = torch.tensor([0, *(d for d in range(1, n) for _ in range(2))])
    is_inner = torch.tensor([True, *(child == 0 for _ in range(1, n) for child in range(2))])
    is_inner[-2:] = False
    network = RecursiveEmbedding(7, 8, cell=cell)
    levels = arrange_levels(depth, is_inner, torch.tensor([0, len(depth)]))
    features = torch.randn(len(depth), 7, generator=_seeded())
    network(features[levels.order], levels.inner, levels.sizes).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_initialisation_is_the_papers() -> None:
    network = RecursiveEmbedding(7, 40, cell="gated")
    assert network.embed.weight.abs().max() <= 0.1 * (6 / 47) ** 0.5
    assert network.cell.reset_gates.weight.abs().max() <= 0.1 * (6 / 240) ** 0.5
    combine = network.cell.combine.weight
    # Orthogonal rows of length 1.1, in float32.
    torch.testing.assert_close(combine @ combine.t(), 1.21 * torch.eye(40), rtol=0, atol=1e-5)
    assert all(not bias.any() for name, bias in network.named_parameters() if "bias" in name)


def test_the_same_generator_draws_the_same_parameters() -> None:
    drawn = []
    for _ in range(2):
        network = RecursiveEmbedding(7, 4, cell="gated")
        network.reset_parameters(torch.Generator().manual_seed(5))
        drawn.append(torch.nn.utils.parameters_to_vector(network.parameters()))
    assert torch.equal(*drawn)


def test_a_tree_that_is_not_breadth_first_is_refused() -> None:
    network = make("simple")
    with pytest.raises(DataError, match=r"level 0 .* 1 inner nodes, but .* 3 nodes instead of 2"):
        network(
            torch.zeros(4, 7, dtype=torch.float64),
            torch.tensor([0]),
            torch.tensor([[1, 1], [3, 0]]),
        )


def test_an_unknown_cell_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'gated'"):
        RecursiveEmbedding(7, 4, cell="gate")
