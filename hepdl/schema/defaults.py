"""Defaults of a schema that depend on a key or a role, written in before it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["with_defaults"]


def with_defaults(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with the defaults that depend on a key or a role written in."""
    filled = dict(content)
    if isinstance(filled.get("branches"), Mapping):
        filled["branches"] = {
            name: _with_type({"branch": name, **branch}) if isinstance(branch, Mapping) else branch
            for name, branch in _no_none(filled["branches"]).items()
        }
    if isinstance(filled.get("collections"), Mapping):
        filled["collections"] = {
            name: _with_branch_names(str(name), group) if isinstance(group, Mapping) else group
            for name, group in filled["collections"].items()
        }
    return filled


def _with_type(branch: dict[str, Any]) -> dict[str, Any]:
    roles = branch.get("role", ())
    roles = (roles,) if isinstance(roles, str) else roles
    numbers = {"event_number", "run_number", "label"}
    if isinstance(roles, list | tuple) and numbers & {str(role) for role in roles}:
        branch.setdefault("type", "int64")
    return branch


def _with_branch_names(name: str, group: Mapping[str, Any]) -> dict[str, Any]:
    """Name a collection's branches ``<collection>_<field>``, as uproot writes them."""
    branches = group.get("branches")
    if not isinstance(branches, Mapping):
        return dict(group)
    named = {
        field: {"branch": f"{name}_{field}", **branch} if isinstance(branch, Mapping) else branch
        for field, branch in _no_none(branches).items()
    }
    return {**group, "branches": named}


def _no_none(branches: Mapping[str, Any]) -> dict[str, Any]:
    # `jet_eta:` with nothing behind it means all defaults.
    return {name: {} if branch is None else branch for name, branch in branches.items()}
