"""Parts, folds and weights of the prepared events, and what is refused before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from hepdl.errors import DataError
from hepdl.events import Events
from hepdl.events.split import PARTS
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.dataset import build_dataset, evaluation_weights
from hepdl.schema import Schema

N_FOLDS = 4
MakeEvents = Callable[..., Events]
MakeConfig = Callable[..., AnalysisConfig]
FOLDS = {"folds": N_FOLDS, "validation_fraction": 0.2}


def test_the_parts_of_a_fold_hold_every_event_once_and_its_own_events_are_tested(
    make_events: MakeEvents, make_config: MakeConfig, flat_schema: Schema
) -> None:
    events = make_events()
    dataset = build_dataset(events, make_config(split=FOLDS), flat_schema)
    assert set(dataset.part) == {PARTS.index("test")}
    fold = events.event_number.numpy() % N_FOLDS
    times_tested = np.zeros(len(events))
    for number in range(N_FOLDS):
        parts = dataset.of_fold(number)
        test = parts.index("test")
        np.testing.assert_array_equal(test, np.flatnonzero(fold == number))
        assert sum(len(parts.index(part)) for part in PARTS) == len(events)
        times_tested[test] += 1
    assert (times_tested == 1).all()


def test_an_event_chooses_in_every_fold_but_its_own_or_in_none(
    make_events: MakeEvents, make_config: MakeConfig, flat_schema: Schema
) -> None:
    events = make_events()
    dataset = build_dataset(events, make_config(split=FOLDS), flat_schema)
    times = sum(
        (dataset.of_fold(f).part == PARTS.index("validation")).astype(int) for f in range(N_FOLDS)
    )
    assert set(times) == {0, N_FOLDS - 1}
    # A fifth of 400 events: 5 standard deviations of the binomial are 40.
    assert abs((times > 0).sum() - 0.2 * len(events)) < 40


def test_the_fold_of_an_event_does_not_depend_on_other_events(
    make_events: MakeEvents, make_config: MakeConfig, flat_schema: Schema
) -> None:
    events = make_events()
    some = torch.arange(100, 400)
    whole = build_dataset(events, make_config(split=FOLDS), flat_schema)
    part = build_dataset(events.take(some), make_config(split=FOLDS), flat_schema)
    for fold in range(N_FOLDS):
        np.testing.assert_array_equal(
            whole.of_fold(fold).part[some.numpy()], part.of_fold(fold).part
        )


def test_the_weights_of_a_fold_are_fitted_without_its_events(
    make_events: MakeEvents, make_config: MakeConfig, flat_schema: Schema
) -> None:
    events = make_events(4000)
    config = make_config(
        split=FOLDS, weights={"training": {"flatten": ["y"], "negative": "reweight"}}
    )
    before = build_dataset(events, config, flat_schema)
    outside = before.of_fold(0).part != PARTS.index("test")
    changed = events.event_weight.clone()
    changed[~torch.from_numpy(outside)] = 7.0
    after = build_dataset(events.with_event_weight(changed), config, flat_schema)
    np.testing.assert_array_equal(
        before.of_fold(0).training_weight[outside], after.of_fold(0).training_weight[outside]
    )
    assert (before.of_fold(0).training_weight > 0).all()


@pytest.mark.parametrize("negative", ["keep", "absolute", "drop", "reweight"])
def test_both_classes_weigh_the_same_in_training_for_every_policy(
    negative: str, make_events: MakeEvents, make_config: MakeConfig, flat_schema: Schema
) -> None:
    events = make_events(4000)
    config = make_config(weights={"training": {"negative": negative}})
    dataset = build_dataset(events, config, flat_schema)
    train = dataset.index("train")
    weight, label = dataset.training_weight[train], dataset.label[train]
    assert weight[label == 1].sum() == pytest.approx(weight[label == 0].sum(), rel=1e-9)
    assert (weight < 0).any() == (negative == "keep")


def test_evaluation_keeps_the_signs_whatever_the_training_does(
    make_events: MakeEvents, make_config: MakeConfig, flat_schema: Schema
) -> None:
    config = make_config(weights={"training": {"negative": "reweight"}})
    dataset = build_dataset(make_events(4000), config, flat_schema)
    index = dataset.index("test")
    weight = evaluation_weights(dataset, index, ())
    physical = dataset.events.event_weight.numpy()[index]
    np.testing.assert_array_equal(np.sign(weight), np.sign(physical))


def test_all_parts_together_are_refused_where_a_fold_is_meant(
    make_events: MakeEvents, make_config: MakeConfig, flat_schema: Schema
) -> None:
    dataset = build_dataset(make_events(), make_config(split=FOLDS), flat_schema)
    with pytest.raises(DataError, match=r"4 folds: take the parts of `of_fold"):
        dataset.training_events(dataset.events, "train")


def test_counts_of_folds_add_up(
    make_events: MakeEvents, make_config: MakeConfig, flat_schema: Schema
) -> None:
    dataset = build_dataset(make_events(), make_config(split=FOLDS), flat_schema)
    assert dataset.counts()["test"] == {"signal": 200, "background": 200}
    for parts in dataset.fold_counts().values():
        assert sum(part["signal"] for part in parts.values()) == 200
    plain = build_dataset(make_events(), make_config(), flat_schema)
    assert plain.fold_counts() == {}


def test_a_fold_without_a_class_is_named(
    make_events: MakeEvents, make_config: MakeConfig, flat_schema: Schema
) -> None:
    events = make_events()
    # Signal with even event numbers alone.
    keep = (events.label == 0) | (events.event_number % 2 == 0)
    some = events.take(torch.nonzero(keep).flatten())
    with pytest.raises(
        DataError, match=r"fold 1 of 2 \(event_number % 2 = 1\): the test part has no signal"
    ):
        build_dataset(some, make_config(split={"folds": 2}), flat_schema)


def test_events_without_numbers_of_their_own_cannot_have_folds(
    make_events: MakeEvents, make_config: MakeConfig, flat_schema: Schema
) -> None:
    events = make_events()
    same = replace(events, event_number=torch.zeros(len(events), dtype=torch.int64))
    with pytest.raises(DataError, match="event number 0"):
        build_dataset(same, make_config(split=FOLDS), flat_schema)


def test_a_fold_with_a_negative_sum_of_weights_is_named(
    make_events: MakeEvents, make_config: MakeConfig, flat_schema: Schema
) -> None:
    events = make_events()
    turned = (events.label == 0) & (events.event_number % N_FOLDS == 2)
    weight = torch.where(turned, -1.0, 1.0)
    with pytest.raises(
        DataError, match=r"fold 2 of 4 .* test part: .* background entries sum to -\d+, .* positive"
    ):
        build_dataset(events.with_event_weight(weight), make_config(split=FOLDS), flat_schema)


@pytest.mark.parametrize(("negative", "is_refused"), [("keep", True), ("absolute", False)])
def test_a_negative_sum_of_training_weights_is_refused_unless_the_policy_cures_it(
    negative: str,
    is_refused: bool,
    make_events: MakeEvents,
    make_config: MakeConfig,
    flat_schema: Schema,
) -> None:
    events = make_events()
    config = make_config(weights={"training": {"negative": negative, "balance": False}})
    ones = events.with_event_weight(torch.ones(len(events)))
    train = build_dataset(ones, config, flat_schema).part == PARTS.index("train")
    weight = torch.where(torch.from_numpy(train) & (events.label == 1), -1.0, 1.0)
    turned = events.with_event_weight(weight)
    if is_refused:
        with pytest.raises(DataError, match=r"train part: .* signal entries .* another policy"):
            build_dataset(turned, config, flat_schema)
    else:
        assert (build_dataset(turned, config, flat_schema).training_weight > 0).all()
