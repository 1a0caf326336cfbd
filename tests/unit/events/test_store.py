from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from hepdl.errors import DataError, EnvironmentFailure
from hepdl.events import Events, ParticleInputs, TreeInputs
from hepdl.events.particles import attach_particles
from hepdl.events.store import load, save
from hepdl.events.trees import attach_trees

Make = Callable[..., Events]


@pytest.fixture
def events(toy_jets: Make) -> Events:
    events = attach_trees(toy_jets(20), TreeInputs())
    events = attach_particles(events, ParticleInputs(features=("log_pt",), unscaled=("delta_r",)))
    # A name that could not be a file's.
    return replace(events, observers={**events.observers, "../a/b": events.event_number})


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if hasattr(one, "__dataclass_fields__"):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))  # type: ignore[arg-type]
    return one == other


def test_events_survive_the_disk(events: Events, tmp_path: Path) -> None:
    save(events, tmp_path / "new" / "events")
    assert same(load(tmp_path / "new" / "events"), events)


def test_empty_events_survive_too(events: Events, tmp_path: Path) -> None:
    nothing = replace(events.take(torch.arange(0)), jet_trees=None, particles=None)
    save(nothing, tmp_path / "events")
    assert same(load(tmp_path / "events"), nothing)


def test_saving_again_replaces(events: Events, tmp_path: Path) -> None:
    save(events, tmp_path / "events")
    save(events.take(torch.arange(3)), tmp_path / "events")
    assert len(load(tmp_path / "events")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["events"]


def test_no_pickle_is_ever_written(events: Events, tmp_path: Path) -> None:
    save(events, tmp_path / "events")
    assert {path.suffix for path in (tmp_path / "events").iterdir()} == {".npy", ".json"}


@pytest.mark.parametrize("how", ["flip", "truncate"])
def test_a_damaged_file_is_named(events: Events, tmp_path: Path, how: str) -> None:
    save(events, tmp_path / "events")
    path = tmp_path / "events" / "005.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content if how == "flip" else content[:-8])
    with pytest.raises(DataError, match=r"005\.npy is damaged: its checksum"):
        load(tmp_path / "events")


def test_a_missing_file_is_named(events: Events, tmp_path: Path) -> None:
    save(events, tmp_path / "events")
    (tmp_path / "events" / "003.npy").unlink()
    with pytest.raises(DataError, match=r"003\.npy is missing"):
        load(tmp_path / "events")


def test_a_folder_without_its_manifest_is_not_taken_for_events(
    events: Events, tmp_path: Path
) -> None:
    save(events, tmp_path / "events")
    manifest = tmp_path / "events" / "events.json"
    content = manifest.read_text()
    manifest.write_text(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"events\.json is damaged"):
        load(tmp_path / "events")
    manifest.write_text(json.dumps({"format_version": 99}))
    with pytest.raises(DataError, match="has format 99, this hepdl reads format 1"):
        load(tmp_path / "events")
    manifest.unlink()
    with pytest.raises(DataError, match=r"events\.json is missing; prepare them again"):
        load(tmp_path / "events")


def test_a_failed_save_leaves_the_old_events(
    events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(events, tmp_path / "events")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hepdl.events.store.np.save", full)
    with pytest.raises(EnvironmentFailure, match="No space left on device"):
        save(events.take(torch.arange(3)), tmp_path / "events")
    assert len(load(tmp_path / "events")) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["events"]
