"""A run that was killed and resumed ends in the parameters of the run that was not, bit for bit."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("kill_and_resume_script.py")
spec = importlib.util.spec_from_file_location("kill_and_resume_script", SCRIPT)
assert spec is not None
assert spec.loader is not None
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
# In the third epoch: two checkpoints are there, and half an epoch is in progress.
MID_EPOCH = 2 * script.STEPS_PER_EPOCH + script.STEPS_PER_EPOCH // 2


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 100
    while not file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the process never came to the step"
        time.sleep(0.02)


def interrupted(folder: Path, case: str, number: int, step: int) -> tuple[str, int, str]:
    """Return what the resumed run prints, and status and message of the interrupted one."""
    process = start(folder, case, str(step))
    wait_for(folder / "ready", process)
    process.send_signal(number)
    _, message = process.communicate(timeout=100)
    again = start(folder, case)
    printed, errors = again.communicate(timeout=100)
    assert again.returncode == 0, errors
    return printed, process.returncode, message


def uninterrupted(folder: Path, case: str) -> str:
    return script.run(folder / "whole", case, resume=False)


@pytest.mark.parametrize("case", ["everything", "all_that_go_together"])
def test_sigkill_in_the_middle_of_an_epoch_loses_nothing_but_that_epoch(
    tmp_path: Path, case: str
) -> None:
    printed, status, _ = interrupted(tmp_path, case, signal.SIGKILL, MID_EPOCH)
    assert status == -signal.SIGKILL
    assert printed == uninterrupted(tmp_path, case)


def test_boosted_trees_killed_between_two_checkpoints_end_in_the_same_trees(
    tmp_path: Path,
) -> None:
    printed, status, _ = interrupted(tmp_path, "boosted_sampled", signal.SIGKILL, 60)
    assert status == -signal.SIGKILL
    assert printed == uninterrupted(tmp_path, "boosted_sampled")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("case", sorted(script.TREES))
@pytest.mark.parametrize("round_", [0, 30])
def test_boosted_trees_survive_every_signal(
    tmp_path: Path, case: str, number: signal.Signals, round_: int
) -> None:
    printed, status, message = interrupted(tmp_path, case, number, round_)
    if number != signal.SIGKILL:
        assert status == 85
        assert f"stopped by {number.name} after round {round_}" in message
    assert printed == uninterrupted(tmp_path, case)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("case", sorted(script.CASES))
def test_every_option_survives_every_signal(
    tmp_path: Path, case: str, number: signal.Signals
) -> None:
    printed, status, message = interrupted(tmp_path, case, number, MID_EPOCH)
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL
    else:
        assert status == 85
        assert f"stopped by {number.name} in epoch 2, step {MID_EPOCH}" in message
        assert "--resume" in message
    assert printed == uninterrupted(tmp_path, case)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, script.STEPS_PER_EPOCH, 4 * script.STEPS_PER_EPOCH])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_first_and_the_last_step_of_an_epoch_are_no_exception(
    tmp_path: Path, step: int, number: signal.Signals
) -> None:
    printed, _, _ = interrupted(tmp_path, "everything", number, step)
    assert printed == uninterrupted(tmp_path, "everything")


def test_a_checkpoint_holds_nothing_but_data(tmp_path: Path) -> None:
    uninterrupted(tmp_path, "plain")
    file = tmp_path / "whole" / "checkpoints" / "last.pt"
    state = torch.load(file, weights_only=True)["state"]
    assert state["progress"]["epoch"] == script.EPOCHS
    assert [path.name for path in file.parent.iterdir()] == ["last.pt"]
