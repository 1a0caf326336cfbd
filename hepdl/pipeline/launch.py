"""``hepdl run --nproc N``: this process becomes torchrun's agent and starts N ranks.

torchrun alone turns every exit status of a rank into 1, and dies of SIGUSR1. Here signals go to the
ranks, and what rank 0 ended with is what the command ends with.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from hepdl import errors
from hepdl.errors import ConfigError, EnvironmentFailure, HepdlError
from hepdl.pipeline import parts
from hepdl.pipeline.load import Analysis, load_analysis
from hepdl.pipeline.processes.desk import Desk
from hepdl.pipeline.request import Request
from hepdl.train import choose_device

__all__ = ["check_ranks", "judge", "launch"]

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 0.05
_PASSED_ON = (signal.SIGTERM, signal.SIGUSR1)


def launch(request: Request) -> dict[str, Any]:
    """Do what is asked with several ranks; the same errors are raised as with one.

    Args:
        request: With ``nproc`` of at least 2.

    Returns:
        ``folder`` of the run and where its ``record`` went.

    Raises:
        HepdlError: What rank 0 ended with, or a rank died.
    """
    check_ranks(load_analysis(request.analysis, request.overrides), request)
    with tempfile.TemporaryDirectory(prefix="hepdl-ranks-") as folder:
        desk = Desk(Path(folder))
        desk.ask(request)
        agent = _Agent(desk, request.n_ranks)
        with _variables_of_ranks(), _Signals() as signals:
            agent.start()
            while agent.is_alive():
                agent.join(_SECONDS_BETWEEN_LOOKS)
                signals.pass_on(desk.pids())
        return judge(desk.outcomes(), agent.deaths, agent.failure, n_ranks=request.n_ranks)


def check_ranks(analysis: Analysis, request: Request) -> None:
    """Refuse what several ranks cannot do, before any of them is started.

    Raises:
        ConfigError: Names every key that does not go with this many ranks.
    """
    n_ranks, config = request.n_ranks, analysis.config
    problems = [
        f"models.{name}.train.minibatch_size: {settings.minibatch_size} events are too few for "
        f"--nproc {n_ranks}: every process needs two events of each minibatch; use "
        f"{2 * n_ranks} or more, or fewer processes"
        for name in config.models
        if _is_network(config.models[name].model, where=f"models.{name}.model")
        and (settings := config.train_of(name)).minibatch_size < 2 * n_ranks
    ]
    if choose_device(request.device).type == "cuda" and torch.cuda.device_count() < n_ranks:
        n_gpus = torch.cuda.device_count()
        problems.append(
            f"--nproc {n_ranks}: this host has {n_gpus} GPUs and every process needs one of its "
            f"own; use --nproc {n_gpus}, or --device cpu"
        )
    if problems:
        raise ConfigError("\n".join(problems))


def _is_network(model: str, *, where: str) -> bool:
    part = parts.part("models", model, where=where)
    return isinstance(part, type) and issubclass(part, torch.nn.Module)


@contextmanager
def _variables_of_ranks() -> Iterator[None]:
    """Set what the ranks inherit, and put the environment of this process back."""
    before = dict(os.environ)
    # The ranks are on this host, whatever its name resolves to.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    try:
        yield
    finally:
        for key in set(os.environ) - set(before):
            del os.environ[key]
        os.environ.update(before)


class _Agent(threading.Thread):
    """torchrun's agent. Beside the main thread it leaves signal handlers alone.

    Args:
        desk: Where the ranks read what to do.
        n_ranks: How many there are.
    """

    def __init__(self, desk: Desk, n_ranks: int) -> None:
        super().__init__(name="torchrun agent", daemon=True)
        self._desk = desk
        self._n_ranks = n_ranks
        self.deaths: dict[int, int] = {}
        self.failure: Exception | None = None

    def run(self) -> None:
        """Start the ranks and wait for them; if one fails, end the others."""
        logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=self._n_ranks,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            monitor_interval=_SECONDS_BETWEEN_LOOKS,
        )
        program = ["-m", "hepdl.pipeline.processes.rank", str(self._desk.path)]
        try:
            elastic_launch(config, sys.executable)(*program)
        except ChildFailedError as error:
            self.deaths = {rank: found.exitcode for rank, found in error.failures.items()}
        except Exception as error:  # noqa: BLE001 raised again by the main thread
            self.failure = error


class _Signals:
    """Remembers signals until there are ranks that can hear them; gives the handlers back."""

    def __init__(self) -> None:
        self._waiting: list[signal.Signals] = []
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (*_PASSED_ON, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and signal.SIGINT in self._waiting:
            # Nobody was there to hear the first Ctrl-C.
            raise KeyboardInterrupt
        self._waiting.append(signal.Signals(number))

    def pass_on(self, pids: Mapping[int, int]) -> None:
        """Send what was heard to every rank, once all of them are there; Ctrl-C to the first."""
        if 0 not in pids:
            return
        while self._waiting:
            number = self._waiting.pop(0)
            # The others cannot be interrupted while they wait; they leave when rank 0 is gone.
            for rank, pid in pids.items():
                if number != signal.SIGINT or rank == 0:
                    _send(pid, number)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        log.debug("process %d ended before %s could reach it", pid, number.name)


def judge(
    outcomes: Mapping[int, Mapping[str, Any]],
    deaths: Mapping[int, int],
    failure: Exception | None,
    *,
    n_ranks: int,
) -> dict[str, Any]:
    """Return what rank 0 returned, or raise what brought the ranks down.

    Args:
        outcomes: What the ranks that could still say so ended with.
        deaths: Exit code of each rank with which torchrun's agent was not content.
        failure: Why no rank could be started.
        n_ranks: How many there were.

    Raises:
        HepdlError: What rank 0 ended with; else what another rank ended with, by its number.
        EnvironmentFailure: A rank died, or none could be started.
        RuntimeError: Our own bug in a rank, with its traceback.
    """
    first = outcomes.get(0, {"kind": "lost", "message": "rank 0 left no word"})
    if first["kind"] == "done":
        return {"folder": first["folder"], "record": first["record"]}
    dead = {rank: status for rank, status in deaths.items() if rank not in outcomes}
    if dead:
        raise EnvironmentFailure(_obituary(dead, n_ranks))
    if failure is not None:
        message = f"the {n_ranks} processes of --nproc cannot be started: {failure}"
        raise EnvironmentFailure(message) from failure
    if first["kind"] == "failed":
        _raise(first)
    for rank, outcome in outcomes.items():
        if outcome["kind"] == "failed":
            _raise({**outcome, "message": f"rank {rank} of {n_ranks}: {outcome['message']}"})
    for rank, outcome in outcomes.items():
        if outcome["kind"] == "bug":
            message = f"rank {rank} of {n_ranks} failed:\n{outcome['message']}"
            raise RuntimeError(message)
    raise EnvironmentFailure(str(first["message"]))


def _obituary(dead: Mapping[int, int], n_ranks: int) -> str:
    how = []
    for rank, status in sorted(dead.items()):
        if status < 0:
            number = -status
            known = number in {one.value for one in signal.Signals}
            name = signal.Signals(number).name if known else "unknown"
            how.append(f"rank {rank} of {n_ranks} was ended by signal {number} ({name})")
        else:
            how.append(f"rank {rank} of {n_ranks} ended with status {status} and left no word")
    message = "; ".join(how) + "; the other ranks were stopped. "
    if -signal.SIGKILL in dead.values():
        message += "The system sends SIGKILL when memory is short: every rank holds all events. "
    return message + "The last checkpoint is kept: run again with --resume"


def _raise(outcome: Mapping[str, Any]) -> NoReturn:
    """Raise the error of a rank again."""
    message = str(outcome["message"])
    if outcome["error"] == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if outcome["error"] == "OSError":
        raise OSError(outcome["errno"], message, outcome["filename"])
    kind: type[HepdlError] = getattr(errors, str(outcome["error"]), HepdlError)
    raise kind(message)
