"""Toy jets: signal has two prongs, background one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hepdl.events import Events, Jagged


@pytest.fixture(scope="session")
def toy_jets() -> Callable[..., Events]:
    """Return a function that makes ``n`` jets without trees; jet k depends on k and seed alone."""

    def make(n: int, *, seed: int = 0, counts: list[int] | None = None) -> Events:
        random = np.random.default_rng(seed)
        label = np.arange(n) % 2
        sizes = random.integers(1, 25, n) if counts is None else np.array(counts)
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        n_rows = offsets[-1]
        of_signal = np.repeat(label, sizes).astype(bool)
        side = np.where(random.random(n_rows) < 0.5, 0.4, -0.4) * of_signal
        eta = side + random.normal(0, 0.15, n_rows)
        phi = 1.0 + random.normal(0, 0.15, n_rows)
        pt = random.exponential(10.0, n_rows) + 0.1
        rows = np.stack((pt, eta, phi, pt * np.cosh(eta)), axis=1).astype(np.float32)
        width = np.add.reduceat(pt * np.abs(eta), offsets[:-1]) / np.add.reduceat(pt, offsets[:-1])
        jet_pt = np.add.reduceat(pt, offsets[:-1])
        columns = {"jet_pt": jet_pt, "width": width, "n_constituents": sizes.astype(float)}
        return Events(
            event_number=torch.arange(n) + 2**60,
            run_number=torch.ones(n, dtype=torch.int64),
            process=torch.from_numpy(1 - label),
            label=torch.from_numpy(label),
            event_weight=torch.from_numpy(random.uniform(0.5, 1.5, n).astype(np.float32)),
            flat=torch.from_numpy(np.stack(list(columns.values()), axis=1).astype(np.float32)),
            feature_names=tuple(columns),
            nuisance=torch.from_numpy(jet_pt.astype(np.float32))[:, None],
            nuisance_names=("jet_pt",),
            collections={
                "constituents": Jagged(
                    torch.from_numpy(rows),
                    torch.from_numpy(offsets),
                    ("pt", "eta", "phi", "energy"),
                )
            },
            observers={name: torch.from_numpy(column) for name, column in columns.items()},
            process_names=("w", "qcd"),
        )

    return make
