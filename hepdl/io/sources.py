"""From what a user writes (paths, globs, ``file.root:ttree``) to a list of files."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hepdl.errors import ConfigError, EnvironmentFailure, nearest

__all__ = ["FileSource", "expand", "expand_with_problems", "file_checksum"]

# `folder/file.root:ttree`; a `::` or `://` does not separate a ttree.
_WITH_TTREE = re.compile(r"^(?P<path>.+?\.root):(?P<ttree>[^:/][^:]*)$")


@dataclass(frozen=True)
class FileSource:
    """One file to read.

    Attributes:
        path: Its path or URL.
        ttree: The TTree or RNTuple to read, or None for the one that the schema names.
    """

    path: str
    ttree: str | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.ttree}" if self.ttree else self.path


def expand(files: str | Path | Iterable[str | Path]) -> list[FileSource]:
    """Return the files that paths and globs stand for, each glob in alphabetical order.

    Args:
        files: One or more of ``a.root``, ``folder/*.root``, ``folder/**/*.root``,
            ``a.root:ttree``.

    Raises:
        ConfigError: Names every path that does not exist, is a folder or occurs twice, and every
            glob that matches nothing.
    """
    sources, problems = expand_with_problems(files)
    if problems:
        raise ConfigError("\n".join(problems.values()))
    return sources


def expand_with_problems(
    files: str | Path | Iterable[str | Path],
) -> tuple[list[FileSource], dict[str, str]]:
    """Return the files that can be found, and a sentence for each pattern that is at fault."""
    patterns = [files] if isinstance(files, str | Path) else list(files)
    sources: dict[FileSource, str] = {}
    problems: dict[str, str] = {}
    for pattern in (str(p) for p in patterns):
        found, problem = _expand_one(pattern)
        if problem:
            problems[pattern] = problem
        for source in found:
            known = FileSource(_identity(source.path), source.ttree)
            if known in {FileSource(_identity(s.path), s.ttree) for s in sources}:
                text = f"{source} is listed twice (by {pattern!r}): its events would count twice"
                problems[f"{pattern} → {source}"] = text
            sources.setdefault(source, pattern)
    if not patterns:
        problems[""] = "no files are given: name at least one ROOT file"
    return list(sources), problems


def file_checksum(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        EnvironmentFailure: The file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
        raise EnvironmentFailure(message) from error


def _identity(path: str) -> str:
    return path if "://" in path else str(Path(path).resolve())


def _expand_one(pattern: str) -> tuple[list[FileSource], str | None]:
    if "://" in pattern:
        return [_split(pattern)], None
    source = _split(pattern)
    path = Path(source.path).expanduser()
    if path.is_dir():
        inside = f"{source.path.rstrip('/')}/*.root"
        return [], f"{pattern} is a folder: name its files, e.g. {inside}"
    if path.exists():
        return [FileSource(str(path), source.ttree)], None
    if not glob.has_magic(source.path):
        return [], _missing(path)
    found = glob.glob(str(path), recursive=True)  # noqa: PTH207  Path.glob has no absolute patterns
    matches = sorted(match for match in found if not Path(match).is_dir())
    if matches:
        return [FileSource(match, source.ttree) for match in matches], None
    parent = _existing_parent(path)
    return [], f"nothing matches {pattern!r}; in {parent}: {_listing(parent)}"


def _split(text: str) -> FileSource:
    match = _WITH_TTREE.match(text)
    if match is None or Path(text).exists():
        return FileSource(text)
    return FileSource(match["path"], match["ttree"])


def _missing(path: Path) -> str:
    parent = _existing_parent(path)
    near = nearest(path.name, [p.name for p in parent.iterdir()]) if parent == path.parent else None
    hint = f"; did you mean {near!r}?" if near else ""
    return f"no file {path}{hint} (in {parent}: {_listing(parent)})"


def _existing_parent(path: Path) -> Path:
    return next((p for p in path.parents if p.is_dir() and not glob.has_magic(str(p))), Path())


def _listing(folder: Path, most: int = 5) -> str:
    names: Sequence[str] = sorted(p.name for p in folder.glob("*"))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "nothing"
