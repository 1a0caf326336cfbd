"""Columns that a process gives to all of its events: whether they can be used as they are."""

from __future__ import annotations

from hepdl.pipeline.config import AnalysisConfig
from hepdl.schema import Schema

__all__ = ["constant_problems"]


def constant_problems(config: AnalysisConfig, schema: Schema, *, file: str) -> list[str]:
    """Return what is wrong with ``processes.NAME.constants``; an empty list if nothing is.

    Args:
        config: The resolved configuration.
        schema: What the files hold.
        file: Name of the analysis, for messages.
    """
    problems = []
    taken = {*schema.flat_fields, *schema.collections}
    for name in config.constants:
        having = [process for process, of in config.processes.items() if name in of.constants]
        if name in taken:
            problems.append(
                f"processes.{having[0]}.constants in {file}: {name} is a field of schema {schema.name}, too; call "
                "the constant something else"
            )
        missing = [
            process
            for process in config.processes
            if process not in having and process not in config.unlabelled
        ]
        problems += [
            f"processes.{process}.constants in {file}: {name} is missing, which {having[0]} has; every process "
            "needs a value"
            for process in missing
        ]
    return problems
