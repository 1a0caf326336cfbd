"""Open one TTree or RNTuple and read ranges of its branches; uproot's errors stop here."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import uproot

from hepdl.errors import DataError, EnvironmentFailure, HepdlError, nearest
from hepdl.io.sources import FileSource

__all__ = ["BranchType", "FileProblemError", "RootTable", "check_header", "open_file", "open_table"]

TABLE_CLASSES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple", "ROOT::Experimental::RNTuple")
# How many entries of an RNTuple tell how large one is.
N_SAMPLE = 100
# ROOT files beyond this version number have 64-bit positions in their header.
BIG_FILE_VERSION = 1_000_000


class FileProblemError(DataError):
    """A file as a whole cannot be used; on request such files are skipped and named."""


@dataclass(frozen=True)
class BranchType:
    """What one entry of a branch is.

    Attributes:
        depth: 1 for one value per entry, 2 for a list, 3 for a list of lists.
        leaf: The innermost type, e.g. ``float32``; ``text``, or awkward's words for the rest.
        problem: Why the branch cannot be read, or None.
    """

    depth: int
    leaf: str
    problem: str | None = None


class RootTable:
    """One open TTree or RNTuple.

    Attributes:
        file: What messages call it, ``path:ttree``.
        n_entries: Number of entries.
    """

    def __init__(self, path: str, name: str, content: Any) -> None:
        self.file = f"{path}:{name}"
        self.content = content
        self.n_entries = int(content.num_entries)
        self.is_rntuple = "RNTuple" in type(content).__name__
        self.branches: dict[str, Any] = {}
        if self.is_rntuple:
            # `iteritems` takes seconds for a thousand fields; parts of a variant have no path.
            named = ((field.path, field) for field in content.all_fields)
            self.branches = {path: field for path, field in named if path}
        else:
            for key, branch in content.iteritems(recursive=True):
                self.branches.setdefault(key, branch)
            # `Jet/Jet.PT` may also be called `Jet.PT`
            for branch in list(self.branches.values()):
                self.branches.setdefault(branch.name, branch)

    def type_of(self, branch: str) -> BranchType:
        """Return what one entry of a branch is; no data are read."""
        content = self.branches[branch]
        try:
            if self.is_rntuple:
                return _describe(
                    content.array(entry_start=0, entry_stop=0, library="ak").type.content
                )
            # Of a TTree even an empty range reads a basket, its form does not.
            return _describe(content.interpretation.awkward_form(content.file).type)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  uproot raises almost anything for odd branches
            return BranchType(0, "unreadable", _reason(error))

    def array(self, branch: str, start: int, stop: int) -> ak.Array:
        """Return entries ``start`` to ``stop`` of a branch.

        Raises:
            DataError: They cannot be decoded.
        """
        try:
            values = self.branches[branch].array(entry_start=start, entry_stop=stop, library="ak")
        except MemoryError:
            raise
        except Exception as error:
            raise DataError(self._damaged(branch, start, stop, _reason(error))) from error
        if len(values) != stop - start:
            raise DataError(self._damaged(branch, start, stop, f"it gives {len(values)} entries"))
        return values

    def _damaged(self, branch: str, start: int, stop: int, reason: str) -> str:
        return (
            f"{self.file}: branch {branch!r}, entries {start} to {stop - 1}, cannot be decoded "
            f"({reason}): the file is damaged, fetch or write it again"
        )

    def entries_for(self, branches: Iterable[str], n_bytes: int) -> int:
        """Return how many entries of some branches fill ``n_bytes`` in memory, at least 1."""
        if self.n_entries == 0:
            return 1
        if self.is_rntuple:  # uproot knows sizes of all fields together only: look at a few entries
            n_seen = min(N_SAMPLE, self.n_entries)
            size = sum(ak.to_packed(self.array(name, 0, n_seen)).nbytes for name in set(branches))
        else:
            n_seen = self.n_entries
            size = sum(int(self.branches[name].uncompressed_bytes) for name in set(branches))
        return int(max(1, min(n_bytes * n_seen // max(size, 1), self.n_entries)))


def check_header(path: str) -> None:
    """Check that a file is a complete ROOT file by its first bytes.

    Raises:
        FileProblemError: It is not.
        EnvironmentFailure: It cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(512)
        size = Path(path).stat().st_size
    except FileNotFoundError as error:
        message = f"{path}: there is no such file"
        raise FileProblemError(message) from error
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
        raise EnvironmentFailure(message) from error
    if not head.startswith(b"root"):
        message = f"{path}: not a ROOT file: {_what_it_is(head)}"
        raise FileProblemError(message)
    end = _declared_size(head)
    if end is None or size < end:
        said = "is incomplete" if end is None else f"says {end} bytes"
        message = f"{path}: the file is truncated: its header {said}, it has {size}; fetch it again"
        raise FileProblemError(message)


