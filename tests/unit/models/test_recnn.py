from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from hepdl.errors import ConfigError, DataError
from hepdl.events import Events, JetTrees, TreeInputs, select_features
from hepdl.events.scaling import Scaling
from hepdl.events.trees import attach_trees
from hepdl.models.recnn import RecNN

Make = Callable[..., Events]


def prepared(model: RecNN, events: Events) -> Events:
    assert model.inputs.trees is not None
    return attach_trees(select_features(events, model.inputs.features), model.inputs.trees)


@pytest.mark.parametrize(
    ("cell", "root_children", "n_parameters"),
    [
        ("simple", False, 8_481),
        ("gated", False, 48_761),
        ("simple", True, 10_081),
        ("gated", True, 50_361),
    ],
)
def test_it_has_as_many_parameters_as_the_published_models(
    cell: Any, root_children: bool, n_parameters: int
) -> None:
    model = RecNN("kt", cell, hidden=40, root_children=root_children)
    assert sum(p.numel() for p in model.parameters()) == n_parameters


def test_the_score_is_the_papers_logistic_of_twice_the_output(toy_jets: Make) -> None:
    model = RecNN()
    events = prepared(model, toy_jets(8))
    nodes, inner, sizes, *_ = model.prepare(events)
    output = model.head(model.embedding(nodes, inner, sizes)).squeeze(1)
    papers = 0.5 * (torch.tanh(output) + 1)
    # tanh and the logistic function round differently in float32.
    torch.testing.assert_close(torch.sigmoid(model(*model.prepare(events))), papers)


def test_a_fresh_network_starts_at_the_papers_bias(toy_jets: Make) -> None:
    model = RecNN()
    logits = model(*model.prepare(prepared(model, toy_jets(8))))
    # The last bias is 1 and all weights are small: 2x is 2 up to a few per cent.
    torch.testing.assert_close(logits, torch.full((8,), 2.0), rtol=0, atol=0.05)


def test_flat_features_join_before_the_head(toy_jets: Make) -> None:
    model = RecNN(features=["width"])
    events = prepared(model, toy_jets(8))
    other = replace(events, flat=events.flat + 1)
    assert model.head[0].in_features == 41
    assert not torch.equal(model(*model.prepare(events)), model(*model.prepare(other)))


def test_a_jet_without_nodes_has_the_embedding_zero(toy_jets: Make) -> None:
    model = RecNN().eval()
    events = prepared(model, toy_jets(4))
    trees = events.jet_trees
    assert trees is not None
    offsets = torch.cat((trees.offsets[:2], trees.offsets[1:]))[:5]
    rows = int(offsets[-1])
    holed = JetTrees(trees.features[:rows], trees.depth[:rows], trees.is_inner[:rows], offsets)
    before = model(*model.prepare(events))
    after = model(*model.prepare(replace(events, jet_trees=holed)))
    expected = 2 * model.head(torch.zeros(1, 40))[0, 0]
    # The same products in minibatches of other sizes.
    torch.testing.assert_close(after, torch.stack((before[0], expected, *before[1:3])))


@pytest.mark.parametrize("cell", ["simple", "gated"])
def test_it_learns_to_tell_one_prong_from_two(cell: Any, toy_jets: Make) -> None:
    torch.manual_seed(0)
    model = RecNN(cell=cell, hidden=8, preprocess=False)
    events = prepared(model, toy_jets(200, counts=[6] * 200))
    events = Scaling.fit(events, model.inputs).apply(events)
    tensors, label = model.prepare(events), events.label.float()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    loss = torch.tensor(torch.inf)
    for _ in range(300):
        # The paper's small initialisation makes a plateau at log 2; well below it is enough.
        if loss < 0.5 * math.log(2):
            break
        loss = nn.functional.binary_cross_entropy_with_logits(model(*tensors), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5 * math.log(2)


def test_every_option_reaches_the_recipe_of_the_trees() -> None:
    model = RecNN("anti_kt", collection="towers", preprocess=False, tree_seed=3)
    assert model.inputs.trees == TreeInputs("towers", "anti_kt", preprocess=False, seed=3)
    assert model.inputs.scaled


def test_senseless_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'anti_kt'"):
        RecNN("antikt")
    with pytest.raises(ConfigError, match="hidden is 0"):
        RecNN(hidden=0)


def test_events_without_trees_are_refused(toy_jets: Make) -> None:
    with pytest.raises(DataError, match=r"no jet trees; call hepdl.events.trees.attach_trees"):
        RecNN().prepare(select_features(toy_jets(3), ()))
