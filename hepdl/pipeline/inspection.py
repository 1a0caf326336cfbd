"""``hepdl inspect``: what is in a file, and a first schema for it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from hepdl.errors import ConfigError
from hepdl.io import FileSummary, draft_schema, inspect
from hepdl.pipeline.folders import write_text

__all__ = ["inspect_files"]


def inspect_files(files: Sequence[str], draft: Path | None = None) -> str:
    """Return tables of what is in the files; names and types only, no data are read.

    Args:
        files: Paths, or ``file.root:ttree``.
        draft: Where to write a schema for the first file.

    Raises:
        HepdlError: A file cannot be used, or the draft exists.
    """
    if draft is not None and draft.exists():
        message = f"--schema {draft} exists: remove it, or name another file"
        raise ConfigError(message)
    summaries = [inspect(file) for file in files]
    text = "\n".join(_describe(summary) for summary in summaries)
    if draft is None:
        return text
    content = draft_schema(summaries[0])
    write_text(draft, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return f"{text}\nschema drafted in {draft}: check the roles and units, then use it"


def _describe(summary: FileSummary) -> str:
    buffer = StringIO()
    width = max(shutil.get_terminal_size((110, 40)).columns, 80)
    console = Console(file=buffer, width=width)
    console.print(f"{summary.path}  {summary.size / 1e6:.2f} MB", highlight=False)
    for found in summary.tables:
        cycles = f", {found.cycles} cycles (the newest is shown)" if found.cycles > 1 else ""
        table = Table(
            title=f"{found.kind} {found.name}: {found.n_entries} entries, "
            f"{len(found.branches)} branches, {found.compression}{cycles}",
            title_justify="left",
        )
        for column in ("branch", "type", "per entry", "unit", "note"):
            table.add_column(column, overflow="fold")
        for branch in found.branches:
            depth = {1: "one value", 2: "list", 0: ""}.get(branch.depth, "list of lists")
            table.add_row(branch.name, branch.type, depth, branch.unit or "", branch.problem or "")
        console.print(table)
    if summary.others:
        others = ", ".join(f"{name} ({kind})" for name, kind in summary.others.items())
        console.print(f"other objects: {others}", highlight=False)
    if not summary.tables:
        console.print("no TTree and no RNTuple in this file", highlight=False)
    return buffer.getvalue().rstrip()
