"""``hepdl run --nproc 2``: signals, exit statuses, a resume, and ranks that die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import hepdl
from hepdl.errors import ConfigError

ANALYSIS = Path(__file__).parents[2] / "analyses" / "w_tagging"
TIMINGS = {"fit_seconds", "events_per_second"}
# Long enough to be interrupted between its first checkpoint and its end.
EPOCHS = 80
OVERRIDES: dict[str, Any] = {
    "simulate.n_events": 400,
    "simulate.options": {},
    "processes.w.simulate": {"generator": "synthetic"},
    "processes.qcd.simulate": {"generator": "synthetic"},
    "train.epochs": EPOCHS,
    "train.deterministic": True,
    "models.recnn": None,
    "models.recnn_gated": None,
    # Dropout shows whether both ranks go on with their own random numbers.
    "models.mlp.options": {
        "features": ["jet_pt", "jet_mass", "tau21"],
        "hidden": [16, 16],
        "batch_norm": False,
        "dropout": 0.2,
    },
    "models.boosted_trees.options.n_rounds": 5,
    "evaluate.bootstrap_replicas": 20,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A fit of two ranks that nobody disturbs."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    done = subprocess.run(
        command("fit", output, data), capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return output


def command(stage: str, output: Path, data: Path, *more: str, nproc: int = 2) -> list[str]:
    arguments = [sys.executable, "-m", "hepdl", stage, str(ANALYSIS), "--output", str(output)]
    arguments += ["--data-dir", str(data), "--tracking-uri", "none", "--nproc", str(nproc)]
    for key, value in OVERRIDES.items():
        arguments += ["--set", f"{key}={json.dumps(value)}"]
    return [*arguments, *more]


@contextmanager
def in_the_fit(stage: str, output: Path, data: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a command, and give it when its first checkpoint is written."""
    process = subprocess.Popen(
        command(stage, output, data), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 300
        while not (output / "checkpoints" / "mlp" / "0" / "last.pt").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the fit never began"
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.wait()


def ranks_of(launcher: int) -> list[int]:
    """Return the processes of the ranks, in their order."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ranks = [v for v in variables if v.startswith(b"RANK=")]
        if parent == launcher and ranks:
            found[int(ranks[0][5:])] = int(folder.name)
    return [found[rank] for rank in sorted(found)]


def parameters(output: Path) -> dict[str, torch.Tensor]:
    state = torch.load(output / "models" / "mlp" / "parameters.pt", weights_only=True)
    assert isinstance(state, dict)
    return state


def assert_same_fit(first: Path, second: Path) -> None:
    ours, theirs = parameters(first), parameters(second)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for name in ("mlp", "boosted_trees"):
        cards = [
            json.loads((output / "models" / name / "model.json").read_text())
            for output in (first, second)
        ]
        kept = [{k: v for k, v in card.items() if k not in TIMINGS} for card in cards]
        assert kept[0] == kept[1]


def test_sigusr1_stops_both_ranks_with_status_85_and_a_resume_loses_nothing(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    with in_the_fit("fit", output, data) as process:
        process.send_signal(signal.SIGUSR1)
        printed, message = process.communicate(timeout=300)
    assert process.returncode == 85, message
    assert printed == ""
    assert message.count("stopped by SIGUSR1 in epoch") == 1
    assert "run again with --resume" in message
    assert "Traceback" not in message
    again = subprocess.run(
        command("fit", output, data, "--resume"), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert "resumed at epoch" in again.stderr
    assert_same_fit(output, whole)
    card = json.loads((whole / "models" / "mlp" / "model.json").read_text())
    assert card["n_ranks"] == 2
    card = json.loads((whole / "models" / "boosted_trees" / "model.json").read_text())
    assert card["n_ranks"] == 1


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_rank_that_is_killed_ends_the_run_and_is_named(
    data: Path, tmp_path: Path, rank: int
) -> None:
    output = tmp_path / "run"
    with in_the_fit("fit", output, data) as process:
        pids = ranks_of(process.pid)
        assert len(pids) == 2
        os.kill(pids[rank], signal.SIGKILL)
        _, message = process.communicate(timeout=300)
    assert process.returncode == 3, message
    assert f"rank {rank} of 2 was ended by signal 9 (SIGKILL); the other ranks" in message
    assert "run again with --resume" in message
    assert "Traceback" not in message
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert (output / "checkpoints" / "mlp" / "0" / "last.pt").exists()
    if rank == 1:
        # With another number of processes it would be another fit.
        other = subprocess.run(
            command("fit", output, data, "--resume", nproc=1),
            capture_output=True,
            text=True,
            check=False,
        )
        assert other.returncode == 2
        assert "number of ranks: the checkpoint has 2, now it is 1" in other.stderr


def test_what_can_be_known_before_any_rank_is_started_is_said_once(
    data: Path, tmp_path: Path
) -> None:
    early = subprocess.run(
        command("fit", tmp_path / "run", data, "--set", "train.minibatch_size=3"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert early.returncode == 2
    assert early.stderr == (
        "models.mlp.train.minibatch_size: 3 events are too few for --nproc 2: every process needs "
        "two events of each minibatch; use 4 or more, or fewer processes\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_rank_0_finds_wrong_while_the_others_wait_is_said_once(
    whole: Path, data: Path
) -> None:
    late = subprocess.run(command("run", whole, data), capture_output=True, text=True, check=False)
    assert late.returncode == 2
    assert late.stderr.count("is not empty: add --resume to continue that run") == 1
    assert "Traceback" not in late.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_is_stopped_and_resumed_to_the_numbers_of_the_undisturbed_one(
    whole: Path, data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "run"
    with in_the_fit("run", output, data) as process:
        pids = ranks_of(process.pid)
        process.send_signal(number)
        _, message = process.communicate(timeout=300)
    expected = {signal.SIGTERM: 85, signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}
    assert process.returncode == expected[number], message
    assert "Traceback" not in message
    # The ranks of a launcher that was killed see it, and let the folder go.
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "a rank outlived its launcher"
        time.sleep(0.05)
    again = subprocess.run(
        command("run", output, data, "--resume"), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert_same_fit(output, whole)
    assert (output / "report.html").is_file()
    assert "AUC" in again.stdout


@pytest.mark.slow
def test_python_starts_ranks_as_the_command_line_does(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"set": OVERRIDES, "data_dir": data, "tracking_uri": "none"}
    done = hepdl.run(ANALYSIS, output=tmp_path / "a", nproc=2, last_stage="fit", **options)
    assert done.folder == tmp_path / "a"
    assert_same_fit(done.folder, whole)
    with pytest.raises(ConfigError, match="is not empty: add --resume"):
        hepdl.run(ANALYSIS, output=tmp_path / "a", nproc=2, **options)
