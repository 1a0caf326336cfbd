"""Checks across the keys of a schema: names, roles, units, and what expressions refer to."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping
from typing import Any

import awkward as ak
import numpy as np

from hepdl.errors import HepdlError, unknown_name
from hepdl.schema.expressions import Expression
from hepdl.schema.functions import depth, leaf
from hepdl.schema.units import HOUSE_UNITS, UNITS, house_factor, house_unit

__all__ = ["cross_problems"]

Problem = tuple[str, str]
SINGLE_ROLES = ("event_number", "run_number", "label")
# What identifies or weighs an event must not be learnt from, nor what data do not have.
LONE_ROLES = (*SINGLE_ROLES, "event_weight", "truth")
FOUR_VECTORS = (
    ("pt", "eta", "phi", "energy"),
    ("pt", "eta", "phi", "mass"),
    ("px", "py", "pz", "energy"),
)


def cross_problems(content: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong across the keys of a schema, as (key path, sentence).

    Args:
        content: The schema as plain data. It may be malformed; what is malformed is left to the
            model and skipped here, so that both kinds of problem can be reported at once.
    """
    problems = [
        *_name_problems(content),
        *_branch_problems(content),
        *_role_problems(content),
        *_label_problems(content),
        *_four_vector_problems(content),
        *_unit_problems(content),
        *_computed_problems(content),
    ]
    return problems + _expression_problems(content, dry_run=not problems)


