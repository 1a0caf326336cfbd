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
from typing import NoReturn

import awkward as ak

from hepdl.errors import EnvironmentFailure
from hepdl.simulate.showering.chunks import ChunkRequest, make_chunk

__all__ = ["make_chunks"]

Progress = Callable[[int], None]

# Seconds between two looks at the counter of finished jets.
POLL = 0.2

# Set once in each worker process by `_start_worker`.
_shared: tuple[Synchronized[int], Event] | None = None


class _StoppedWorker(Exception):
    """The parent has no more use for the chunk that this worker is making."""


def make_chunks(
    requests: Sequence[ChunkRequest], *, n_processes: int, progress: Progress | None = None
) -> Iterator[tuple[ChunkRequest, ak.Array]]:
    """Yield each request with its jets as soon as they are there, in any order.

    Args:
        requests: Chunks to make.
        n_processes: Worker processes; with one, the chunks are made in this process.
        progress: Called with the number of new jets, from this thread.

    Raises:
        HepdlError: What a worker raised, or ``EnvironmentFailure`` if one was killed.
    """
    n_processes = min(n_processes, len(requests))
    if n_processes <= 1:
        for request in requests:
            yield request, make_chunk(request, progress)
        return
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    stop = context.Event()
    pool = ProcessPoolExecutor(
        n_processes, mp_context=context, initializer=_start_worker, initargs=(counter, stop)
    )
    try:
        futures = {pool.submit(_work, request): request for request in requests}
        yield from _collect(futures, counter, progress)
    except BrokenProcessPool as error:
        _fail(error)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _collect(
    futures: dict[Future[ak.Array], ChunkRequest],
    counter: Synchronized[int],
    progress: Progress | None,
) -> Iterator[tuple[ChunkRequest, ak.Array]]:
    """Yield what is finished; report the jets of the chunks under way."""
    waiting = set(futures)
    reported = 0
    while waiting:
        done, waiting = wait(waiting, timeout=POLL, return_when=FIRST_COMPLETED)
        new = counter.value - reported
        if new and progress is not None:
            progress(new)
        reported += new
        for future in done:
            # Drop the reference, so that jets already handed over do not stay in memory.
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


def _work(request: ChunkRequest) -> ak.Array:
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
    return make_chunk(request, report)
