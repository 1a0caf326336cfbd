"""Files with a nominal ttree and variations of it, and an analysis of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import yaml

from hepdl.io import write_root
from hepdl.schema import Schema

SCHEMA: dict[str, Any] = {
    "format_version": 1,
    "name": "varied",
    "ttree": "nominal",
    "branches": {
        "event_number": {"role": "event_number"},
        "w": {"role": "event_weight", "type": "float64"},
        "generated": {"role": "observer", "type": "float64"},
        "x": {},
        "y": {},
    },
    "selection": {"hard": "x > -3"},
}
SIZES = {"signal": 400, "tt": 500, "other": 300}
MEANS = {"signal": 1.0, "tt": -1.0, "other": 0.0}
SHIFT = 0.5


def table(process: str) -> ak.Array:
    """Return nominal events of a process; one in ten weights is negative."""
    n = SIZES[process]
    random = np.random.default_rng(list(SIZES).index(process))
    return ak.Array(
        {
            "event_number": np.arange(n) * 7 + 3,
            "w": np.where(np.arange(n) % 10 == 0, -0.5, 1.5),
            "generated": random.uniform(1.0, 3.0, n),
            "x": (random.normal(size=n) + MEANS[process]).astype(np.float32),
            "y": random.normal(size=n).astype(np.float32),
        }
    )


def varied(nominal: ak.Array) -> ak.Array:
    """Return the events with larger x; the first ones are lost and as many others are won."""
    numbers = np.asarray(nominal["event_number"]).copy()
    numbers[:20] += 100_000
    result = ak.with_field(nominal, numbers, "event_number")
    return ak.with_field(result, nominal["x"] + np.float32(SHIFT), "x")


def write_files(folder: Path) -> None:
    """Write a file for each process."""
    for process in SIZES:
        write_file(folder, process, table(process))


def write_file(folder: Path, process: str, nominal: ak.Array) -> None:
    """Write the ttrees ``nominal``, ``up`` and ``same``."""
    write_root(
        nominal,
        folder / f"{process}.root",
        Schema.from_dict(SCHEMA),
        variations={"up": varied(nominal), "same": nominal},
    )


def write_analysis(folder: Path, **changes: Any) -> Path:
    """Write schema and configuration, and return the latter."""
    content: dict[str, Any] = {
        "analysis": "varied",
        "schema": "schema.yaml",
        "processes": {
            "signal": {
                "label": "signal",
                "files": ["signal.root"],
                "cross_section": 0.5,
                "sum_of_weights": "generated",
            },
            "tt": {
                "label": "background",
                "files": ["tt.root"],
                "cross_section": 2.0,
                "k_factor": 1.5,
                "filter_efficiency": 0.25,
                "sum_of_weights": "generated",
            },
            "other": {
                "label": "background",
                "files": ["other.root"],
                "cross_section": 0.1,
                "sum_of_weights": 3000.0,
            },
        },
        "systematics": {"ttrees": ["up", "same"]},
        "split": {"fractions": {"train": 0.4, "validation": 0.2, "test": 0.4}},
        "models": {
            name: {
                "model": "boosted_trees",
                "options": {"features": features, "n_rounds": 8, "max_depth": 3},
            }
            for name, features in (("boosted_trees", ["x", "y"]), ("boosted_trees_x", ["x"]))
        },
        "combinations": {"stack": {"of": ["boosted_trees", "boosted_trees_x"], "method": "stack"}},
        "evaluate": {
            "bootstrap_replicas": 50,
            "luminosity": 10.0,
            "background_uncertainty": 0.1,
            "reference": "boosted_trees",
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.yaml").write_text(yaml.safe_dump(SCHEMA))
    path = folder / "analysis.yaml"
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return path
