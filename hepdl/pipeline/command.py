"""What ``hepdl run`` and the commands of its stages do and print.

With ``--nproc`` this process only starts others, so it does not load what they work with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hepdl.pipeline import logs
from hepdl.pipeline.request import Request
from hepdl.report.tables import comparison_table

__all__ = ["run_from_command_line"]


def run_from_command_line(
    analysis: Path, overrides: tuple[str, ...], *, last_stage: str | None = None, **options: Any
) -> str:
    """Run, and return what the command line prints at the end."""
    request = Request(
        analysis, overrides=overrides, last_stage=last_stage, log_to_terminal=True, **options
    )
    with logs.to_terminal():
        folder, record = _run(request)
    if last_stage is not None:
        return f"{last_stage}: done, in {folder}"
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    lines = [comparison_table(metrics), ""]
    for what, name in (
        ("report", "report.html"),
        ("numbers", "metrics.json"),
        ("scores", "scores.root"),
        ("models", "models"),
        ("figures", "figures"),
    ):
        lines.append(f"{what + ':':9} {folder / name}")
    lines.append(f"{'record:':9} {record}")
    return "\n".join(lines)


def _run(request: Request) -> tuple[Path, str]:
    """Return the output folder, and where the record went."""
    if request.n_ranks > 1:
        from hepdl.pipeline.launch import launch

        outcome = launch(request)
        return Path(outcome["folder"]), outcome["record"]
    from hepdl.pipeline.run import run_alone

    done = run_alone(request)
    return done.folder, done.record
