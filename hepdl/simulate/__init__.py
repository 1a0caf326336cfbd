"""Where data come from when the user has none."""

from __future__ import annotations
