"""What became of every entry and every file: nothing is lost silently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Accounting"]


@dataclass
class Accounting:
    """Counts of entries and files; always ``read == selected + sum(rejected.values())``.

    Attributes:
        read: Entries read.
        rejected: Entries rejected by each cut; an entry is charged to the first cut it fails.
        selected: Entries kept.
        files: Entries read from each file, by ``path:ttree``.
        skipped: Files that could not be read and were skipped on request → reason.
    """

    read: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    selected: int = 0
    files: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, file: str, n_read: int, rejected: Mapping[str, int]) -> None:
        """Count the entries of one chunk of a file."""
        self.read += n_read
        self.files[file] = self.files.get(file, 0) + n_read
        for cut, count in rejected.items():
            self.rejected[cut] = self.rejected.get(cut, 0) + count
        self.selected += n_read - sum(rejected.values())

    def merge(self, other: Accounting) -> None:
        """Add what ``other`` counted."""
        self.read += other.read
        self.selected += other.selected
        for cut, count in other.rejected.items():
            self.rejected[cut] = self.rejected.get(cut, 0) + count
        for file, count in other.files.items():
            self.files[file] = self.files.get(file, 0) + count
        self.skipped.update(other.skipped)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as plain data; files as their number, skipped ones by name."""
        return {
            "read": self.read,
            "rejected": dict(self.rejected),
            "selected": self.selected,
            "files": len(self.files),
            "skipped": dict(self.skipped),
        }

    def __str__(self) -> str:
        cuts = ", ".join(f"{count} by {cut}" for cut, count in self.rejected.items())
        skipped = f"; skipped {', '.join(self.skipped)}" if self.skipped else ""
        return (
            f"{self.read} entries read from {len(self.files)} file(s), "
            f"{sum(self.rejected.values())} rejected{f' ({cuts})' if cuts else ''}, "
            f"{self.selected} selected{skipped}"
        )
