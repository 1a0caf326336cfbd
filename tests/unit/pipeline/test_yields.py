"""Yields against numbers that are worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hepdl.errors import DataError
from hepdl.events import Events
from hepdl.events.split import PARTS
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.yields import Normalisation, measure_yields

PROCESSES = {
    "signal": {"label": "signal", "files": "s.root", "cross_section": 0.5, "sum_of_weights": 100},
    "background": {
        "label": "background",
        "files": "b.root",
        "cross_section": 2,
        "k_factor": 1.5,
        "filter_efficiency": 0.1,
        "sum_of_weights": 1000,
    },
}
SUMS = {"signal": 100.0, "background": 1000.0}
# Events a weight of 1: 0.5 pb = 500 fb, times 2 /fb, over 100; 2000 * 1.5 * 0.1 * 2 / 1000.
WORTH = (10.0, 0.6)


@pytest.fixture
def few(make_events: Callable[..., Events]) -> Events:
    events = make_events(8)
    # Signal is every second event.
    return events.with_event_weight(torch.tensor([1.0, 2.0, 3.0, 4.0, -1.0, 6.0, 7.0, 8.0]))


@pytest.fixture
def config(make_config: Callable[..., AnalysisConfig]) -> AnalysisConfig:
    return make_config(processes=PROCESSES, evaluate={"luminosity": 2.0})


def test_the_weights_of_one_part_stand_for_all_events(few: Events, config: AnalysisConfig) -> None:
    train, validation, test = (PARTS.index(part) for part in ("train", "validation", "test"))
    part = np.array([train, train, test, validation, test, test, train, test], dtype=np.int8)
    normalisation = Normalisation.of(few, part, config, SUMS)
    found = normalisation.weights(few, part)
    # Background: 1, 3, -1, 7 of which 3 and -1 are tested; signal: 2, 4, 6, 8, of which 6 and 8.
    assert found[2] == pytest.approx(WORTH[1] * 3.0 * 10.0 / 2.0)
    assert found[4] == pytest.approx(WORTH[1] * -1.0 * 10.0 / 2.0)
    assert found[5] == pytest.approx(WORTH[0] * 6.0 * 20.0 / 14.0)
    assert found[3] == pytest.approx(WORTH[0] * 4.0 * 20.0 / 4.0)
    for code in (train, test):
        for process, total in ((0, 20.0), (1, 10.0)):
            inside = (part == code) & (few.process.numpy() == process)
            assert found[inside].sum() == pytest.approx(WORTH[process] * total)
    entry = measure_yields(few, found, np.flatnonzero(part == test))["background"]
    assert entry["value"] == pytest.approx(6.0)
    assert entry["statistical_error"] == pytest.approx(0.6 * 5.0 * np.sqrt(10.0))
    assert entry["n_entries"] == 2
    assert entry["n_effective"] == pytest.approx(2.0**2 / 10.0)


def test_events_of_another_version_keep_the_nominal_scale(
    few: Events, config: AnalysisConfig
) -> None:
    part = np.array([0, 0, 2, 1, 2, 2, 0, 2], dtype=np.int8)
    normalisation = Normalisation.of(few, part, config, SUMS)
    some = few.take(torch.tensor([5]))
    weight = normalisation.weights(some, np.array([2], dtype=np.int8))
    np.testing.assert_array_equal(weight, normalisation.weights(few, part)[5:6])


def test_without_parts_the_weight_is_that_of_the_formula(
    few: Events, config: AnalysisConfig
) -> None:
    part = np.full(8, PARTS.index("test"), dtype=np.int8)
    found = Normalisation.of(few, part, config, SUMS).weights(few, part)
    expected = few.event_weight.numpy() * np.array(WORTH)[few.process.numpy()]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_part_that_cannot_stand_for_a_process_is_named(
    few: Events, config: AnalysisConfig
) -> None:
    part = np.array([2, 2, 0, 2, 0, 2, 0, 2], dtype=np.int8)
    with pytest.raises(DataError, match=r"process signal: none .* missing") as error:
        Normalisation.of(few, (2 - part).astype(np.int8), config, SUMS)
    assert "background" not in str(error.value)
    part = np.array([2, 2, 2, 2, 0, 2, 2, 2], dtype=np.int8)
    with pytest.raises(DataError, match=r"process background: .* 1 entries in the train part"):
        Normalisation.of(few, part, config, SUMS)


@pytest.mark.parametrize("text", ["1e6", 1e6, 1000000])
def test_sums_of_weights_may_be_written_as_yaml_likes(
    make_config: Callable[..., AnalysisConfig], text: object
) -> None:
    processes = {name: {**entry, "sum_of_weights": text} for name, entry in PROCESSES.items()}
    assert make_config(processes=processes).processes["signal"].sum_of_weights == 1e6
