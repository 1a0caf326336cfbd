"""Options of maps, as YAML gives them: numbers of the right kind and size."""

from __future__ import annotations

from typing import Any

from hepdl.errors import DataError

__all__ = ["check_share", "check_whole"]


def check_whole(name: str, value: Any, *, least: int) -> None:
    """Refuse what is no whole number, or one that is too small.

    Raises:
        DataError: Names the option, its value and what would be right.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        message = f"{name} is {value!r}; give a whole number >= {least}"
        raise DataError(message)


def check_share(name: str, value: Any, *, closed: bool = False) -> None:
    """Refuse what is no number between 0 and 1.

    Args:
        name: What a message calls it.
        value: From YAML.
        closed: Whether 0 and 1 are right, too.

    Raises:
        DataError: Names the option, its value and what would be right.
    """
    is_number = not isinstance(value, bool) and isinstance(value, int | float)
    if not is_number or not (0.0 <= value <= 1.0 if closed else 0.0 < value < 1.0):
        message = f"{name} is {value!r}; give a number between 0 and 1"
        raise DataError(message)
