"""``hepdl compare`` and ``hepdl track sync``: records of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hepdl.errors import DataError
from hepdl.report.tables import rows_table
from hepdl.track import resolve_uri, sync, table

__all__ = ["compare_runs", "sync_runs"]


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
    return rows_table(rows, style=style)


def sync_runs(runs: Sequence[Path], tracking_uri: str | None) -> str:
    """Send the records of runs to the tracking store; what is there already is left alone."""
    uri = resolve_uri(tracking_uri)
    if uri is None:
        message = "--tracking-uri none names no store; give the address of one"
        raise DataError(message)
    sent = sync(list(runs), uri)
    return "\n".join(f"{run}: {done}" for run, done in zip(runs, sent, strict=True))
