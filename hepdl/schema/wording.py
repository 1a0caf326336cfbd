"""YAML files and pydantic's findings in words: file, key path, what is wrong, nearest name."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from hepdl.errors import EnvironmentFailure, HepdlError, SchemaError, nearest

__all__ = ["Problems", "find_problems", "parse_yaml", "read_yaml", "word", "word_problems"]

Problem = tuple[str, str]  # key path, what is wrong


class Problems(ValueError):
    """Several findings of one validator, each with its own key path."""

    def __init__(self, found: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{key}: {text}" for key, text in found))
        self.found = list(found)


class _Loader(yaml.SafeLoader):
    """The safe loader, which also takes note of keys that occur twice."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.duplicates: list[Problem] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        first: dict[Any, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in first:
                    text = f"key occurs twice, in lines {first[key.value]} and {line}: remove one"
                    self.duplicates.append((str(key.value), text))
                first.setdefault(key.value, line)
        return super().construct_mapping(node, deep)


def parse_yaml(path: Path, *, error: type[HepdlError]) -> tuple[dict[str, Any], list[Problem]]:
    """Return what a YAML file says, and its duplicate keys.

    Raises:
        HepdlError: ``error``: no such file, not YAML, or not a mapping.
        EnvironmentFailure: The file is there and cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as cause:
        raise error(_missing(path)) from cause
    except UnicodeDecodeError as cause:
        message = f"{path}: not a YAML file (byte {cause.start} is not text)"
        raise error(message) from cause
    except OSError as cause:
        message = f"{path}: cannot be read: {cause.strerror}"
        raise EnvironmentFailure(message) from cause
    loader = _Loader(text)
    try:
        content = loader.get_single_data()
    except (yaml.YAMLError, RecursionError) as cause:
        message = f"{path}: not valid YAML: {' '.join(str(cause).split())}"
        raise error(message) from cause
    finally:
        loader.dispose()
    if not isinstance(content, dict):
        message = f"{path}: the file must be a mapping of keys to values, not {content!r:.60}"
        raise error(message)
    return content, loader.duplicates


def read_yaml(path: Path | str, *, error: type[HepdlError] = SchemaError) -> dict[str, Any]:
    """Return what a YAML file says.

    Args:
        path: The file.
        error: What to raise when the file is at fault.

    Raises:
        HepdlError: ``error``: no such file, not YAML, not a mapping, or a key occurs twice.
        EnvironmentFailure: The file is there and cannot be read.
    """
    content, duplicates = parse_yaml(Path(path), error=error)
    if duplicates:
        raise error(word(duplicates, where=path))
    return content


def word_problems(
    error: ValidationError, model: type[BaseModel], *, where: Path | str, key: str = ""
) -> str:
    """Return all of pydantic's findings as one message.

    Args:
        error: What pydantic raised.
        model: The model that was validated; its keys are the valid names.
        where: The file.
        key: The key path of the validated part inside the file.
    """
    return word(find_problems(error, model, key=key), where=where)


def word(problems: Iterable[Problem], *, where: Path | str) -> str:
    """Return the message for problems of one file, one line each."""
    unique = dict.fromkeys(problems)
    lines = [(f"{key}: {text}" if key else text).replace("\n", "\n    ") for key, text in unique]
    if len(lines) == 1:
        return f"{where}: {lines[0]}"
    return "\n  ".join([f"{where}: {len(lines)} problems", *lines])


def find_problems(
    error: ValidationError, model: type[BaseModel], *, key: str = ""
) -> list[Problem]:
    """Return each of pydantic's findings as a key path and a sentence."""
    found: list[Problem] = []
    for finding in error.errors(include_url=False):
        location = tuple(part for part in finding["loc"] if part != "[key]")
        path = ".".join([key] * bool(key) + [str(part) for part in location])
        cause = finding.get("ctx", {}).get("error")
        if isinstance(cause, Problems):
            found += [(f"{path}.{k}".strip(".") if k else path, text) for k, text in cause.found]
        else:
            found.append((path, _sentence(finding, model, location)))
    return found


def _sentence(finding: Any, model: type[BaseModel], location: tuple[Any, ...]) -> str:
    kind, value = finding["type"], finding["input"]
    if kind == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        return f"unknown key{_suggest(str(location[-1]), known)}"
    if kind == "missing":
        return "this key is required"
    if kind in {"literal_error", "enum"}:
        known = re.findall(r"'([^']*)'", str(finding["ctx"]["expected"]))
        return f"unknown value {value!r}{_suggest(str(value), known)}"
    text = str(finding["msg"]).removeprefix("Value error, ")
    text = text[:1].lower() + text[1:]
    return text if kind == "value_error" else f"{text}, not {value!r:.60}"


def _suggest(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known)
    lower = {text.lower(): text for text in known}
    near = near or lower.get(name.lower())
    hint = f"; did you mean {near!r}?" if near else ""
    return f"{hint} (valid: {', '.join(known)})" if known else hint


def _keys_at(model: Any, location: Sequence[Any]) -> list[str]:
    """Return the keys that are valid at a place of a model; empty when the place is unclear."""
    current = model
    for part in location:
        current = _below(current, part)
    for candidate in _alternatives(current):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return [f.alias or name for name, f in candidate.model_fields.items()]
    return []


def _below(current: Any, part: Any) -> Any:
    for candidate in _alternatives(current):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            for name, info in candidate.model_fields.items():
                if part in {name, info.alias}:
                    return info.annotation
        elif get_origin(candidate) is not None:
            inner = [arg for arg in get_args(candidate) if arg is not Ellipsis]
            if inner:
                return inner[-1]
    return None


def _alternatives(current: Any) -> tuple[Any, ...]:
    return get_args(current) if get_origin(current) in {Union, UnionType} else (current,)


def _missing(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder, not a YAML file"
    beside = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
    near = nearest(path.name, beside)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"no file {path}{hint} (YAML files there: {', '.join(beside) or 'none'})"
