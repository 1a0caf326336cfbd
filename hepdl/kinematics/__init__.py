"""Four-vectors, angles, jet clustering and its history: pure functions on numpy arrays."""

from __future__ import annotations
