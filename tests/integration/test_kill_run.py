"""A run that is killed again and again, at any moment, ends in the numbers of the undisturbed one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hepdl.pipeline.run import Run

ANALYSIS = Path(__file__).parents[2] / "analyses" / "w_tagging"
# What a training takes is no number of the physics.
TIMINGS = {"fit_seconds", "events_per_second"}


def without_timings(models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {n: {k: v for k, v in entry.items() if k not in TIMINGS} for n, entry in models.items()}


@pytest.mark.slow
def test_sigkill_at_any_moment_costs_time_and_nothing_else(
    small_run: Run, small_overrides: dict[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "hepdl", "run", str(ANALYSIS), "--output", str(output), "--resume"),
        *("--data-dir", str(tmp_path / "data"), "--tracking-uri", "none"),
    ]
    for key, value in small_overrides.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    n_killed = 0
    # Starting takes some seconds, so the moments of death wander through all stages.
    for seconds in (4, 6, 7, 8, 9, 11, 13, 16, 20, 25, 32):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            _, text = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            n_killed += 1
            continue
        assert process.returncode == 0, text
        break
    else:
        subprocess.run(command, env=environment, check=True, capture_output=True)
    assert n_killed >= 2
    found = json.loads((output / "metrics.json").read_text())
    assert without_timings(found["models"]) == without_timings(small_run.metrics["models"])
    assert found["data"] == small_run.metrics["data"]
