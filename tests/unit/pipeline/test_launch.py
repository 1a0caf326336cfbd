"""The launcher of several processes: what it makes of how they ended, and what it refuses."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from hepdl.errors import (
    ConfigError,
    DivergedError,
    EnvironmentFailure,
    RankLostError,
    StoppedError,
)
from hepdl.pipeline import launch
from hepdl.pipeline.processes.desk import Desk
from hepdl.pipeline.processes.followers import Followers, shared_threads
from hepdl.pipeline.processes.rank import describe_error
from hepdl.pipeline.request import Request
from hepdl.train.state.ranks import Ranks

DONE = {"kind": "done", "folder": "/runs/a", "record": "record.jsonl only"}
LOST = {"kind": "lost", "error": "RankLostError", "message": "lost another rank while adding up"}


def judge(
    outcomes: dict[int, dict[str, Any]],
    deaths: dict[int, int] | None = None,
    failure: Exception | None = None,
) -> dict[str, Any]:
    return launch.judge(outcomes, deaths or {}, failure, n_ranks=2)


def failed(error: BaseException, monkeypatch: pytest.MonkeyPatch, rank: int) -> dict[str, Any]:
    monkeypatch.setenv("RANK", str(rank))
    return describe_error(error)


def test_what_rank_0_returned_is_what_the_command_returns() -> None:
    assert judge({0: DONE, 1: {"kind": "done"}}) == {
        "folder": "/runs/a",
        "record": "record.jsonl only",
    }


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoppedError("stopped by SIGTERM in epoch 3"), 85),
        (DivergedError("loss nan"), 4),
        (ConfigError("unknown key"), 2),
        (EnvironmentFailure("disk full"), 3),
    ],
)
def test_the_error_of_rank_0_is_raised_again_with_its_status(
    monkeypatch: pytest.MonkeyPatch, error: Any, status: int
) -> None:
    outcome = failed(error, monkeypatch, 0)
    with pytest.raises(type(error), match=str(error)) as raised:
        judge({0: outcome, 1: failed(error, monkeypatch, 1)})
    assert raised.value.exit_status == status


def test_an_error_of_the_system_keeps_its_number_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/a/last.pt")
    with pytest.raises(OSError, match="No space left") as raised:
        judge({0: failed(error, monkeypatch, 0), 1: LOST})
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == "/runs/a/last.pt"


def test_ctrl_c_stays_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        judge({0: failed(KeyboardInterrupt(), monkeypatch, 0), 1: LOST})


def test_our_own_bug_shows_the_traceback_of_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        int("one")
    except ValueError as error:
        outcome = failed(error, monkeypatch, 1)
    with pytest.raises(RuntimeError, match=r"rank 1 of 2 failed:\n(.|\n)*ValueError"):
        judge({0: LOST, 1: outcome})


def test_the_rank_with_a_reason_is_named_and_not_the_one_that_lost_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = failed(EnvironmentFailure("cannot read events.npy"), monkeypatch, 1)
    with pytest.raises(EnvironmentFailure, match=r"^rank 1 of 2: cannot read events\.npy$"):
        judge({0: LOST, 1: outcome})


def test_a_dead_rank_is_named_with_its_signal_even_if_rank_0_took_it_for_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The agent ends the others by SIGTERM, which a rank hears as a wish to stop.
    outcome = failed(StoppedError("stopped by SIGTERM"), monkeypatch, 0)
    with pytest.raises(EnvironmentFailure, match=r"rank 1 of 2 was ended by signal 11 \(SIGSEGV\)"):
        judge({0: outcome}, {1: -signal.SIGSEGV})
    with pytest.raises(EnvironmentFailure, match="SIGKILL when memory is short"):
        judge({1: LOST}, {0: -signal.SIGKILL})
    with pytest.raises(EnvironmentFailure, match="rank 1 of 2 ended with status 7 and left no"):
        judge({0: LOST}, {1: 7})


def test_processes_that_cannot_be_started_are_the_environments_fault() -> None:
    with pytest.raises(EnvironmentFailure, match="2 processes of --nproc cannot be started: no po"):
        judge({}, failure=OSError("no port"))
    with pytest.raises(EnvironmentFailure, match="rank 0 left no word"):
        judge({})


def test_only_an_error_that_others_do_not_have_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the agent would end rank 0 while it writes down that the run was stopped."""
    for error in (StoppedError("a"), DivergedError("a"), ConfigError("a")):
        assert not failed(error, monkeypatch, 1)["must_end_others"]
    for error in (EnvironmentFailure("a"), RankLostError("a"), ValueError("a")):
        assert failed(error, monkeypatch, 1)["must_end_others"]
    assert not failed(StoppedError("a"), monkeypatch, 0)["must_end_others"]
    assert failed(ConfigError("a"), monkeypatch, 0)["must_end_others"]


def test_more_ranks_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(launch, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    analysis = launch.load_analysis(Path(__file__).parents[3] / "analyses" / "w_tagging")
    request = Request("w_tagging", nproc=4)
    with pytest.raises(ConfigError, match="--nproc 4: this host has 1 GPUs"):
        launch.check_ranks(analysis, request)


def test_notes_on_the_desk_come_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    request = Request(Path("a"), overrides={"train.epochs": 3}, nproc=2, output=Path("b"))
    desk.ask(request)
    assert desk.request() == Request("a", overrides={"train.epochs": 3}, nproc=2, output="b")
    desk.sign_in(1, 17)
    desk.sign_out(1, {"kind": "done"})
    assert desk.pids() == {1: 17}
    assert desk.outcomes() == {1: {"kind": "done"}}


@pytest.mark.parametrize(
    ("nproc", "last_stage", "n_ranks"),
    [(None, None, 1), (1, None, 1), (3, None, 3), (3, "fit", 3), (3, "simulate", 1)],
)
def test_only_what_trains_has_ranks(
    nproc: int | None, last_stage: str | None, n_ranks: int
) -> None:
    assert Request("a", nproc=nproc, last_stage=last_stage).n_ranks == n_ranks


def test_followers_are_called_told_and_not_called_in_the_middle_of_a_failed_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[object] = []
    monkeypatch.setattr(Ranks, "broadcast", lambda self, value: said.append(value))
    followers = Followers(Ranks(0, 2))
    with followers.join({"task": "a"}):
        pass
    followers.dismiss()
    followers.dismiss()
    assert said == [{"task": "a"}, None]
    said.clear()
    followers = Followers(Ranks(0, 2))
    with pytest.raises(StoppedError, match="stopped"), followers.join({"task": "a"}):
        raise StoppedError("stopped")
    followers.dismiss()
    assert said == [{"task": "a"}]
    alone = Followers()
    with alone.join({"task": "a"}):
        alone.dismiss()
    assert said == [{"task": "a"}]


def test_ranks_of_a_host_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    found: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    with shared_threads():
        pass
    # OMP_NUM_THREADS is set in tests: what the user has set is that of a process.
    assert found == [8]
    found.clear()
    monkeypatch.delenv("OMP_NUM_THREADS")
    with shared_threads():
        pass
    assert found == [2, 8]
