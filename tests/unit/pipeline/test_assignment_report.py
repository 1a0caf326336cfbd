"""Efficiencies of the reconstruction of a run: the counts that they are, and drawable from JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hepdl.events import AssignmentInputs, Events, Inputs, Jagged
from hepdl.pipeline.assignment_report import (
    assignment_efficiency,
    draw_assignments,
    drawable,
)
from hepdl.pipeline.attention import attends
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.dataset import build_dataset
from hepdl.pipeline.saved import SavedModel
from hepdl.schema import Schema
from tests.unit.models.assignment_toys import RECIPE, toy_events

JETS = Schema.from_dict(
    {
        "format_version": 1,
        "name": "jets",
        "ttree": "events",
        "branches": {"event_number": {"role": "event_number"}},
        "collections": {"jets": {"branches": {"px": {"unit": "GeV"}, "b_tag": {}}}},
    }
)


def config_of(make_config: Callable[..., AnalysisConfig], **section: Any) -> AnalysisConfig:
    models = {"mlp": {"model": "mlp", "options": {"features": ["best_score"]}}}
    return make_config(models=models, split={"folds": 2}, reconstruction={**RECIPE, **section})


def test_efficiencies_are_counts_of_the_events_that_no_tree_has_seen(
    make_config: Callable[..., AnalysisConfig],
) -> None:
    config = config_of(make_config, options={"n_rounds": 10, "cross_fits": 2})
    dataset = build_dataset(toy_events(1000), config, JETS)
    found = assignment_efficiency(dataset)
    assert found is not None
    assert list(found) == ["chi_square", "boosted_trees"]
    n_right = n_known = 0
    for fold in range(2):
        made = dataset.of_fold(fold).reconstruction(Inputs(("best_score",)))
        assert made is not None
        rows = dataset.rows_of_fold(fold)
        truth = made.assign(dataset.events, AssignmentInputs(1)).truth
        assert truth is not None
        for row in rows[dataset.label[rows] == 1]:
            n_right += int(truth.is_right[row, 0, 0])
            n_known += int(truth.is_known[row, 0])
    entry = found["boosted_trees"]["all"]["higgs"]
    assert entry["n_known"] == n_known == 500
    assert entry["efficiency"]["value"] == pytest.approx(n_right / n_known)
    assert entry["efficiency"]["low"] < entry["efficiency"]["value"] < entry["efficiency"]["high"]
    # Every pair of jets is a candidate.
    assert entry["ceiling"]["value"] == 1.0
    # One particle is the whole event.
    assert found["chi_square"]["all"]["event"] == found["chi_square"]["all"]["higgs"]


class LooksAtTheLast(nn.Module):
    """Attends most to the assignment that is ranked last."""

    inputs = Inputs(assignments=AssignmentInputs(3))

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        assert events.assignments is not None
        return (events.assignments.score,)

    def attention(self, score: Tensor) -> Tensor:
        return torch.softmax(-score, dim=1)

    def forward(self, score: Tensor) -> Tensor:
        return score[:, 0]


def test_a_network_is_judged_by_the_assignment_that_it_looks_at_most(
    make_config: Callable[..., AnalysisConfig],
) -> None:
    dataset = build_dataset(toy_events(600), config_of(make_config, ranking="chi_square"), JETS)
    made = dataset.of_fold(0).reconstruction(Inputs(("best_score",)))
    assert made is not None
    saved = SavedModel("last", LooksAtTheLast(), None, JETS, {}, None, made)
    assert attends(saved)
    found = assignment_efficiency(dataset, {"last": (saved, saved)})
    assert found is not None
    assert list(found) == ["chi_square", "last"]
    truth = made.assign(dataset.events, AssignmentInputs(3)).truth
    assert truth is not None
    is_signal = torch.from_numpy(dataset.label == 1)
    known = truth.is_known[is_signal, 0]
    right = truth.is_right[is_signal][known]
    entry = found["last"]["all"]["higgs"]
    assert entry["efficiency"]["value"] == pytest.approx(right[:, 2, 0].double().mean().item())
    # It can choose among three.
    any_of_three = right[:, :, 0].any(dim=1).double().mean().item()
    assert entry["ceiling"]["value"] == pytest.approx(any_of_three)
    assert len(draw_assignments(found).axes) == 2


def test_groups_without_an_event_are_written_and_drawn(
    make_config: Callable[..., AnalysisConfig],
) -> None:
    dataset = build_dataset(toy_events(200), config_of(make_config, ranking="chi_square"), JETS)
    found = assignment_efficiency(dataset)
    assert found is not None
    assert list(found) == ["chi_square"]
    # The toy has five jets, so no group but all has an event.
    assert found["chi_square"]["6"]["higgs"]["n_known"] == 0
    again = json.loads(json.dumps(found, allow_nan=False))
    assert len(draw_assignments(again).axes) == 2


def test_without_truth_or_reconstruction_there_are_no_numbers(
    make_config: Callable[..., AnalysisConfig],
) -> None:
    events = toy_events(200)
    jets = events.collections["jets"]
    bare = Jagged(jets.values[:, :5], jets.offsets, jets.columns[:5])
    blind = replace(events, collections={"jets": bare})
    config = config_of(make_config, ranking="chi_square")
    assert assignment_efficiency(build_dataset(blind, config, JETS)) is None
    plain = make_config(split={"folds": 2})
    flat = replace(events, observers=dict.fromkeys(("x", "y"), events.event_weight))
    dataset = build_dataset(flat, plain, JETS)
    assert assignment_efficiency(dataset) is None
    assert not drawable(dataset)


def test_events_without_lepton_are_not_drawn(make_config: Callable[..., AnalysisConfig]) -> None:
    config = config_of(make_config, ranking="chi_square")
    dataset = build_dataset(toy_events(300), config, JETS)
    assert not drawable(dataset)
    assert np.array_equal(dataset.index("test"), np.arange(300))
