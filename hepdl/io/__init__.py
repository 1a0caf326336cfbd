"""Files to awkward arrays and back: the only door to uproot and h5py."""

from __future__ import annotations

from hepdl.io.accounting import Accounting
from hepdl.io.draft import draft_schema
from hepdl.io.read import check_files, iterate, read
from hepdl.io.sources import FileSource, expand, file_checksum
from hepdl.io.summary import FileSummary, inspect
from hepdl.io.sums import sum_branch
from hepdl.io.write import write_root, write_table

__all__ = [
    "Accounting",
    "FileSource",
    "FileSummary",
    "check_files",
    "draft_schema",
    "expand",
    "file_checksum",
    "inspect",
    "iterate",
    "read",
    "sum_branch",
    "write_root",
    "write_table",
]
