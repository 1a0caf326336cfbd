"""Does a ttree hold what the schema says: names, depths and types, without reading data."""

from __future__ import annotations

from collections.abc import Iterable

from hepdl.errors import nearest
from hepdl.io.root import BranchType, RootTable
from hepdl.schema import Schema, StoredField

__all__ = ["structure_problems"]

_DEPTHS = {1: "one value per entry", 2: "a list per entry", 3: "a list of lists per entry"}


def structure_problems(table: RootTable, schema: Schema) -> list[str]:
    """Return a sentence for each branch that is missing or is not what the schema declares."""
    problems = []
    for field in schema.fields:
        place = f"({field.key} of schema {schema.name})"
        if field.branch not in table.branches:
            problems.append(
                f"{table.file}: no branch {field.branch!r} {place}{_near(field, table)}"
            )
            continue
        problem = _type_problem(field, table.type_of(field.branch))
        if problem:
            problems.append(f"{table.file}: branch {field.branch!r} {place} {problem}")
    return problems


def _near(field: StoredField, table: RootTable) -> str:
    lower: dict[str, str] = {}
    for name in table.branches:
        lower.setdefault(name.lower(), name)
    near = nearest(field.branch, table.branches)
    near = near or lower.get(nearest(field.branch.lower(), lower) or "")
    hint = f"; did you mean {near!r}?" if near else ""
    return f"{hint} ({_some(table.branches)})"


def _some(names: Iterable[str], most: int = 10) -> str:
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return f"branches: {', '.join(known[:most]) or 'none'}{more}"


def _type_problem(field: StoredField, found: BranchType) -> str | None:
    if found.problem:
        return f"cannot be read ({found.problem}): take it out of the schema"
    if found.leaf == "text":
        return f"holds text; the schema declares {field.type}: take it out of the schema"
    wanted = 1 if field.collection is None else 2
    if found.depth != wanted:
        holds = _DEPTHS.get(found.depth, f"lists nested {found.depth - 1} deep")
        move = "into a collection under 'collections'" if wanted == 1 else "under 'branches'"
        advice = f": declare it {move}" if found.depth <= 2 else ": it cannot be read as it is"
        return f"holds {holds}; the schema declares {_DEPTHS[wanted]}{advice}"
    is_integer = found.leaf.startswith(("int", "uint")) or found.leaf == "bool"
    if not (is_integer or found.leaf in {"float16", "float32", "float64"}):
        return f"holds {found.leaf}, which is no number"
    if not field.type.startswith("float") and not is_integer:
        return (
            f"holds {found.leaf}; the schema declares {field.type}: declare type: float32, or, for "
            "an event or run number, write it as an integer (floats cannot tell large ones apart)"
        )
    return None
