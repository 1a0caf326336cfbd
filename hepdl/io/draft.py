"""Draft a schema from what is in a file: a start for a person, who knows the units."""

from __future__ import annotations

import keyword
import re
from typing import Any

from hepdl.errors import ConfigError, unknown_name
from hepdl.io.summary import BranchSummary, FileSummary, TableSummary

__all__ = ["draft_schema"]

_EVENT_NUMBERS = {"event", "eventnumber", "evt", "evtnumber", "eventid"}
_RUN_NUMBERS = {"run", "runnumber"}
_WEIGHTS = {"weight", "genweight", "eventweight", "mceventweight", "generatorweight", "mcweight"}
_TYPES = {
    "float16": "float32",
    "uint64": "int64",
    **{t: t for t in ("float32", "float64", "int8", "int16", "int32", "int64", "bool")},
    **{t: t for t in ("uint8", "uint16", "uint32")},
}


def draft_schema(summary: FileSummary, *, ttree: str | None = None) -> dict[str, Any]:
    """Return a schema as plain data which ``load_schema`` accepts once written as YAML.

    One value per entry becomes a feature; lists become collections, grouped by what stands before
    the first ``.`` or ``_`` of their names; what looks like event number, run number or weight gets
    its role. Branches of other kinds are left out. Units are given where the file states them.

    Args:
        summary: What ``inspect`` found.
        ttree: Which TTree or RNTuple; default: the one with the most branches.

    Raises:
        ConfigError: There is no such ttree, or it has no branch that can be read.
    """
    table = _choose(summary, ttree)
    flat: dict[str, dict[str, Any]] = {}
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    roles: set[str] = set()
    usable = [b for b in table.branches if b.leaf in _TYPES and b.depth in {1, 2}]
    prefixes = {b.name.lower(): _prefix(b.name) for b in usable if b.depth == 2}
    counters = {
        f"n{name}".lower() for key, (prefix, _) in prefixes.items() for name in (key, prefix)
    }
    taken: set[str] = {_identifier(prefix) for prefix, _ in prefixes.values()}
    for branch in usable:
        if branch.name.startswith("_") and table.kind == "RNTuple":
            continue  # the importer's own name for a collection whose fields are listed again
        if branch.depth == 1 and branch.name.lower() not in counters:
            name = _free(_identifier(branch.name), taken)
            taken.add(name)
            flat[name] = _flat(branch, roles)
        elif branch.depth == 2:
            prefix, field = _prefix(branch.name)
            group = groups.setdefault(_identifier(prefix), {})
            group[_free(_identifier(field), set(group))] = _entry(branch)
    if not flat and not groups:
        message = f"{summary.path}: ttree {table.name!r} has no branch of numbers to draft from"
        raise ConfigError(message)
    draft: dict[str, Any] = {
        "format_version": 1,
        "name": _identifier(table.name.rpartition("/")[2]),
        "description": "A draft: give every quantity its unit and every branch its role.",
        "ttree": table.name,
    }
    if flat:
        draft["branches"] = flat
    if groups:
        draft["collections"] = {name: {"branches": group} for name, group in groups.items()}
    return draft


def _choose(summary: FileSummary, ttree: str | None) -> TableSummary:
    tables = {table.name: table for table in summary.tables}
    if ttree is not None:
        if ttree not in tables:
            raise ConfigError(unknown_name("ttree", ttree, tables, where=summary.path))
        return tables[ttree]
    if not tables:
        message = f"{summary.path}: the file has no ttree and no RNTuple to draft a schema from"
        raise ConfigError(message)
    return max(summary.tables, key=lambda table: len(table.branches))


def _prefix(name: str) -> tuple[str, str]:
    """Split the name of a list: collection and field.

    >>> _prefix("Jet_btag_score"), _prefix("Jet/Jet.PT"), _prefix("weights")
    (('Jet', 'btag_score'), ('Jet', 'PT'), ('weights', 'value'))
    """
    name = name.rpartition("/")[2]
    match = re.match(r"^([^._]+)[._](.+)$", name)
    return (match[1], match[2]) if match else (name, "value")


def _identifier(name: str) -> str:
    text = re.sub(r"\W+", "_", name.rpartition("/")[2]).strip("_") or "field"
    if text[0].isdigit() or keyword.iskeyword(text):
        text = f"field_{text}"
    return text


def _free(name: str, taken: set[str]) -> str:
    free, count = name, 2
    while free in taken:
        free, count = f"{name}_{count}", count + 1
    return free


def _entry(branch: BranchSummary) -> dict[str, Any]:
    kind = _TYPES[branch.leaf]
    entry: dict[str, Any] = {"branch": branch.name, "type": kind}
    if branch.unit is not None and kind.startswith("float"):
        entry["unit"] = branch.unit
    return entry


def _flat(branch: BranchSummary, roles: set[str]) -> dict[str, Any]:
    """Return a flat branch with its role; number roles are given once, to integers alone."""
    entry = _entry(branch)
    word = re.sub(r"[^a-z]", "", branch.name.rpartition("/")[2].lower())
    is_integer = "int" in branch.leaf
    role = "feature"
    if word in _EVENT_NUMBERS and is_integer:
        role = "event_number"
    elif word in _RUN_NUMBERS and is_integer:
        role = "run_number"
    elif word in _WEIGHTS and not is_integer:
        role = "event_weight"
    if role in roles:
        role = "observer"
    if role != "feature":
        roles.add(role)
        entry["role"] = role
    return entry
