"""What every stage of a run is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hepdl.pipeline.folders import RunFolder
from hepdl.pipeline.load import Analysis
from hepdl.pipeline.processes.followers import Followers
from hepdl.track import Recorder
from hepdl.train.state.ranks import Ranks
from hepdl.train.state.signals import StopRequest

__all__ = ["Outcome", "Stage", "Work"]


@dataclass(frozen=True)
class Work:
    """One run in progress.

    Attributes:
        analysis: The checked analysis.
        folder: The output folder.
        data: Where simulated and prepared data live.
        device: Where networks train.
        recorder: The record of the run.
        stop: Whether SIGTERM or SIGUSR1 has arrived.
        resume: Whether trainings continue from their checkpoints.
        skip_bad_files: Whether unreadable files are left out and named.
        n_processes: Processes that simulate; None for all cores.
        followers: The other processes of this training, if there are any.
        cache: What one stage has in memory and the next one can use.
    """

    analysis: Analysis
    folder: RunFolder
    data: Path
    device: torch.device
    recorder: Recorder
    stop: StopRequest
    resume: bool = False
    skip_bad_files: bool = False
    n_processes: int | None = None
    followers: Followers = field(default_factory=Followers)
    cache: dict[str, Any] = field(default_factory=dict)

    @property
    def ranks(self) -> Ranks:
        """The processes that train each network together, this one among them."""
        return self.followers.ranks


@dataclass(frozen=True)
class Outcome:
    """What a stage leaves behind.

    Attributes:
        outputs: Files below the output folder; their checksums go into the marker.
        notes: What later stages need to know, JSON-able; goes into the marker.
    """

    outputs: list[Path] = field(default_factory=list)
    notes: Mapping[str, Any] = field(default_factory=dict)


Stage = Callable[[Work], Outcome]
