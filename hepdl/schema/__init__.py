"""What a file holds: branches, roles, units, types."""

from __future__ import annotations
