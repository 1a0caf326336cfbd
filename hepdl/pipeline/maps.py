"""Maps of finished scores in the configuration: combinations of several models, and `posthoc`, of one.

A combination takes the scores of its members; a posthoc map takes that of one model and the nuisances that the
result shall not depend on. Both are contenders beside the models, by the same machinery.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hepdl.errors import unknown_name
from hepdl.pipeline import parts
from hepdl.pipeline.config import AnalysisConfig, CombinationConfig, MapConfig, PosthocConfig
from hepdl.pipeline.systematics import SYSTEMATIC
from hepdl.pipeline.unlabelled import DOMAIN
from hepdl.schema import Schema

__all__ = ["in_words", "map_problems", "nuisance_problems"]

# What an event is, not what it is like: no score is made flat in it.
_NO_NUISANCE = ("event_number", "run_number", "event_weight", "label")


def map_problems(config: AnalysisConfig, *, file: str) -> list[str]:
    """Return what is wrong with names, members and options; an empty list if nothing is.

    Args:
        config: The analysis, with all models that it will train.
        file: Its name, for messages.
    """
    problems = []
    for section, name, found in _entries(config):
        where = f"{section}.{name}"
        other = "a model" if name in config.models else None
        if section == "posthoc" and name in config.combinations:
            other = "a combination"
        if other is not None:
            problems.append(
                f"{where} in {file}: {other} is called {name}, too, and both would be score_{name}; give "
                f"the {found.kind} another name"
            )
        for member in found.members:
            problem = _member_problem(config, found, member, where=f"{where}.of in {file}")
            problems += [] if problem is None else [problem]
        if isinstance(found, PosthocConfig):
            place = f"{where}.method in {file}"
            made: Any = parts.part("posthoc", found.method, where=place)
            problems += made.option_problems(found.options, where=f"{where}.options")
    return problems


def nuisance_problems(config: AnalysisConfig, schema: Schema, *, file: str) -> list[str]:
    """Return which nuisances of posthoc maps will not be there when the map is applied.

    Args:
        config: The analysis.
        schema: What the files hold.
        file: Name of the configuration, for messages.
    """
    problems = []
    taken = {name: role for role in _NO_NUISANCE for name in schema.with_role(role)}
    hidden = {SYSTEMATIC: "the variation of an event", DOMAIN: "whether an event has a label"}
    for name, found in config.posthoc.items():
        where = f"posthoc.{name}.nuisances in {file}"
        if len(set(found.nuisances)) < len(found.nuisances):
            problems.append(f"{where}: {', '.join(found.nuisances)} names a nuisance twice")
        for nuisance in dict.fromkeys(found.nuisances):
            if nuisance in schema.truth:
                what = f"truth (role of schema {schema.name})"
            elif nuisance in taken:
                what = f"the {taken[nuisance]} of schema {schema.name}"
            elif nuisance not in schema.flat_fields and nuisance in hidden:
                what = hidden[nuisance]
            else:
                if nuisance not in schema.flat_fields:
                    known = schema.flat_fields
                    problems.append(
                        unknown_name("field of the schema", nuisance, known, where=where)
                    )
                continue
            problems.append(
                f"{where}: {nuisance} is {what}, and a map is applied where only a nuisance that data have is "
                "known; name such a field, or decorrelate the model while it is trained (decorrelation)"
            )
    return problems


def in_words(config: AnalysisConfig, kind: str) -> list[str]:
    """Return one line for each map of a kind: its name, how it is made, and from what.

    Args:
        config: The analysis.
        kind: ``combination`` or ``posthoc``.
    """
    lines = []
    for _, name, found in _entries(config):
        if found.kind == kind:
            line = f"{name}: {found.method} of {', '.join(found.members)}"
            against = f" against {', '.join(found.nuisances)}" if found.nuisances else ""
            lines.append(line + against)
    return lines


def _entries(config: AnalysisConfig) -> Iterator[tuple[str, str, MapConfig]]:
    """Yield section, name and content of each map."""
    yield from (("combinations", name, found) for name, found in config.combinations.items())
    yield from (("posthoc", name, found) for name, found in config.posthoc.items())


def _member_problem(
    config: AnalysisConfig, found: MapConfig, member: str, *, where: str
) -> str | None:
    """Return why something cannot be a member; None if it can."""
    if member in config.models:
        return None
    if member not in config.maps:
        return unknown_name("model", member, config.models, where=where)
    inner = config.maps[member]
    names = ", ".join(inner.members)
    if isinstance(found, CombinationConfig) and isinstance(inner, CombinationConfig):
        return f"{where}: {member} is a combination itself; name its members ({names}) instead"
    article = "a combination" if isinstance(inner, CombinationConfig) else "a posthoc map"
    return f"{where}: {member} is {article} of {names}, and a {found.kind} takes models; name one of these"
