"""Several ranks fit the network that one fits: the same minibatches, the same gradients."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hepdl.errors import ConfigError, DivergedError
from hepdl.train.state.ranks import Ranks

SCRIPT = Path(__file__).with_name("ranks_fit_script.py")
spec = importlib.util.spec_from_file_location("ranks_fit_script", SCRIPT)
assert spec is not None
assert spec.loader is not None
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

Start = Callable[..., list[subprocess.Popen[str]]]
# Without batch norm and dropout.
EXACT = [case for case in script.CASES if case not in ("everything", "batch_norm", "diverging")]
# In the second epoch: a checkpoint is there, and half an epoch is in progress.
MID_EPOCH = script.STEPS_PER_EPOCH + script.STEPS_PER_EPOCH // 2


def fitted(start_ranks: Start, size: int, *cases: str, how: str = "fit") -> dict[str, Any]:
    processes = start_ranks(SCRIPT, size, how, *cases)
    outputs = [process.communicate(timeout=400) for process in processes]
    assert [process.returncode for process in processes] == [0] * size, outputs
    found: dict[str, Any] = json.loads(outputs[0][0])
    return found


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_ranks_end_in_the_network_of_one_process(start_ranks: Start, size: int) -> None:
    found = fitted(start_ranks, size, *EXACT)
    for case in EXACT:
        alone = script.summary(script.run(case, Ranks.alone()))
        # Rounding of sums in another order, through 48 steps of 1e-3: a hundred times less is seen.
        tolerance = 5e-6 if case in script.SINGLE else 5e-15
        np.testing.assert_allclose(
            found[case]["parameters"], alone["parameters"], rtol=0, atol=tolerance, err_msg=case
        )
        assert len(found[case]["history"]) == script.EPOCHS
        for there, here in zip(found[case]["history"], alone["history"], strict=True):
            assert set(there) == set(here)
            for key, value in here.items():
                # In single precision two events may come within rounding, and swap in the AUC.
                atol = 2e-4 if case in script.SINGLE else 1e-13
                np.testing.assert_allclose(there[key], value, rtol=0, atol=atol, err_msg=key)
        assert found[case]["best_epoch"] == alone["best_epoch"]


def test_the_cases_are_different_fits() -> None:
    """Else the agreement above would be that of one case with itself."""
    digests = {case: script.run(case, Ranks.alone())["sha256"] for case in EXACT}
    assert len(set(digests.values())) == len(EXACT)


def test_a_value_that_is_not_finite_in_one_rank_s_share_stops_all_and_is_named(
    start_ranks: Start,
) -> None:
    processes = start_ranks(SCRIPT, 2, "fit", "diverging")
    messages = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [4, 4], messages
    assert messages[0] == messages[1]
    assert "not finite: b = nan (event number 5)" in messages[0]
    with pytest.raises(DivergedError, match=r"b = nan \(event number 5\)") as alone:
        script.run("diverging", Ranks.alone())
    step = re.compile(r"diverged in epoch 0, step \d+")
    assert step.findall(str(alone.value)) == step.findall(messages[0])


def interrupted(
    start_ranks: Start, folder: Path, case: str, number: int, *, rank: int
) -> list[tuple[int, str]]:
    """Send a signal to one rank in the middle of an epoch; return status and message of each."""
    folder.mkdir()
    processes = start_ranks(SCRIPT, 2, "stop", case, folder, MID_EPOCH)
    try:
        for other in range(2):
            wait_for(folder / f"ready-{other}", processes)
        processes[rank].send_signal(number)
        if number != signal.SIGKILL:
            # The other rank has heard nothing and goes on.
            time.sleep(0.05)
        (folder / "go-on").touch()
        outputs = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, out[1]) for process, out in zip(processes, outputs, strict=True)]


def wait_for(file: Path, processes: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + 300
    while not file.exists():
        assert all(process.poll() is None for process in processes), processes[0].communicate()
        assert time.monotonic() < deadline, "the ranks never came to the step"
        time.sleep(0.02)


def ended(start_ranks: Start, folder: Path, case: str) -> dict[str, Any]:
    """Resume, or start, and return what the ranks end in."""
    folder.mkdir(exist_ok=True)
    processes = start_ranks(SCRIPT, 2, "stop", case, folder)
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    found: dict[str, Any] = json.loads(outputs[0][0])
    return found


def test_a_stop_asked_of_one_rank_stops_all_at_the_same_step_and_loses_nothing(
    start_ranks: Start, tmp_path: Path
) -> None:
    """Dropout draws on each rank: both random states are in the checkpoint, or this fails."""
    whole = ended(start_ranks, tmp_path / "whole", "everything")
    stopped = interrupted(start_ranks, tmp_path / "cut", "everything", signal.SIGUSR1, rank=1)
    assert [status for status, _ in stopped] == [85, 85]
    steps = {re.search(r"in epoch 1, step (\d+)", message) for _, message in stopped}
    assert {found and found[1] for found in steps} == {str(MID_EPOCH + 1)}
    state = torch.load(tmp_path / "cut" / "checkpoints" / "last.pt", weights_only=True)
    assert state["state"]["progress"]["step"] == MID_EPOCH + 1
    random = [each["cpu"] for each in state["random"]]
    assert len(random) == 2
    assert not torch.equal(random[0], random[1])

    with pytest.raises(ConfigError, match="number of ranks: the checkpoint has 2, now it is 1"):
        script.stop("everything", tmp_path / "cut", None, Ranks.alone())
    assert ended(start_ranks, tmp_path / "cut", "everything") == whole


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("case", ["everything", "stream", "penalty"])
def test_every_signal_to_every_rank_costs_time_only(
    start_ranks: Start, tmp_path: Path, case: str, rank: int, number: signal.Signals
) -> None:
    whole = ended(start_ranks, tmp_path / "whole", case)
    stopped = interrupted(start_ranks, tmp_path / "cut", case, number, rank=rank)
    if number == signal.SIGKILL:
        assert stopped[rank][0] == -signal.SIGKILL
        assert stopped[1 - rank][0] == 3
        assert "lost another rank" in stopped[1 - rank][1]
    else:
        assert [status for status, _ in stopped] == [85, 85]
    assert ended(start_ranks, tmp_path / "cut", case) == whole


@pytest.mark.slow
def test_batch_norm_over_ranks_agrees_within_the_spread_between_seeds(start_ranks: Start) -> None:
    """Each rank normalises with its own half: other numbers, the same quality."""
    seeds = range(6)
    alone = [script.run("batch_norm", Ranks.alone(), seed=seed) for seed in seeds]
    together = fitted(start_ranks, 2, *(f"batch_norm:{seed}" for seed in seeds))
    one = np.array([found["history"][-1]["validation_auc"] for found in alone])
    two = np.array([found["history"][-1]["validation_auc"] for found in together.values()])
    assert not np.array_equal(one, two)
    error = np.sqrt((one.var(ddof=1) + two.var(ddof=1)) / len(seeds))
    # Student's t with ten degrees of freedom: 5 corresponds to a chance of 5e-4.
    assert abs(one.mean() - two.mean()) < 5 * error


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="each rank needs a GPU of its own")
@pytest.mark.parametrize("case", ["plain", "rest", "penalty", "batch_norm"])
def test_two_gpus_end_in_the_network_of_one_batch_norm_included(
    start_ranks: Start, case: str
) -> None:
    found = fitted(start_ranks, 2, case, how="fit-cuda")[case]
    alone = script.summary(script.run(case, Ranks.alone(), device="cuda"))
    # As on the CPU; batch norm's moments are combined in single precision.
    tolerance = 5e-6 if case in (*script.SINGLE, "batch_norm") else 5e-15
    np.testing.assert_allclose(found["parameters"], alone["parameters"], rtol=0, atol=tolerance)
