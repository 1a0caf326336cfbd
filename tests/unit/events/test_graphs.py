from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch_geometric.data import Batch
from torch_geometric.utils import scatter

from hepdl.errors import ConfigError, DataError
from hepdl.events import Events, ParticleInputs, TreeInputs
from hepdl.events.particles import attach_particles
from hepdl.events.trees import attach_trees

Make = Callable[..., Events]


@pytest.fixture
def events(toy_jets: Make) -> Events:
    jets = attach_trees(toy_jets(7, counts=[4, 1, 2, 9, 1, 3, 5]), TreeInputs(preprocess=False))
    return attach_particles(jets, ParticleInputs(features=("pt", "delta_eta")))


@pytest.mark.parametrize("kind", ["particles", "jet_trees"])
def test_torch_geometrics_own_collation_makes_the_same(events: Events, kind: str) -> None:
    ours = events.to_pyg(kind)
    graphs = ours.to_data_list()
    assert len(graphs) == ours.num_graphs == len(events)
    theirs = Batch.from_data_list(graphs)
    assert set(ours.keys()) == set(theirs.keys())
    for name in ours.keys():  # noqa: SIM118 (no mapping)
        assert torch.equal(ours[name], theirs[name]), name


def test_each_graph_has_the_particles_of_its_jet(events: Events) -> None:
    graphs = events.to_pyg()
    for jet in range(len(events)):
        assert events.particles is not None
        alone = events.particles.take(torch.tensor([jet]))
        assert torch.equal(graphs[jet].x, alone.values)
        assert graphs[jet].y.item() == events.label[jet]
        assert graphs[jet].event_number.item() == events.event_number[jet]


def test_four_momentum_is_conserved_along_the_edges(events: Events) -> None:
    graphs = events.to_pyg("jet_trees")
    assert events.jet_trees is not None
    child, parent = graphs.edge_index
    energy = graphs.x[:, 3]
    sums = scatter(energy[child], parent, dim_size=len(energy))
    inner = events.jet_trees.is_inner
    # Float32 sums of two.
    torch.testing.assert_close(sums[inner], energy[inner], rtol=1e-5, atol=0)
    assert not sums[~inner].any()
    assert torch.equal(graphs.depth[child], graphs.depth[parent] + 1)
    assert torch.equal(graphs.batch[child], graphs.batch[parent])


def test_what_is_not_there_is_refused(toy_jets: Make) -> None:
    with pytest.raises(DataError, match=r"no particles; call hepdl\.events\.particles"):
        toy_jets(3).to_pyg()
    with pytest.raises(DataError, match=r"no jet_trees; call hepdl\.events\.trees"):
        toy_jets(3).to_pyg("jet_trees")
    with pytest.raises(ConfigError, match=r"jet_tree.*did you mean 'jet_trees'"):
        toy_jets(3).to_pyg("jet_tree")