@contextmanager
def open_file(path: str) -> Iterator[Any]:
    """Open a ROOT file for reading.

    Raises:
        FileProblemError: It is not a ROOT file, truncated or damaged.
        EnvironmentFailure: It cannot be read.
    """
    if "://" not in path:
        check_header(path)
    try:
        # A mapping keeps uproot from looking for a ':' in the path.
        file = uproot.open({path: None}, object_cache=None, array_cache=None)
    except MemoryError:
        raise
    except Exception as error:
        message = f"{path}: the ROOT file cannot be opened ({_reason(error)}): is it damaged?"
        raise FileProblemError(message) from error
    with file:
        yield file


@contextmanager
def open_table(source: FileSource, ttree: str) -> Iterator[RootTable]:
    """Open the TTree or RNTuple of a file.

    Args:
        source: The file; its ``ttree`` wins over the argument.
        ttree: The name that the schema gives.

    Raises:
        FileProblemError: The file cannot be used or has no such ttree.
        EnvironmentFailure: The file cannot be read.
    """
    name = source.ttree or ttree
    with open_file(source.path) as file:
        known = table_names(file)
        if name.partition(";")[0] not in known:
            raise FileProblemError(_no_ttree(source, name, known, file))
        try:
            table = RootTable(source.path, name, file[name])
        except (MemoryError, HepdlError):
            raise
        except Exception as error:
            message = f"{source.path}: ttree {name!r} cannot be opened ({_reason(error)})"
            raise FileProblemError(message) from error
        yield table


def table_names(file: Any) -> list[str]:
    """Return the names of the TTrees and RNTuples of an open file, without cycles."""
    classes = file.classnames(recursive=True, cycle=False)
    return [name for name, kind in classes.items() if kind in TABLE_CLASSES]


def _no_ttree(source: FileSource, name: str, known: Sequence[str], file: Any) -> str:
    near = nearest(name, known)
    hint = f"; did you mean {near!r}?" if near else ""
    listed = ", ".join(known[:10]) or "none"
    objects = "" if known else f"; it holds {len(file.keys(recursive=True))} other object(s)"
    return (
        f"{source.path}: no ttree {name!r}{hint} (ttrees and RNTuples: {listed}{objects}); "
        f"name it under 'ttree:' in the schema or as {source.path}:NAME"
    )


def _describe(type_: Any) -> BranchType:
    depth, inner = 1, type_
    while isinstance(inner, ak.types.ListType | ak.types.RegularType):
        if inner.parameters.get("__array__") in {"string", "bytestring"}:
            return BranchType(depth, "text")
        depth, inner = depth + 1, inner.content
    return BranchType(depth, str(getattr(inner, "primitive", inner)))


def _declared_size(head: bytes) -> int | None:
    """Return the size that the header states; None if it does not, as of a file never closed."""
    if len(head) < 20:
        return None
    (version,) = struct.unpack(">i", head[4:8])
    wide = version >= BIG_FILE_VERSION
    (end,) = struct.unpack(">q" if wide else ">i", head[12:20] if wide else head[12:16])
    return int(end) if end > 0 else None


def _what_it_is(head: bytes) -> str:
    start = head.lstrip().lower()
    if not head:
        return "it is empty (0 bytes); was it copied to the end?"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; run 'git lfs pull'"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "it is a web page (an error page that was saved?); download it again"
    if head.startswith(b"\x89HDF"):
        return "it is an HDF5 file"
    if head.startswith(b"PAR1"):
        return "it is a Parquet file"
    return f"it begins with {head[:12]!r} instead of b'root'"


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__
