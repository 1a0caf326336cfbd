"""Read a schema from YAML and report everything that is wrong with it at once."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from hepdl.errors import SchemaError
from hepdl.schema.checks import cross_problems
from hepdl.schema.model import Schema
from hepdl.schema.wording import Problems, find_problems, parse_yaml, word

__all__ = ["load_schema"]


def load_schema(path: Path | str) -> Schema:
    """Read and check a data schema.

    Args:
        path: The YAML file.

    Raises:
        SchemaError: Every problem of the file, each with its key path and the nearest valid name.
    """
    path = Path(path)
    content, problems = parse_yaml(path, error=SchemaError)
    schema = None
    try:
        schema = Schema.model_validate(content)
    except ValidationError as error:
        problems += find_problems(error, Schema)
        crossed = any(
            isinstance(finding.get("ctx", {}).get("error"), Problems) for finding in error.errors()
        )
        if not crossed:  # pydantic stopped before the checks across keys
            problems += cross_problems(content)
    if schema is None or problems:
        raise SchemaError(word(problems, where=path))
    return schema
