"""Assignments of events: chosen, cut and joined together with the events that they belong to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hepdl.errors import ConfigError, DataError
from hepdl.events import AssignedEvents, AssignmentInputs
from hepdl.events.assigned import Truth, join_assigned
from hepdl.events.reconstruction import ReconstructionRecipe
from hepdl.kinematics import Decay
from hepdl.models.reconstruction.fitted import Reconstruction
from hepdl.train.state.identity import data_fingerprint
from tests.unit.models.assignment_toys import RECIPE, toy_events

DECAY = Decay.from_mapping(
    {"particles": {"higgs": ["b1", "b2"]}, "leaves": {"b1": "b_jet", "b2": "b_jet"}}
)


def assigned(n_events: int = 5, *, truth: bool = True) -> AssignedEvents:
    generator = torch.Generator().manual_seed(n_events)
    return AssignedEvents(
        DECAY,
        leaves=torch.rand(n_events, 3, 2, 5, generator=generator),
        features=torch.rand(n_events, 3, 2, generator=generator),
        score=torch.rand(n_events, 3, generator=generator),
        mask=torch.rand(n_events, 3, generator=generator) < 0.7,
        feature_names=("mass_higgs", "delta_r_b1_b2"),
        truth=Truth(torch.rand(n_events, 3, 1) < 0.5, torch.rand(n_events, 1) < 0.5)
        if truth
        else None,
    )


def assert_same(one: AssignedEvents, other: AssignedEvents) -> None:
    assert [key for key, _ in one.tensors()] == [key for key, _ in other.tensors()]
    for (_, a), (_, b) in zip(one.tensors(), other.tensors(), strict=True):
        assert torch.equal(a, b)
    assert one.feature_names == other.feature_names


@pytest.mark.parametrize("truth", [True, False])
def test_a_slice_is_the_choice_of_its_events(truth: bool) -> None:
    whole = assigned(truth=truth)
    assert_same(whole.slice(1, 4), whole.take(torch.tensor([1, 2, 3])))


@pytest.mark.parametrize("truth", [True, False])
def test_parts_join_to_the_whole(truth: bool) -> None:
    whole = assigned(truth=truth)
    assert_same(join_assigned([whole.slice(0, 2), whole.slice(2, 2), whole.slice(2, 5)]), whole)


def test_the_best_few_with_some_features_in_another_order() -> None:
    whole = assigned()
    few = whole.best(2, ("delta_r_b1_b2", "mass_higgs"))
    assert torch.equal(few.features, whole.features[:, :2].flip(2))
    assert few.truth is not None
    assert whole.truth is not None
    assert few.truth.is_right.shape == (5, 2, 1)
    assert torch.equal(few.truth.is_known, whole.truth.is_known)
    assert_same(whole.best(3), whole)


def test_more_assignments_than_there_are_and_unknown_features_are_refused() -> None:
    with pytest.raises(DataError, match="asked for the best 4 assignments"):
        assigned().best(4)
    with pytest.raises(DataError, match="mass_top"):
        assigned().best(1, ("mass_top",))


def test_assignments_that_differ_are_not_joined() -> None:
    other = replace(assigned(), feature_names=("mass_higgs", "pt_higgs"))
    with pytest.raises(DataError, match=r"assignments differ: .*delta_r_b1_b2.*pt_higgs"):
        join_assigned([assigned(), other])


def test_no_assignment_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="n_best is 0; a model takes at least 1"):
        AssignmentInputs(n_best=0)


def test_the_data_of_a_fit_include_the_assignments() -> None:
    events = toy_events(20)
    reconstruction = Reconstruction(ReconstructionRecipe.from_mapping(RECIPE), ranking="chi_square")
    found = reconstruction.assign(events, AssignmentInputs(2, ("mass_higgs",)))
    whole = replace(events, assignments=found)
    prints = {data_fingerprint(events), data_fingerprint(whole)}
    for name in ("leaves", "features", "score"):
        other = getattr(found, name).clone()
        other[3] += 1.0
        changed = replace(events, assignments=replace(found, **{name: other}))
        prints.add(data_fingerprint(changed))
    assert found.truth is not None
    right = ~found.truth.is_right
    truth = replace(found, truth=Truth(right, found.truth.is_known))
    prints.add(data_fingerprint(replace(events, assignments=truth)))
    assert len(prints) == 6
