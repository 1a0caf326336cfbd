"""Small files of one schema, written with uproot alone so that the reader has an independent oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from hepdl.schema import Schema

CONTENT: dict[str, Any] = {
    "format_version": 1,
    "name": "tiny",
    "ttree": "events",
    "branches": {
        "event_number": {"branch": "eventNumber", "role": "event_number"},
        "weight": {"role": "event_weight"},
        "pt": {"unit": "MeV"},
        "is_signal": {"role": "label", "classes": {"signal": 1, "background": 0}},
    },
    "collections": {
        "jets": {
            "branches": {"pt": {"branch": "jet_pt", "unit": "MeV"}, "eta": {"branch": "jet_eta"}}
        }
    },
}

Write = Callable[..., Path]


@pytest.fixture
def make_schema() -> Callable[..., Schema]:
    """Return a function that gives the schema of these files, with some parts replaced."""
    return lambda **parts: Schema.from_dict({**CONTENT, **parts})


@pytest.fixture
def schema(make_schema: Callable[..., Schema]) -> Schema:
    return make_schema()


def columns_of(n: int, *, first: int = 1) -> dict[str, Any]:
    """Return what a file of ``n`` events holds; event k has k % 3 jets."""
    number = np.arange(first, first + n, dtype=np.int64)
    counts = number % 3
    rows = np.arange(counts.sum())
    return {
        "eventNumber": number + 2**60,  # floats could not tell these apart
        "weight": np.where(number % 5 == 0, -1.0, 1.0).astype(np.float32),
        "pt": (1000.0 * number).astype(np.float32),
        "is_signal": (number % 2).astype(np.int32),
        "jet_pt": ak.unflatten((500.0 * rows).astype(np.float32), counts),
        "jet_eta": ak.unflatten((0.1 * rows).astype(np.float32), counts),
        "unused": np.full(n, np.nan),
    }


@pytest.fixture
def write_events(tmp_path: Path) -> Write:
    """Return a function that writes a file and returns its path."""

    def write(
        name: str = "a.root", n: int = 10, *, ttree: str = "events", first: int = 1,
        rntuple: bool = False, drop: tuple[str, ...] = (), **changes: Any,
    ) -> Path:  # fmt: skip
        columns = {k: v for k, v in (columns_of(n, first=first) | changes).items() if k not in drop}
        path = tmp_path / name
        with uproot.recreate(path) as file:
            if rntuple:
                file.mkrntuple(ttree, columns)
            else:
                types = {key: _type(values) for key, values in columns.items()}
                file.mktree(ttree, types).extend(columns)
        return path

    return write


def _type(values: Any) -> Any:
    return values.type.content if isinstance(values, ak.Array) else values.dtype
