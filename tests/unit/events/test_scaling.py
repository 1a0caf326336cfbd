from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.preprocessing import RobustScaler, StandardScaler

from hepdl.errors import DataError
from hepdl.events import Events, Inputs, TreeInputs, select_features
from hepdl.events.scaling import Scaling
from hepdl.events.trees import attach_trees

Make = Callable[..., Events]
FLAT = Inputs(features=("jet_pt", "width"))
TREES = Inputs(trees=TreeInputs())


@pytest.fixture(scope="module")
def flat(toy_jets: Make) -> Events:
    return select_features(toy_jets(400), FLAT.features)


@pytest.fixture(scope="module")
def trees(toy_jets: Make) -> Events:
    return attach_trees(select_features(toy_jets(400), ()), TREES.trees or TreeInputs())


def test_scaled_features_have_weighted_mean_zero_and_deviation_one(flat: Events) -> None:
    scaled = Scaling.fit(flat, FLAT).apply(flat)
    weight = flat.event_weight.double()[:, None] / flat.event_weight.double().sum()
    mean = (weight * scaled.flat).sum(0)
    deviation = (weight * (scaled.flat - mean) ** 2).sum(0).sqrt()
    # The scaled values are rounded to float32.
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-6)
    torch.testing.assert_close(deviation, torch.ones_like(mean), rtol=0, atol=1e-6)


def test_features_agree_with_scikit_learn(flat: Events) -> None:
    scaling = Scaling.fit(flat, FLAT)
    oracle = StandardScaler().fit(flat.flat.double(), sample_weight=flat.event_weight.double())
    # Float64 both.
    np.testing.assert_allclose(scaling.center, oracle.mean_, rtol=1e-12)
    np.testing.assert_allclose(scaling.scale, oracle.scale_, rtol=1e-10)


def test_nodes_agree_with_scikit_learn_without_weights(trees: Events) -> None:
    ones = trees.with_event_weight(torch.ones(len(trees)))
    scaling = Scaling.fit(ones, TREES)
    assert trees.jet_trees is not None
    nodes = trees.jet_trees.features.double().numpy()
    oracle = RobustScaler().fit(nodes)
    # Ours is a value of the sample, theirs lies between two neighbours: 1 % of the range.
    assert (abs(scaling.node_center - oracle.center_) < 0.01 * oracle.scale_).all()
    np.testing.assert_allclose(scaling.node_scale, oracle.scale_, rtol=0.02)


def test_a_jet_of_weight_two_counts_as_two_jets(trees: Events) -> None:
    weight = torch.ones(len(trees))
    weight[::3] = 2
    twice = torch.cat((torch.arange(len(trees)), torch.arange(0, len(trees), 3)))
    one = Scaling.fit(trees.with_event_weight(weight), TREES)
    other = Scaling.fit(trees.with_event_weight(torch.ones(len(trees))).take(twice), TREES)
    assert (one.node_center == other.node_center).all()
    assert (one.node_scale == other.node_scale).all()


def test_negative_weights_count_with_their_magnitude(flat: Events) -> None:
    one = Scaling.fit(flat, FLAT)
    other = Scaling.fit(flat.with_event_weight(-flat.event_weight), FLAT)
    assert (one.center == other.center).all()
    assert (one.scale == other.scale).all()


def test_scaled_trees_keep_their_shape(trees: Events) -> None:
    scaling = Scaling.fit(trees, TREES)
    before, after = trees.jet_trees, scaling.apply(trees).jet_trees
    assert before is not None
    assert after is not None
    assert after.depth is before.depth
    expected = (
        before.features.double() - torch.from_numpy(scaling.node_center)
    ) / torch.from_numpy(scaling.node_scale)
    assert torch.equal(after.features, expected.float())


def test_a_node_feature_without_spread_is_only_centred(trees: Events) -> None:
    assert trees.jet_trees is not None
    features = trees.jet_trees.features.clone()
    features[:, 4] = 3.0
    constant = replace(trees, jet_trees=replace(trees.jet_trees, features=features))
    scaling = Scaling.fit(constant, TREES)
    assert (scaling.node_center[4], scaling.node_scale[4]) == (3.0, 1.0)


def test_a_scaling_survives_json(flat: Events, trees: Events) -> None:
    for events, inputs in ((flat, FLAT), (trees, TREES)):
        scaling = Scaling.fit(events, inputs)
        again = Scaling.from_dict(json.loads(json.dumps(scaling.as_dict())))
        one, other = scaling.apply(events), again.apply(events)
        assert torch.equal(one.flat, other.flat)
        if one.jet_trees is not None and other.jet_trees is not None:
            assert torch.equal(one.jet_trees.features, other.jet_trees.features)


def test_a_large_offset_costs_no_precision(flat: Events) -> None:
    values = torch.tensor([1e6, 1e6 + 1, 1e6 + 2, 1e6 + 3])
    events = replace(flat.take(torch.arange(4)), flat=torch.stack((values, values), dim=1))
    events = events.with_event_weight(torch.ones(4))
    # Exactly the deviation of 0, 1, 2, 3.
    assert Scaling.fit(events, FLAT).scale[0] == pytest.approx(np.sqrt(1.25), rel=1e-12)


def test_a_constant_feature_is_refused_by_name(flat: Events) -> None:
    values = flat.flat.clone()
    values[:, 1] = 0.1
    with pytest.raises(DataError, match=r"feature 'width' is 0\.1 in all 400 training entries"):
        Scaling.fit(replace(flat, flat=values), FLAT)


def test_a_feature_that_is_not_finite_is_refused_by_name(flat: Events) -> None:
    values = flat.flat.clone()
    values[7, 0] = torch.inf
    with pytest.raises(DataError, match="feature 'jet_pt' is inf at training entry 7"):
        Scaling.fit(replace(flat, flat=values), FLAT)


def test_events_without_weight_or_trees_are_refused(flat: Events) -> None:
    with pytest.raises(DataError, match="all 400 training entries have the weight 0"):
        Scaling.fit(flat.with_event_weight(torch.zeros(400)), FLAT)
    with pytest.raises(DataError, match="no jet trees"):
        Scaling.fit(select_features(flat, ()), TREES)