def _part(content: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """Return the well-formed entries below a key."""
    part = content.get(key)
    if not isinstance(part, Mapping):
        return {}
    return {
        str(name): dict(v or {}) for name, v in part.items() if v is None or isinstance(v, Mapping)
    }


def _stored(content: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield key path, name and content of every branch."""
    for name, branch in _part(content, "branches").items():
        yield f"branches.{name}", name, branch
    for group, collection in _part(content, "collections").items():
        for name, branch in _part(collection, "branches").items():
            yield f"collections.{group}.branches.{name}", name, branch


def _roles(branch: Mapping[str, Any]) -> tuple[str, ...]:
    roles = branch.get("role", ("feature",))
    if isinstance(roles, str):
        return (roles,)
    return tuple(str(role) for role in roles) if isinstance(roles, list | tuple) else ()


def _name_problems(content: Mapping[str, Any]) -> Iterator[Problem]:
    keys = [(key, name) for key, name, _ in _stored(content)]
    keys += [(f"collections.{name}", name) for name in _part(content, "collections")]
    keys += [(f"derived.{name}", name) for name in _part(content, "derived")]
    for key, name in keys:
        if not name.isidentifier() or keyword.iskeyword(name):
            text = (
                f"{name!r} cannot be used in expressions: a field's name is letters, digits and "
                "'_'; put the name that the file uses under 'branch:'"
            )
            yield key, text
    seen: dict[str, str] = {}
    for part in ("branches", "collections", "derived"):
        for name in _part(content, part):
            if name in seen:
                yield f"{part}.{name}", f"the name is taken by {seen[name]}.{name}: rename one"
            seen.setdefault(name, part)


def _branch_problems(content: Mapping[str, Any]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for key, _, branch in _stored(content):
        name = branch.get("branch")
        if isinstance(name, str) and name in seen:
            text = (
                f"branch {name!r} is already read by {seen[name]}; one field may have several roles"
            )
            yield f"{key}.branch", text
        elif isinstance(name, str):
            seen[name] = key
    if not seen and not content.get("branches") and not content.get("collections"):
        yield "", "the schema declares no branch: fill 'branches' or 'collections'"


def _role_problems(content: Mapping[str, Any]) -> Iterator[Problem]:
    owner: dict[str, str] = {}
    for part in ("branches", "derived"):
        for name, branch in _part(content, part).items():
            roles = _roles(branch)
            for role in roles:
                if role in SINGLE_ROLES and role in owner:
                    text = f"{role} is already {owner[role]}: only one field may have this role"
                    yield f"{part}.{name}.role", text
                owner.setdefault(role, name)
            lone = [role for role in roles if role in LONE_ROLES]
            if lone and set(roles) - {lone[0], "observer"}:
                text = f"{lone[0]} may only be combined with observer, not {list(roles)}"
                yield f"{part}.{name}.role", text
            if len(set(roles)) < len(roles):
                yield f"{part}.{name}.role", f"a role is given twice: {list(roles)}"
            kind = str(branch.get("type", ""))
            if set(roles) & set(SINGLE_ROLES) and kind.startswith("float"):
                yield f"{part}.{name}.type", f"{lone[0]} must be an integer, e.g. int64, not {kind}"


def _label_problems(content: Mapping[str, Any]) -> Iterator[Problem]:
    for name, branch in _part(content, "branches").items():
        classes = branch.get("classes")
        is_label = "label" in _roles(branch)
        if is_label and not classes:
            text = "a label needs its classes, e.g. classes: {signal: 1, background: 0}"
            yield f"branches.{name}.classes", text
        if classes is not None and not is_label:
            yield f"branches.{name}.classes", "only a field with role label has classes"
        if is_label and isinstance(classes, Mapping):
            missing = {"signal", "background"} - set(classes)
            if missing:
                yield f"branches.{name}.classes", f"class {', '.join(sorted(missing))} is missing"
            elif len({repr(value) for value in classes.values()}) < len(classes):
                yield f"branches.{name}.classes", "signal and background have the same value"


def _four_vector_problems(content: Mapping[str, Any]) -> Iterator[Problem]:
    for name, collection in _part(content, "collections").items():
        wanted = collection.get("four_vector")
        if not isinstance(wanted, list | tuple):
            continue
        key = f"collections.{name}.four_vector"
        branches = _part(collection, "branches")
        if tuple(wanted) not in FOUR_VECTORS:
            choices = " or ".join(f"[{', '.join(names)}]" for names in FOUR_VECTORS)
            yield key, f"must be {choices}, not [{', '.join(map(str, wanted))}]"
            continue
        for field in wanted:
            if field not in branches:
                yield key, unknown_name("field", field, branches, where=f"collections.{name}")
                continue
            unit = branches[field].get("unit", "1")
            needs = {"eta": "1", "phi": "rad"}.get(field, "GeV")
            if unit in UNITS and house_unit(unit) != needs:
                choices = ", ".join(u for u in UNITS if house_unit(u) == needs)
                text = (
                    f"{field} of a four-vector must state its unit, one of {choices}, not {unit!r}"
                )
                yield f"collections.{name}.branches.{field}.unit", text


def _unit_problems(content: Mapping[str, Any]) -> Iterator[Problem]:
    for key, _, branch in _stored(content):
        unit, kind = branch.get("unit", "1"), str(branch.get("type", "float32"))
        if unit in UNITS and house_factor(unit) != 1 and not kind.startswith("float"):
            house = house_unit(unit)
            text = f"{kind} cannot hold a value converted from {unit} to {house}: use float32"
            yield f"{key}.type", text
    for name, derived in _part(content, "derived").items():
        unit = derived.get("unit", "1")
        if unit in UNITS and unit not in HOUSE_UNITS:
            text = f"results are in house units ({', '.join(HOUSE_UNITS)}), not {unit!r}"
            yield f"derived.{name}.unit", text


def _computed_problems(content: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that what a function reads is there, and is no truth."""
    branches, collections = _part(content, "branches"), _part(content, "collections")
    for name, group in _part(content, "computed").items():
        key = f"computed.{name}"
        jets = group.get("jets")
        if isinstance(jets, str) and jets not in collections:
            yield f"{key}.jets", unknown_name("collection", jets, collections, where=key)
        elif isinstance(jets, str):
            inside = _part(collections[jets], "branches")
            if not collections[jets].get("four_vector"):
                yield f"{key}.jets", f"collection {jets!r} states no four_vector: add it"
            b_tag = group.get("b_tag")
            if isinstance(b_tag, str) and b_tag not in inside:
                yield f"{key}.b_tag", unknown_name(f"field of {jets}", b_tag, inside, where=key)
            elif isinstance(b_tag, str) and inside[b_tag].get("role") == "truth":
                yield f"{key}.b_tag", f"{jets}.{b_tag} is truth: a feature must not know it"
        lepton = group.get("lepton")
        for field in lepton if isinstance(lepton, list | tuple) else ():
            if field not in branches:
                yield f"{key}.lepton", unknown_name("branch", str(field), branches, where=key)
            elif "truth" in _roles(branches[field]):
                yield f"{key}.lepton", f"{field} is truth: a feature must not know it"


def _truth_fields(content: Mapping[str, Any]) -> set[str]:
    """Return the fields with the role truth: flat ones, and ``collection.field``."""
    found = {
        name
        for part in ("branches", "derived")
        for name, branch in _part(content, part).items()
        if "truth" in _roles(branch)
    }
    return found | {
        f"{group}.{name}"
        for group, collection in _part(content, "collections").items()
        for name, branch in _part(collection, "branches").items()
        if branch.get("role") == "truth"
    }


def _expression_problems(content: Mapping[str, Any], *, dry_run: bool) -> list[Problem]:
    """Check that expressions parse, refer to fields that exist, and give one value per entry."""
    namespace = _three_entries(content) if dry_run else {}
    collections = {
        name: list(_part(group, "branches"))
        for name, group in _part(content, "collections").items()
    }
    known = [*_part(content, "branches"), *collections]
    truth = _truth_fields(content)
    problems: list[Problem] = []
    texts = [
        (f"derived.{name}.expression", name, derived.get("expression"))
        for name, derived in _part(content, "derived").items()
    ]
    selection = content.get("selection")
    if isinstance(selection, Mapping):
        texts += [(f"selection.{cut}", "", text) for cut, text in selection.items()]
    for key, name, text in texts:
        if isinstance(text, str):
            found = _one_expression(key, name, text, known, collections, namespace)
            problems += found
            if name and not found and name not in truth:
                problems += _truth_problems(key, text, truth)
        known += [name] if name else []
    return problems


def _truth_problems(key: str, text: str, truth: set[str]) -> list[Problem]:
    """What is derived from truth is truth."""
    used = sorted(Expression(text, where="expression").fields & truth)
    if not used:
        return []
    return [(key, f"{text!r} uses {', '.join(used)}, which is truth: give it role: truth, too")]


def _one_expression(
    key: str,
    name: str,
    text: str,
    known: list[str],
    collections: dict[str, list[str]],
    namespace: dict[str, Any],
) -> list[Problem]:
    """Check one expression; a derived field's value is added to the namespace."""
    place = "expression"
    try:
        expression = Expression(text, where=place)
    except HepdlError as error:
        return [(key, str(error).removeprefix(f"{place}: "))]
    problems = []
    for field in sorted(expression.fields):
        group, _, inner = field.partition(".")
        if group not in known:
            problems.append((key, unknown_name("field", group, known, where=repr(text))))
        elif inner and inner not in collections.get(group, []):
            inside = collections.get(group, [])
            problems.append(
                (key, unknown_name(f"field of {group}", inner, inside, where=repr(text)))
            )
    if problems or not expression.names <= set(
        namespace
    ):  # a malformed field is reported elsewhere
        return problems
    try:
        value = expression.evaluate(namespace)
    except HepdlError as error:
        return [(key, str(error).removeprefix(f"{place}: "))]
    if depth(value) != 1:
        what = "a constant" if depth(value) == 0 else "a list per entry"
        advice = "e.g. with any(…), max(…) or sum(…)" if depth(value) else "use a field"
        return [(key, f"{text!r} gives {what}, not one value per entry: {advice}")]
    if not name and leaf(value) != "bool":
        return [(key, f"{text!r} gives {leaf(value)}, not true/false: compare it with something")]
    if name:
        namespace[name] = value
    return []


def _three_entries(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return three entries of ones in the schema's types, to see what an expression gives."""
    namespace: dict[str, Any] = {
        name: np.ones(3, dtype=str(branch.get("type", "float32")))
        for name, branch in _part(content, "branches").items()
    }
    for name, collection in _part(content, "collections").items():
        columns = {
            field: ak.unflatten(np.ones(3, dtype=str(branch.get("type", "float32"))), [2, 0, 1])
            for field, branch in _part(collection, "branches").items()
        }
        namespace[name] = ak.zip(columns, depth_limit=2)
    return namespace
