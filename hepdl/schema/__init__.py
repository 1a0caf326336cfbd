"""What a file holds: branches, roles, units, types."""

from __future__ import annotations

from hepdl.schema.apply import add_computed, add_derived, complete, select
from hepdl.schema.expressions import Expression, evaluate
from hepdl.schema.load import load_schema
from hepdl.schema.model import Schema, StoredField
from hepdl.schema.wording import read_yaml, word_problems

__all__ = [
    "Expression",
    "Schema",
    "StoredField",
    "add_computed",
    "add_derived",
    "complete",
    "evaluate",
    "load_schema",
    "read_yaml",
    "select",
    "word_problems",
]
