from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import awkward as ak
import pytest

from hepdl.errors import ConfigError, EnvironmentFailure
from hepdl.simulate.pythia_jets import chunks, generate, generate_chunk, iterate_chunks

pytestmark = pytest.mark.simulation

FAST = {"multi_parton_interactions": False}

SCRIPT = """
import os, signal
from pathlib import Path
from hepdl.simulate.pythia_jets import generate

# A shell that starts the tests in the background ignores Ctrl-C on behalf of all below it.
signal.signal(signal.SIGINT, signal.default_int_handler)

def progress(n_new):
    Path(r"{mark}").touch()

if __name__ == "__main__":
    generate(100_000, seed=1, n_processes=2, progress=progress, multi_parton_interactions=False)
"""


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 15 jets: requests carry their size, so workers need not know."""
    monkeypatch.setattr("hepdl.simulate.showering.chunks.CHUNK_SIZE", 15)


@pytest.mark.usefixtures("small_chunks")
def test_two_processes_give_the_jets_of_one_bit_for_bit() -> None:
    seen: list[int] = []
    one = generate(40, seed=2, process="qcd", **FAST)
    two = generate(40, seed=2, process="qcd", n_processes=2, progress=seen.append, **FAST)
    assert len(two) == sum(seen) == 40
    assert two.type == one.type
    assert ak.to_list(two) == ak.to_list(one)
    parts = [generate_chunk(request) for request in chunks(40, seed=2, process="qcd", **FAST)]
    assert ak.to_list(ak.concatenate(parts)) == ak.to_list(one)


@pytest.mark.usefixtures("small_chunks")
def test_a_prefix_of_a_request_holds_across_chunks() -> None:
    longer = generate(35, seed=2, **FAST)
    assert ak.to_list(generate(20, seed=2, **FAST)) == ak.to_list(longer[:20])
    numbers = ak.to_list(longer.event_number)
    assert numbers == sorted(numbers)
    assert [numbers[0] // 10**7, numbers[15] // 10**7, numbers[30] // 10**7] == [0, 1, 2]


def test_jets_do_not_depend_on_the_size_of_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"seed": 2, "process": "qcd", **FAST}
    expected = generate(30, **options)
    monkeypatch.setattr("hepdl.simulate.showering.chunks.LARGEST_BATCH", 7)
    assert ak.to_list(generate(30, **options)) == ak.to_list(expected)


@pytest.mark.usefixtures("small_chunks")
def test_an_error_in_a_worker_comes_back_as_itself() -> None:
    with pytest.raises(ConfigError, match="Pythia cannot simulate"):
        generate(30, seed=1, n_processes=2, beam_energy=1000.0, pt_hat=(600.0, 700.0))
    assert not multiprocessing.active_children()


def test_a_killed_worker_is_named_as_the_cause() -> None:
    def kill(_: int) -> None:
        for worker in multiprocessing.active_children():
            worker.kill()

    with pytest.raises(EnvironmentFailure, match=r"a worker process .* died .* run again"):
        list(iterate_chunks(chunks(2000, seed=1, **FAST), n_processes=2, progress=kill))


def test_an_error_of_the_caller_stops_the_workers() -> None:
    def fail(_: int) -> None:
        message = "enough"
        raise KeyboardInterrupt(message)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt, match="enough"):
        generate(20_000, seed=1, n_processes=2, progress=fail, **FAST)
    assert not multiprocessing.active_children()
    # 20 000 jets take two minutes; a batch under a second, the start of two processes a few.
    assert time.monotonic() - start < 40.0


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(how: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C reaches the whole process group; SIGKILL the parent alone."""
    mark, script = tmp_path / "mark", tmp_path / "make.py"
    script.write_text(SCRIPT.format(mark=mark))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(script)],
        env=environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        wait_until(mark.exists)
        if how is signal.SIGINT:
            os.killpg(parent.pid, how)
        else:
            os.kill(parent.pid, how)
        wait_until(lambda: not group_has_members(parent.pid, parent))
        _, errors = parent.communicate()
    if how is signal.SIGINT:
        assert errors.count("Traceback") == 1
        assert "KeyboardInterrupt" in errors


def wait_until(condition: object, *, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def group_has_members(group: int, parent: subprocess.Popen[str]) -> bool:
    parent.poll()
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
