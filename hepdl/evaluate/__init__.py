"""Numbers from scores, on numpy arrays: no torch, no files."""

from __future__ import annotations
