from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from hepdl.errors import DataError
from hepdl.events import Events, Jagged, TreeInputs
from hepdl.events.trees import attach_trees, four_vectors

Make = Callable[..., Events]


def test_a_tree_has_a_leaf_for_each_constituent(toy_jets: Make) -> None:
    events = toy_jets(50)
    trees = attach_trees(events, TreeInputs()).jet_trees
    assert trees is not None
    counts = events.collections["constituents"].counts
    assert torch.equal(trees.offsets.diff(), 2 * counts - 1)
    per_jet = torch.repeat_interleave(torch.arange(50), trees.offsets.diff())
    leaves = torch.zeros(50, dtype=torch.int64).index_add(0, per_jet, (~trees.is_inner).long())
    assert torch.equal(leaves, counts)
    assert trees.features.dtype == torch.float32
    assert trees.depth.dtype == torch.int64


@pytest.mark.parametrize("topology", ["kt", "random"])
def test_a_tree_does_not_depend_on_the_other_events(toy_jets: Make, topology: str) -> None:
    events, inputs = toy_jets(20), TreeInputs(topology=topology, seed=3)
    index = torch.tensor([13, 2])
    one = attach_trees(events.take(index), inputs).jet_trees
    other = attach_trees(events, inputs).take(index).jet_trees
    assert one is not None
    assert other is not None
    assert torch.equal(one.features, other.features)
    assert torch.equal(one.depth, other.depth)


def test_all_three_ways_to_write_a_four_vector_agree(toy_jets: Make) -> None:
    rows = toy_jets(10).collections["constituents"]
    p4 = four_vectors(rows, where="constituents")
    cartesian = Jagged(torch.from_numpy(p4), rows.offsets, ("px", "py", "pz", "energy"))
    assert (four_vectors(cartesian, where="c") == p4).all()
    values = torch.cat((rows.values[:, :3], torch.zeros(len(rows.values), 1)), dim=1)
    massless = Jagged(values, rows.offsets, ("pt", "eta", "phi", "mass"))
    # The energies of the toy are massless up to float32.
    np.testing.assert_allclose(four_vectors(massless, where="c"), p4, rtol=1e-5)


def test_columns_may_come_in_any_order_with_others(toy_jets: Make) -> None:
    rows = toy_jets(10).collections["constituents"]
    extra = torch.cat((torch.ones(len(rows.values), 1), rows.values.flip(1)), dim=1)
    other = Jagged(extra, rows.offsets, ("charge", "energy", "phi", "eta", "pt"))
    assert (four_vectors(other, where="c") == four_vectors(rows, where="c")).all()


def test_columns_without_a_four_vector_are_refused(toy_jets: Make) -> None:
    events = toy_jets(10)
    rows = replace(events.collections["constituents"], columns=("pt", "eta", "phi", "charge"))
    events = replace(events, collections={"constituents": rows})
    with pytest.raises(DataError, match=r"'constituents' has the columns .* a four-vector needs"):
        attach_trees(events, TreeInputs())


def test_an_unknown_collection_is_refused(toy_jets: Make) -> None:
    with pytest.raises(DataError, match="did you mean 'constituents'"):
        attach_trees(toy_jets(3), TreeInputs("constituent"))


def test_building_trees_leaves_torch_its_number_of_threads(toy_jets: Make) -> None:
    before = torch.get_num_threads()
    attach_trees(toy_jets(10), TreeInputs())
    assert torch.get_num_threads() == before
