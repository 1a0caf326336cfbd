"""What is read from disk bit by bit is what lies in memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hepdl.events import Events, Inputs, ParticleInputs, TreeInputs
from hepdl.events.scaling import Scaling
from hepdl.events.split import PARTS
from hepdl.events.store import load, save
from hepdl.pipeline.dataset import Dataset
from hepdl.pipeline.streaming import StoredPart, in_chunks, stream_parts
from hepdl.train.state.identity import data_fingerprint

INPUTS = [
    Inputs(features=("width", "jet_pt")),
    Inputs(trees=TreeInputs()),
    Inputs(features=("width",), particles=ParticleInputs()),
]
N = 120


@pytest.fixture(scope="module")
def stored(toy_jets: Callable[..., Events], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored") / "events"
    save(toy_jets(N), folder)
    return folder


def as_dataset(events: Events) -> Dataset:
    random = np.random.default_rng(1)
    part = random.choice(3, N, p=[0.6, 0.2, 0.2]).astype(np.int8)
    return Dataset(events, part, random.normal(1.0, 0.5, N))


@pytest.mark.parametrize("inputs", INPUTS)
def test_gathered_events_are_those_of_the_fit_in_memory(stored: Path, inputs: Inputs) -> None:
    resident, mapped = as_dataset(load(stored)), as_dataset(load(stored, mapped=True))
    events = resident.arranged(inputs)
    train = resident.training_events(events, "train")
    scaling = Scaling.fit(train, inputs)
    source, validation, found = stream_parts(mapped, inputs, stream=N, seed=0, nuisances=())
    assert found is not None
    assert found.as_dict() == scaling.as_dict()
    assert len(source) == len(train)
    everything = torch.arange(len(source))
    assert data_fingerprint(source.gather(everything)) == data_fingerprint(scaling.apply(train))
    some = torch.tensor([5, 2, 40])
    assert data_fingerprint(source.gather(some)) == data_fingerprint(
        scaling.apply(train.take(some))
    )
    wanted = scaling.apply(resident.training_events(events, "validation"))
    assert data_fingerprint(validation) == data_fingerprint(wanted)


def test_nuisances_ride_along(stored: Path) -> None:
    mapped = as_dataset(load(stored, mapped=True))
    source, validation, _ = stream_parts(
        mapped, INPUTS[0], stream=N, seed=0, nuisances=("n_constituents",)
    )
    rows = np.flatnonzero(mapped.part == PARTS.index("train"))
    found = source.gather(torch.arange(len(source)))
    assert found.nuisance_names == validation.nuisance_names == ("n_constituents",)
    np.testing.assert_array_equal(
        found.nuisance[:, 0], mapped.column("n_constituents")[rows].astype(np.float32)
    )


def test_the_scaling_is_fitted_on_no_more_events_than_may_be_in_memory(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = StoredPart.gather

    def counted(self: StoredPart, index: torch.Tensor) -> Events:
        asked.append(len(index))
        return original(self, index)

    monkeypatch.setattr(StoredPart, "gather", counted)
    mapped = as_dataset(load(stored, mapped=True))
    stream_parts(mapped, INPUTS[0], stream=16, seed=0, nuisances=())
    assert asked == [16, len(mapped.index("validation"))]


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("stream", [None, 7, N])
def test_chunks_together_are_all_events_that_were_asked_for(
    stored: Path, inputs: Inputs, stream: int | None
) -> None:
    dataset = as_dataset(load(stored))
    rows = np.arange(3, 50)
    chunks = list(in_chunks(dataset, inputs, rows, stream=stream))
    assert max(len(chunk) for chunk in chunks) <= (stream or N)
    numbers = torch.cat([chunk.event_number for chunk in chunks])
    torch.testing.assert_close(numbers, dataset.events.event_number[3:50], rtol=0, atol=0)
    wanted = dataset.arranged(inputs).take(torch.from_numpy(rows))
    torch.testing.assert_close(
        torch.cat([chunk.flat for chunk in chunks]), wanted.flat, rtol=0, atol=0
    )


def test_mapped_events_are_the_stored_ones_and_a_change_stays_in_memory(
    stored: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(stored, folder)
    mapped = load(folder, mapped=True)
    assert data_fingerprint(mapped) == data_fingerprint(load(folder))
    mapped.event_weight.fill_(3.0)
    # The checksums are still right, and so are the values.
    assert data_fingerprint(load(folder, mapped=True)) == data_fingerprint(load(stored))
