"""Ranks: shares cover every minibatch, and collectives give every rank the same."""

from __future__ import annotations

import importlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hepdl.errors import ConfigError
from hepdl.train.state import batch_norm
from hepdl.train.state.batch_norm import running_statistics, shared_batch_norm
from hepdl.train.state.ranks import Ranks

SCRIPT = Path(__file__).with_name("ranks_script.py")


Start = Callable[..., list[subprocess.Popen[str]]]


def answers(processes: list[subprocess.Popen[str]]) -> list[Any]:
    outputs = [process.communicate(timeout=300) for process in processes]
    return [json.loads(out) if out else err for out, err in outputs]


@given(first=st.integers(0, 1000), n=st.integers(0, 200), size=st.integers(1, 9))
def test_shares_cover_a_minibatch_once_in_order_and_evenly(first: int, n: int, size: int) -> None:
    shares = [Ranks(rank, size).share(first, first + n) for rank in range(size)]
    covered = [position for start, end in shares for position in range(start, end)]
    assert covered == list(range(first, first + n))
    counts = [end - start for start, end in shares]
    working = [count for count in counts if count]
    assert counts == working + [0] * (size - len(working))
    assert not working or max(working) - min(working) <= 1
    # Batch norm cannot train on one event.
    assert 1 not in counts or n == 1


def test_one_rank_does_everything_and_nothing_more() -> None:
    ranks = Ranks.alone()
    tensor = torch.tensor([1.5, -2.0], requires_grad=True)
    assert ranks.is_first
    assert ranks.is_alone
    assert ranks.share(3, 11) == (3, 11)
    ranks.sum_(tensor.data)
    assert tensor.tolist() == [1.5, -2.0]
    whole = ranks.whole(tensor, first=0, n_rows=2)
    assert whole.tolist() == [1.5, -2.0]
    assert not whole.requires_grad
    assert ranks.gather("a") == ["a"]
    assert ranks.broadcast("a") == "a"
    assert ranks.any(True)
    assert not ranks.any(False)


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert Ranks.from_environment() == Ranks.alone()


def test_a_rank_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="rank 2 has no GPU of its own, this host has 2"):
        Ranks(2, 4, local_rank=2).device(torch.device("cuda"))
    assert Ranks(2, 4, local_rank=2).device(torch.device("cpu")) == torch.device("cpu")


def test_three_ranks_get_the_same_from_every_collective(start_ranks: Start) -> None:
    found = answers(start_ranks(SCRIPT, 3, "everything"))
    assert [each.pop("rank") for each in found] == [
        [0, 3, True, False],
        [1, 3, False, False],
        [2, 3, False, False],
    ]
    assert found[0] == found[1] == found[2]
    assert found[0]["sum"] == [111.0, 111.0]
    assert found[0]["whole"] == [[float(i), i * torch.tensor(1e-3).item()] for i in range(7)]
    assert found[0]["any"] == [True, False]
    assert found[0]["gather"] == [{"rank": i, "text": "x" * 1000 * i} for i in range(3)]
    assert found[0]["broadcast"] == {"task": ["mlp", 0, None]}


def test_a_rank_that_is_killed_is_noticed_at_once_and_named_as_such(start_ranks: Start) -> None:
    processes = start_ranks(SCRIPT, 2, "die")
    left, _ = answers(processes)
    assert processes[1].returncode == -9
    assert left["status"] == 3
    assert "lost another rank while" in left["message"]


def test_gradients_of_three_ranks_add_up_to_those_of_one(
    start_ranks: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = answers(start_ranks(SCRIPT, 3, "gradients"))
    assert found[0] == found[1] == found[2]
    # No rank asked for a stop in the first step, one of them in the second.
    assert found[0]["stopped"] == [False, True]
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    alone = importlib.import_module("ranks_script").gradients(Ranks.alone())
    for summed, own in zip(found[0]["gradients"], alone["gradients"], strict=True):
        # Sums of five float32 numbers of order 1 in another order.
        np.testing.assert_allclose(summed, own, rtol=0, atol=1e-6)
    # Closed form: after two steps of momentum 0.1 the mean is 0.19 times the mean of the shares,
    # weighted by their sizes, which is the mean of all events.
    torch.manual_seed(1)
    expected = 0.19 * torch.randn(5, 3).mean(dim=0)
    np.testing.assert_allclose(found[0]["statistics"][0], expected, rtol=0, atol=1e-6)


def network_with_batch_norm() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def test_batch_norm_without_gpus_warns_once_and_on_the_first_rank_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = network_with_batch_norm()
    kind = type(network[1])
    for ranks in (Ranks(0, 2), Ranks(1, 2), Ranks.alone()):
        with shared_batch_norm(network, ranks) as must_join:
            assert not must_join
            assert type(network[1]) is kind
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "within the spread between seeds" in caplog.text


def test_batch_norm_is_synchronised_on_gpus_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_with_batch_norm()
    layer = network[1]
    monkeypatch.setattr(batch_norm, "device_of", lambda module: torch.device("cuda"))
    with shared_batch_norm(network, Ranks(0, 2)) as must_join:
        assert must_join
        assert isinstance(network[1], nn.SyncBatchNorm)
        assert network[1].weight is layer.weight
        assert network[1].running_var is layer.running_var
        assert running_statistics(network) == []
    assert network[1] is layer
    assert running_statistics(network) == [layer.running_mean, layer.running_var]
