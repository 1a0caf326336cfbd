"""``hepdl compare`` and ``hepdl track sync``: records of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hepdl.errors import DataError
from hepdl.report.tables import comparison_table
from hepdl.track import resolve_uri, sync, table

__all__ = ["compare_runs", "sync_runs"]

_REJECTION = "background_rejection_"
_WITH_INTERVAL = {"auc", "expected_calibration_error"}
_PLAIN = {"n_parameters", "fit_seconds", "events_per_second"}


def compare_runs(
    runs: Sequence[Path] = (),
    *,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    style: str = "text",
) -> str:
    """Return a table of models and runs, with uncertainties.

    Args:
        runs: Output folders, read directly; none for the tracking store.
        experiment: Name of an analysis in the tracking store.
        tracking_uri: The tracking store.
        style: ``text``, ``markdown``, ``latex`` or ``csv``.

    Raises:
        DataError: There is nothing to compare.
    """
    rows = table(list(runs) or None, experiment=experiment, uri=tracking_uri)
    if not rows:
        where = ", ".join(str(run) for run in runs) or experiment or "the tracking store"
        message = f"nothing to compare: {where} has no finished run; run an analysis first"
        raise DataError(message)
    return comparison_table({"models": {_title(row): _entry(row) for row in rows}}, style=style)


def _title(row: Mapping[str, Any]) -> str:
    """Return what a row is called: analysis, run and model."""
    run = str(row.get("folder") or row["run"])
    return f"{row['analysis']} {Path(run).name} {row['model']}"


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat numbers of a row in the shape of ``metrics.json``."""
    entry: dict[str, Any] = {"background_rejection": {}}
    for name, value in row.items():
        if not isinstance(value, int | float):
            continue
        base, _, end = name.rpartition("_")
        if end in {"low", "high"}:
            name, key = base, end
        else:
            key = "value"
        if name.startswith(_REJECTION):
            point = name.removeprefix(_REJECTION)
            entry["background_rejection"].setdefault(point, {})[key] = value
        elif name in _WITH_INTERVAL:
            entry.setdefault(name, {})[key] = value
        elif name in _PLAIN:
            entry[name] = value
    return entry


def sync_runs(runs: Sequence[Path], tracking_uri: str | None) -> str:
    """Send the records of runs to the tracking store; what is there already is left alone."""
    uri = resolve_uri(tracking_uri)
    if uri is None:
        message = "--tracking-uri none names no store; give the address of one"
        raise DataError(message)
    sent = sync(list(runs), uri)
    return "\n".join(f"{run}: {done}" for run, done in zip(runs, sent, strict=True))
