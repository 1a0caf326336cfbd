"""Chunks made by several processes.

Workers are started afresh (``spawn``), so they inherit no threads and no half-used engine; they
leave Ctrl-C to the parent, stop within a batch of events when it says so, and end with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import Any, NoReturn, Protocol, TypeVar

from hepdl.errors import ConfigError, EnvironmentFailure
from hepdl.simulate.showering.engines import load_fastjet, load_pythia
from hepdl.simulate.showering.requests import ChunkRequest

__all__ = ["MakeChunk", "make_chunks", "start_engines"]

Progress = Callable[[int], None]
Made_co = TypeVar("Made_co", covariant=True)
Request = ChunkRequest[Any]


class MakeChunk(Protocol[Made_co]):
    """A function of a module, so that it can be named to another process."""

    def __call__(self, request: Request, on_entries: Progress | None = None, /) -> Made_co:
        """Return what a chunk holds; what ``on_entries`` raises ends it."""


# Seconds between two looks at the counter of finished entries.
POLL = 0.2

# Set once in each worker process by `_start_worker`.
_shared: tuple[Synchronized[int], Event] | None = None


class _StoppedWorker(Exception):
    """The parent has no more use for the chunk that this worker is making."""


def start_engines(n_processes: int, *, generator: str) -> None:
    """Say what is missing before workers are started.

    Raises:
        ConfigError: ``n_processes`` is below 1.
        MissingExtraError: Pythia or FastJet is not installed.
    """
    if n_processes < 1:
        message = f"{generator}: n_processes = {n_processes} must be >= 1"
        raise ConfigError(message)
    load_pythia()
    load_fastjet()


def make_chunks(
    make: MakeChunk[Made_co],
    requests: Sequence[Request],
    *,
    n_processes: int,
    progress: Progress | None = None,
) -> Iterator[tuple[Request, Made_co]]:
    """Yield each request with its entries as soon as they are there, in any order.

    Args:
        make: What makes a chunk.
        requests: Chunks to make.
        n_processes: Worker processes; with one, the chunks are made in this process.
        progress: Called with the number of new entries, from this thread.

    Raises:
        HepdlError: What a worker raised, or ``EnvironmentFailure`` if one was killed.
    """
    n_processes = min(n_processes, len(requests))
    if n_processes <= 1:
        for request in requests:
            yield request, make(request, progress)
        return
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    stop = context.Event()
    pool = ProcessPoolExecutor(
        n_processes, mp_context=context, initializer=_start_worker, initargs=(counter, stop)
    )
    try:
        futures = {pool.submit(_work, make, request): request for request in requests}
        yield from _collect(futures, counter, progress)
    except BrokenProcessPool as error:
        _fail(error)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _collect(
    futures: dict[Future[Made_co], Request],
    counter: Synchronized[int],
    progress: Progress | None,
) -> Iterator[tuple[Request, Made_co]]:
    """Yield what is finished; report the entries of the chunks under way."""
    waiting = set(futures)
    reported = 0
    while waiting:
        done, waiting = wait(waiting, timeout=POLL, return_when=FIRST_COMPLETED)
        new = counter.value - reported
        if new and progress is not None:
            progress(new)
        reported += new
        for future in done:
            # Drop the reference, so that entries already handed over do not stay in memory.
            request = futures.pop(future)
            yield request, future.result()


def _fail(error: BrokenProcessPool) -> NoReturn:
    message = (
        "a worker process of the simulation died (killed, out of memory, or started from a script "
        'without `if __name__ == "__main__":`); finished chunks are kept where the caller stored '
        f"them; run again, with fewer processes if memory is short ({error})"
    )
    raise EnvironmentFailure(message) from error


def _start_worker(counter: Synchronized[int], stop: Event) -> None:
    """Prepare a worker process."""
    global _shared
    _shared = (counter, stop)
    # A terminal sends Ctrl-C to all processes; the parent decides, then sets `stop`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the parent is gone, even if it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(make: MakeChunk[Made_co], request: Request) -> Made_co:
    """Make one chunk in a worker process."""
    if _shared is None:
        message = "a worker process was started without _start_worker"
        raise AssertionError(message)
    counter, stop = _shared

    def report(n_new: int) -> None:
        if stop.is_set():
            raise _StoppedWorker
        with counter.get_lock():
            counter.value += n_new

    # A chunk that already waits in the pool's queue can no longer be cancelled.
    report(0)
    return make(request, report)
