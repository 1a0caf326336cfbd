"""Where and with what a run was made: versions, git state, machine."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

__all__ = ["describe_environment", "git_state"]

_PACKAGES = (
    "hepdl",
    "awkward",
    "fastjet",
    "mlflow",
    "numba",
    "numpy",
    "pythia8mc",
    "scikit-learn",
    "scipy",
    "torch",
    "torch-geometric",
    "uproot",
    "xgboost",
)


def git_state(folder: Path) -> dict[str, Any]:
    """Return commit and cleanliness of the git repository around ``folder``; empty if none."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "clean": git("status", "--porcelain") == ""}
    except (OSError, subprocess.SubprocessError):
        return {}


def describe_environment(*, analysis: Path, device: str, seeds: tuple[int, ...]) -> dict[str, Any]:
    """Return what ``environment.json`` holds.

    Args:
        analysis: The folder of the analysis, whose git state is recorded beside hepdl's own.
        device: The device that trains.
        seeds: The global training seeds.
    """
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "git": {"hepdl": git_state(Path(__file__).parent), "analysis": git_state(analysis)},
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else platform.processor(),
        "threads": torch.get_num_threads(),
        "seeds": list(seeds),
        "command": sys.argv,
    }
