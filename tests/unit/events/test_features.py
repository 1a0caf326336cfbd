from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from hepdl.errors import DataError
from hepdl.events import Events, flat_features, select_features

Make = Callable[..., Events]


def test_features_come_in_the_order_wanted(toy_jets: Make) -> None:
    events = toy_jets(5)
    chosen = select_features(events, ["n_constituents", "jet_pt"])
    assert chosen.feature_names == ("n_constituents", "jet_pt")
    assert torch.equal(chosen.flat, events.flat[:, [2, 0]])
    assert flat_features(chosen, ["n_constituents", "jet_pt"]) is chosen.flat


def test_an_observer_can_be_a_feature(toy_jets: Make) -> None:
    events = toy_jets(5)
    bare = select_features(events, [])
    assert bare.flat.shape == (5, 0)
    again = select_features(bare, ["width"])
    assert torch.equal(again.flat[:, 0], events.flat[:, 1])


def test_an_unknown_feature_is_refused(toy_jets: Make) -> None:
    with pytest.raises(DataError, match=r"unknown feature 'widht' .* did you mean 'width'"):
        select_features(toy_jets(5), ["widht"])


def test_features_in_another_order_are_refused(toy_jets: Make) -> None:
    with pytest.raises(DataError, match=r"takes the features \['width', 'jet_pt'\]"):
        flat_features(toy_jets(5), ["width", "jet_pt"])
