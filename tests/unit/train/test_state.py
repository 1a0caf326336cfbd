from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hepdl.errors import ConfigError, EnvironmentFailure
from hepdl.events import Jagged
from hepdl.train import CheckpointFolder, StopRequest, TrainOptions, choose_device, predict_scores
from hepdl.train.state.identity import data_fingerprint
from hepdl.train.state.minibatches import boundaries, permutation

Make = Callable[..., Any]


def test_options_name_every_bad_value_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainOptions(
            epochs=0,
            minibatch_size=2.5,  # type: ignore[arg-type]
            learning_rate=float("nan"),
            optimizer="adamm",
            schedule="cosin",
            clip_norm=-1.0,
            patience=0,
        )
    for part in (
        "train.epochs must be a whole number >= 1, got 0",
        "train.minibatch_size must be a whole number >= 1, got 2.5",
        "train.learning_rate must be a number > 0, got nan",
        "unknown optimizer 'adamm' (train.optimizer); did you mean 'adam'?",
        "unknown schedule 'cosin' (train.schedule); did you mean 'cosine'?",
        "train.clip_norm must be a number > 0, got -1.0",
        "train.patience must be a whole number >= 1, got 0",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("n_events", [1, 2, 31, 32, 33, 64, 65, 100])
@pytest.mark.parametrize("size", [1, 2, 32, 1000])
def test_minibatches_cover_every_event_once_and_are_never_a_single_one_by_accident(
    n_events: int, size: int
) -> None:
    parts = boundaries(n_events, minibatch_size=size)
    assert [i for first, end in parts for i in range(first, end)] == list(range(n_events))
    if size > 1 and n_events > 1:
        assert all(end - first > 1 for first, end in parts)


def test_each_epoch_and_each_seed_has_an_order_of_its_own() -> None:
    orders = {
        tuple(permutation(50, seed=seed, epoch=epoch).tolist())
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(orders) == 25
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_signals_are_remembered_and_the_old_handlers_come_back() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    with StopRequest() as stop:
        assert not stop.is_requested
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_requested
        assert stop.reason == "SIGUSR1"
    assert {number: signal.getsignal(number) for number in before} == before


def test_outside_the_main_thread_nothing_is_installed_and_nothing_breaks() -> None:
    seen: list[bool] = []

    def work() -> None:
        with StopRequest() as stop:
            stop.request("the caller")
            seen.append(stop.is_requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


def test_a_damaged_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save({"a": torch.ones(1000)})
    content = folder.file.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"not a checkpoint"):
        folder.file.write_bytes(damaged)
        with pytest.raises(EnvironmentFailure, match="remove it to start this fit afresh"):
            folder.load()


def test_a_checkpoint_that_would_run_code_is_not_loaded(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    torch.save({"a": Path("x")}, folder.file)
    with pytest.raises(EnvironmentFailure, match="damaged or not ours"):
        folder.load()


def test_a_full_disk_leaves_the_old_checkpoint_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save({"epoch": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentFailure, match="No space left on device; free some space"):
        folder.save({"epoch": 2})
    monkeypatch.undo()
    assert folder.load() == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_the_fingerprint_sees_every_value(events: Make) -> None:
    first = events(20)
    constituents = Jagged(torch.ones(30, 2), torch.arange(0, 31, 30), ("pt", "eta"))
    prints = {data_fingerprint(first)}
    for name in ("event_number", "label", "event_weight", "flat", "nuisance"):
        other = events(20)
        getattr(other, name).view(-1)[3] += 1
        prints.add(data_fingerprint(other))
    object.__setattr__(first, "collections", {"constituents": constituents})
    prints.add(data_fingerprint(first))
    constituents.values[29, 1] = 2
    prints.add(data_fingerprint(first))
    object.__setattr__(first, "particles", constituents)
    prints.add(data_fingerprint(first))
    assert len(prints) == 9
    assert data_fingerprint(events(20)) == data_fingerprint(events(20))


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"--device cuda: .*use --device cpu or auto"):
        choose_device("cuda")
    with pytest.raises(ConfigError, match="did you mean 'cuda'"):
        choose_device("cuda0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")


def test_scores_are_probabilities_in_evaluation_mode_whatever_the_minibatch(
    tiny: Make, events: Make
) -> None:
    network = tiny(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    sample = events(101)
    network.train()
    scores = predict_scores(network, sample)
    assert network.training
    expected = 1 / (1 + np.exp(-network.eval()(sample.flat).detach().double().numpy()))
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    np.testing.assert_allclose(predict_scores(network, sample, minibatch_size=7), scores, rtol=1e-6)
    assert scores.dtype == np.float32
    assert len(predict_scores(network, sample.take(torch.arange(0)))) == 0
