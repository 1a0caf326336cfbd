"""The main program of one rank: ``python -m hepdl.pipeline.processes.rank FOLDER``.

Started by torchrun's agent in `hepdl.pipeline.launch`, which reads from the folder what became of it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hepdl.errors import ConfigError, DataError, DivergedError, HepdlError, RankLostError
from hepdl.pipeline import logs
from hepdl.pipeline.processes.desk import Desk
from hepdl.pipeline.request import Request
from hepdl.train import StopRequest
from hepdl.train.state.ranks import Ranks

__all__ = ["describe_error", "main"]

_SECONDS_BETWEEN_LOOKS = 0.5


def main(folder: Path) -> int:
    """Be one rank of a run; return the status that torchrun's agent is to see.

    0 leaves the others in peace, 1 makes the agent end them. What the rank really ended with is
    left on the desk.
    """
    _die_with_the_launcher()
    desk, rank = Desk(folder), int(os.environ["RANK"])
    with StopRequest() as stop:
        desk.sign_in(rank, os.getpid())
        outcome = _work(desk.request(), stop)
        desk.sign_out(rank, outcome)
    return int(bool(outcome.pop("must_end_others", False)))


def _work(request: Request, stop: StopRequest) -> dict[str, Any]:
    """Return how the work of this rank ended."""
    try:
        ranks = Ranks.from_environment()
        # Each kind of rank loads what it needs: figures and tables are rank 0's.
        if ranks.is_first:
            from hepdl.pipeline.run import run_here

            with ExitStack() as stack:
                if request.log_to_terminal:
                    stack.enter_context(logs.to_terminal())
                done = run_here(request, stop=stop, ranks=ranks)
            found: dict[str, Any] = {"folder": str(done.folder), "record": done.record}
        else:
            from hepdl.pipeline.processes.follow import follow

            _be_quiet()
            follow(request, ranks, stop)
            found = {}
        ranks.leave()
    except BaseException as error:  # noqa: BLE001 the launcher raises it again, or words it
        return describe_error(error)
    return {"kind": "done", **found}


def describe_error(error: BaseException) -> dict[str, Any]:
    """Put an error into words that the launcher can raise again."""
    values = {
        "kind": "failed",
        "error": type(error).__name__,
        "message": str(error),
        "must_end_others": True,
    }
    if isinstance(error, RankLostError):
        return {**values, "kind": "lost"}
    if isinstance(error, HepdlError):
        # The others fail with the same error, by themselves, at the same place.
        agreed = isinstance(error, ConfigError | DataError | DivergedError)
        stopped = error.exit_status == 85
        is_first = os.environ["RANK"] == "0"
        return {**values, "must_end_others": not (stopped or (agreed and not is_first))}
    if isinstance(error, OSError):
        where = None if error.filename is None else str(error.filename)
        return {**values, "error": "OSError", "errno": error.errno, "filename": where} | {
            "message": error.strerror or str(error)
        }
    if isinstance(error, KeyboardInterrupt):
        return values
    return {**values, "kind": "bug", "message": "".join(traceback.format_exception(error))}


def _be_quiet() -> None:
    """Leave warnings and log to rank 0, which has the same ones."""
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())


def _die_with_the_launcher() -> None:
    """End this rank and what it started, if the launcher was killed and can pass on nothing."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="launcher watch", daemon=True).start()


if __name__ == "__main__":
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # An orderly exit would wait for connections to ranks that are gone.
    os._exit(status)
