"""What models take from the reconstruction of an analysis, and mistakes found before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hepdl.errors import DataError
from hepdl.events import AssignmentInputs, Events, Inputs
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.dataset import arrange, build_dataset
from hepdl.pipeline.reconstruction import needs_of, reconstruction_problems
from hepdl.schema import Schema
from tests.unit.models.assignment_toys import RECIPE, toy_events

FEATURES = ("best_score", "best_mass_higgs")


@pytest.fixture(scope="module")
def jets_schema() -> Schema:
    return Schema.from_dict(
        {
            "format_version": 1,
            "name": "jets",
            "ttree": "events",
            "branches": {"event_number": {"role": "event_number"}},
            "collections": {
                "jets": {
                    "four_vector": ["px", "py", "pz", "energy"],
                    "branches": {
                        **{name: {"unit": "GeV"} for name in ("px", "py", "pz", "energy")},
                        "b_tag": {},
                        "origin": {},
                    },
                }
            },
        }
    )


def config_of(make_config: Callable[..., AnalysisConfig], **changes: Any) -> AnalysisConfig:
    models = {"mlp": {"model": "mlp", "options": {"features": list(FEATURES)}}}
    section = {
        "ranking": "chi_square",
        **RECIPE,
    }
    return make_config(**{"models": models, "reconstruction": section, **changes})


def test_needs_are_read_off_the_names() -> None:
    assert needs_of(Inputs(("x",)), ()) is None
    assert needs_of(Inputs(("best_score",)), ()) == AssignmentInputs(1)
    assert needs_of(Inputs(("best_x", "y")), ()) == AssignmentInputs(1, ("x",))
    # A field of the files that only is called so.
    assert needs_of(Inputs(("best_x",)), ("best_x",)) is None
    whole = Inputs(("best_x",), assignments=AssignmentInputs(4, ("y", "x")))
    assert needs_of(whole, ()) == AssignmentInputs(4, ("y", "x"))


def test_flat_features_are_those_of_the_best_assignment(
    make_config: Callable[..., AnalysisConfig], jets_schema: Schema
) -> None:
    events = toy_events(200)
    dataset = build_dataset(events, config_of(make_config), jets_schema)
    inputs = Inputs(FEATURES, assignments=AssignmentInputs(2, ("mass_higgs",)))
    found = dataset.arranged(inputs)
    assert found.assignments is not None
    assert torch.equal(found.flat[:, 0], found.assignments.score[:, 0])
    assert torch.equal(found.flat[:, 1], found.assignments.features[:, 0, 0])
    again = arrange(events, inputs, dataset.reconstruction(inputs))
    assert torch.equal(again.flat, found.flat)
    assert not found.collections


def test_each_fold_has_a_reconstruction_of_its_own(
    make_config: Callable[..., AnalysisConfig], jets_schema: Schema
) -> None:
    section = {**RECIPE, "options": {"n_rounds": 5, "cross_fits": 2}}
    config = config_of(make_config, reconstruction=section, split={"folds": 2})
    dataset = build_dataset(toy_events(1000), config, jets_schema)
    inputs = Inputs(FEATURES)
    made = [dataset.of_fold(fold).reconstruction(inputs) for fold in range(2)]
    assert made[0] is not None
    assert made[1] is not None
    assert made[0].key != made[1].key
    # Fitted once a fold, whoever asks.
    assert dataset.of_fold(0).reconstruction(inputs) is made[0]
    # The events of a fold, arranged with the reconstruction of the model that tests it.
    rows = dataset.rows_of_fold(0)
    with_own = dataset.arranged(inputs, made[0]).flat[rows]
    assert torch.equal(with_own, dataset.of_fold(0).arranged(inputs).flat[rows])


def test_a_reconstruction_is_fitted_on_its_training_part_alone(
    make_config: Callable[..., AnalysisConfig],
    jets_schema: Schema,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hepdl.models.reconstruction.fitted import Reconstruction

    seen: list[Events] = []
    monkeypatch.setattr(Reconstruction, "fit", lambda self, train, *, seed: seen.append(train))
    config = config_of(make_config, split={"folds": 3})
    dataset = build_dataset(toy_events(600), config, jets_schema).of_fold(1)
    dataset.reconstruction(Inputs(FEATURES))
    trained = dataset.events.event_number.numpy()[dataset.index("train")]
    assert np.array_equal(np.sort(seen[0].event_number.numpy()), np.sort(trained))
    assert not (seen[0].event_number % 3 == 1).any()


def test_models_without_a_reconstruction_are_named(
    make_config: Callable[..., AnalysisConfig], jets_schema: Schema
) -> None:
    config = config_of(make_config, reconstruction=None)
    (problem,) = reconstruction_problems(config, jets_schema, file="a.yaml")
    assert "models.mlp in a.yaml takes assignments" in problem
    with pytest.raises(DataError, match="add the section reconstruction"):
        arrange(toy_events(10), Inputs(FEATURES))


def test_what_the_schema_does_not_have_is_named(
    make_config: Callable[..., AnalysisConfig], jets_schema: Schema
) -> None:
    models = {"mlp": {"model": "mlp", "options": {"features": ["best_mass_higs"]}}}
    config = config_of(make_config, models=models, reconstruction={})
    text = "\n".join(reconstruction_problems(config, jets_schema, file="a.yaml"))
    for piece in (
        "unknown field of the schema 'lepton_pt'",
        "unknown column 'truth_parton' (reconstruction in a.yaml, truth.column)",
        "did you mean 'best_mass_higgs'?",
    ):
        assert piece in text


def test_options_of_the_trees_are_checked_by_name(
    make_config: Callable[..., AnalysisConfig], jets_schema: Schema
) -> None:
    section = {**RECIPE, "options": {"rounds": 5}}
    config = config_of(make_config, reconstruction=section)
    (problem,) = reconstruction_problems(config, jets_schema, file="a.yaml")
    assert "reconstruction.options" in problem
    assert "n_rounds" in problem
