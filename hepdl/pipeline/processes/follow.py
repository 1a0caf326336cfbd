"""What every rank but the first does: wait for a call, help with a fit, wait again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hepdl.pipeline.fitting import FitTask, fit_task
from hepdl.pipeline.folders import RunFolder
from hepdl.pipeline.load import load_analysis
from hepdl.pipeline.processes.followers import Followers, shared_threads
from hepdl.pipeline.request import Request
from hepdl.pipeline.stages.prepare import load_dataset
from hepdl.pipeline.work import Work
from hepdl.track import Recorder
from hepdl.train import StopRequest, choose_device
from hepdl.train.state.ranks import Ranks

__all__ = ["follow"]


class _NoRecord(Recorder):
    """Forgets everything: the record of a run is rank 0's."""

    def __init__(self) -> None:
        self.uri = None

    def _add(self, line: Mapping[str, Any]) -> None:
        return


def follow(request: Request, ranks: Ranks, stop: StopRequest) -> None:
    """Join every fit that rank 0 calls to, until it says that there are no more.

    Args:
        request: The same as rank 0's.
        ranks: All of them; this one is not the first.
        stop: Whether this process was asked to stop.

    Raises:
        HepdlError: As rank 0's fit, or rank 0 is gone.
    """
    work: Work | None = None
    while (call := ranks.broadcast(None)) is not None:
        if work is None:
            work = Work(
                analysis=load_analysis(request.analysis, request.overrides),
                folder=RunFolder(Path(call["folder"]), Path(call["root"])),
                data=Path(call["data"]),
                device=ranks.device(choose_device(request.device)),
                recorder=_NoRecord(),
                stop=stop,
                resume=bool(call["resume"]),
                followers=Followers(ranks),
            )
        with shared_threads():
            fit_task(work, load_dataset(work), FitTask(*call["task"]))
