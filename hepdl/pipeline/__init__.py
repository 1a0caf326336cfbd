"""The analysis configuration, names to parts, and the stages."""

from __future__ import annotations
