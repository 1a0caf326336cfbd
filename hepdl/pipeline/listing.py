"""What there is to choose from: ``hepdl list``."""

from __future__ import annotations

from pathlib import Path

from hepdl.pipeline import parts

__all__ = ["describe"]


def describe(kind: str) -> str:
    """Return one name a line, with the first sentence of its description.

    Args:
        kind: ``models``, ``combinations``, ``posthoc``, ``losses``, ``loops``, ``generators``, ``metrics``,
            ``calibrations``, ``schemas`` or ``analyses``; the last two are looked up in the
            current folder.
    """
    if kind == "schemas":
        rows = [(path.stem, str(path)) for path in sorted(Path("data_schemas").glob("*.yaml"))]
    elif kind == "analyses":
        found = sorted(Path("analyses").glob("*/analysis.yaml"))
        rows = [(path.parent.name, str(path.parent)) for path in found]
    else:
        rows = [(name, parts.summary(kind, name)) for name in parts.available(kind)]
    if not rows:
        return f"no {kind} here (looked in {Path.cwd()})"
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)
