"""Jets that look like jets, for oracles and invariances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Jets = tuple[NDArray[np.float64], NDArray[np.int64]]


def branch(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """One jet of 275 GeV: n - 1 splittings, soft and collinear ones preferred, pions at the end."""
    rows = np.empty((n, 4))
    rows[0] = 275.0, rng.uniform(-2, 2), rng.uniform(-np.pi, np.pi), 1.2
    for m in range(1, n):
        # Hard branches split more often; 0.7 gives multiplicities that rise at every depth.
        total = np.cumsum(rows[:m, 0] ** 0.7)
        parent = int(np.searchsorted(total, rng.uniform(0, total[-1])))
        pt, rapidity, phi, angle = rows[parent]
        z = np.exp(rng.uniform(np.log(0.01), np.log(0.5)))
        # Not below the angle that detectors resolve: distances then stand far above rounding.
        angle = max(angle * np.exp(rng.uniform(np.log(0.2), 0)), rng.uniform(1e-3, 3e-3))
        turn = rng.uniform(0, 2 * np.pi)
        step = angle * np.array([np.cos(turn), np.sin(turn)])
        rows[parent] = pt * (1 - z), rapidity - z * step[0], phi - z * step[1], angle
        rows[m] = pt * z, rapidity + (1 - z) * step[0], phi + (1 - z) * step[1], angle
    pt, rapidity, phi = rows[:, 0], rows[:, 1], rows[:, 2]
    mt = np.hypot(pt, 0.13957)
    momentum = [pt * np.cos(phi), pt * np.sin(phi), mt * np.sinh(rapidity), mt * np.cosh(rapidity)]
    return np.stack(momentum, axis=1)


@pytest.fixture(scope="session")
def toy_jets() -> Callable[..., Jets]:
    """A function of (n_jets, seed): constituents [GeV] and offsets of jets of 1 to 60 particles."""

    def make(n_jets: int, *, seed: int, smallest: int = 1) -> Jets:
        rng = np.random.default_rng(seed)
        counts = rng.integers(smallest, 61, size=n_jets)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return np.concatenate([branch(rng, n) for n in counts]), offsets

    return make
