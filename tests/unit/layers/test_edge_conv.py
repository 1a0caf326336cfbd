from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from hepdl.errors import ConfigError
from hepdl.layers.edge_conv import EdgeConvBlock, RowNorm


@pytest.fixture
def block() -> EdgeConvBlock:
    torch.manual_seed(1)
    return EdgeConvBlock(3, (8, 5))


EDGES = torch.tensor([[1, 2, 0, 2, 3], [0, 0, 1, 3, 2]])


def test_it_is_the_formula_written_as_a_loop(block: EdgeConvBlock) -> None:
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    for training in (False, True):
        block.train(training)
        reference = {name: tensor.clone() for name, tensor in block.state_dict().items()}
        found = block(values, EDGES)
        block.load_state_dict(reference)
        messages = block.convolution.nn(
            torch.stack([torch.cat((values[i], values[j] - values[i])) for j, i in EDGES.t()])
        )
        shortcut = block.shortcut(values)
        for i in range(5):
            own = [messages[e] for e in range(EDGES.shape[1]) if EDGES[1, e] == i]
            mean = sum(own) / len(own) if own else torch.zeros(5)
            # A mean of two in another order of the operations.
            torch.testing.assert_close(found[i], torch.relu(shortcut[i] + mean))


def test_a_particle_without_neighbours_keeps_its_shortcut(block: EdgeConvBlock) -> None:
    values = torch.randn(4, 3)
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    for training in (False, True):
        block.train(training)
        assert torch.equal(block(values, nothing), torch.relu(block.shortcut(values)))
    assert torch.isfinite(block(values, EDGES)).all()


def test_rows_in_another_order_give_the_same_in_that_order(block: EdgeConvBlock) -> None:
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([4, 2, 0, 1, 3])
    where = order.argsort()
    block.eval()
    # Sums in another order.
    torch.testing.assert_close(block(values[order], where[EDGES]), block(values, EDGES)[order])


def test_norm_of_rows_is_batch_norm_with_two_rows_and_more() -> None:
    ours, theirs = RowNorm(3), nn.BatchNorm1d(3)
    values = torch.randn(7, 3)
    assert torch.equal(ours(values), theirs(values))
    assert torch.equal(ours.running_var, theirs.running_var)
    before = ours.running_mean.clone()
    for few in (values[:1], values[:0]):
        assert torch.equal(ours(few), ours.eval()(few))
        ours.train()
        assert torch.equal(ours.running_mean, before)


def test_layers_without_units_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"sizes is \[\]"):
        EdgeConvBlock(3, ())
    with pytest.raises(ConfigError, match=r"sizes is \[4, 0\]"):
        EdgeConvBlock(3, (4, 0))


def test_only_who_builds_a_block_waits_for_torch_geometric() -> None:
    code = (
        "import sys, hepdl.layers, hepdl.models.deep_sets, hepdl.models.particle_net as p\n"
        "assert 'torch_geometric' not in sys.modules\n"
        "p.ParticleNet(lite=True)\n"
        "assert 'torch_geometric' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
