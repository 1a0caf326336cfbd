"""Two gloo ranks of one thread against one, as a part of what a second process gives at all.

pytest -n 0 -o log_cli=true tests/benchmarks/test_ranks_speed.py

Four things are timed in turn, by the same two processes: matrix products by one and by both, and
the training of one network at the same global minibatch by one and by both.
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

log = logging.getLogger(__name__)

SCRIPT = Path(__file__).with_name("ranks_speed_script.py")
N_REPEATS = 9


@pytest.mark.parametrize(
    ("width", "depth", "minibatch", "steps", "target"),
    [(300, 5, 4096, 12, 0.85), (64, 3, 4096, 100, None), (64, 3, 256, 300, None)],
    ids=["5x300, minibatch 4096", "3x64, minibatch 4096", "3x64, minibatch 256"],
)
def test_a_second_rank_gives_what_a_second_core_gives(
    start_ranks: Callable[..., list[subprocess.Popen[str]]],
    width: int,
    depth: int,
    minibatch: int,
    steps: int,
    target: float | None,
) -> None:
    processes = start_ranks(SCRIPT, 2, width, depth, minibatch, steps, N_REPEATS)
    outputs = [process.communicate(timeout=900) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    rows = json.loads(outputs[0][0])
    speeds = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    products = speeds["two products"] / speeds["one product"]
    ranks = speeds["two ranks"] / speeds["one rank"]
    shown = (
        ("second core, matrix product", products),
        ("second rank, training", ranks),
        ("second rank / second core", ranks / products),
    )
    log.info("%dx%d, minibatch %d, %d repeats", depth, width, minibatch, N_REPEATS)
    log.info("one rank: %.0f events/s", np.median(speeds["one rank"]))
    for name, found in shown:
        low, middle, high = np.quantile(found, [0.16, 0.5, 0.84])
        log.info("%-28s x%.2f (%.2f-%.2f)", name, middle, low, high)
    if np.median(products) < 1.5:
        pytest.skip(f"no second core is free: it gives x{np.median(products):.2f} of a product")
    if target is not None:
        assert np.median(ranks / products) >= target
