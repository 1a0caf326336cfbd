"""A small table of events without files, and the configuration around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hepdl.events import Events
from hepdl.pipeline.config import AnalysisConfig
from hepdl.schema import Schema

FEATURES = ("x", "y")


@pytest.fixture(scope="session")
def flat_schema() -> Schema:
    return Schema.from_dict(
        {
            "format_version": 1,
            "name": "flat",
            "ttree": "events",
            "branches": {
                "event_number": {"role": "event_number"},
                "weight": {"role": "event_weight"},
                **{name: {} for name in FEATURES},
            },
        }
    )


@pytest.fixture(scope="session")
def make_events() -> Callable[..., Events]:
    """Return a function that makes ``n`` events of both classes, some weights negative."""

    def make(n: int = 400, *, seed: int = 0) -> Events:
        random = np.random.default_rng(seed)
        label = np.arange(n) % 2
        flat = random.normal(size=(n, 2)).astype(np.float32)
        flat[:, 0] += label
        weight = np.where(random.random(n) < 0.2, -1.0, 1.0).astype(np.float32)
        columns = torch.from_numpy(flat)
        return Events(
            event_number=torch.from_numpy(random.permutation(n) + 2**60),
            run_number=torch.ones(n, dtype=torch.int64),
            process=torch.from_numpy(1 - label),
            label=torch.from_numpy(label),
            event_weight=torch.from_numpy(weight),
            flat=columns,
            feature_names=FEATURES,
            nuisance=torch.zeros(n, 0),
            observers={name: columns[:, k].double() for k, name in enumerate(FEATURES)},
            process_names=("signal", "background"),
        )

    return make


@pytest.fixture(scope="session")
def make_config() -> Callable[..., AnalysisConfig]:
    """Return a function that makes a configuration of one network, with changes."""

    def make(**changes: Any) -> AnalysisConfig:
        content = {
            "analysis": "toy",
            "schema": "flat.yaml",
            "processes": {
                "signal": {"label": "signal", "files": ["s.root"]},
                "background": {"label": "background", "files": ["b.root"]},
            },
            "models": {"mlp": {"model": "mlp", "options": {"features": list(FEATURES)}}},
        }
        return AnalysisConfig.model_validate(content | changes)

    return make
