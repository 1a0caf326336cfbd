"""Building blocks of networks."""

from __future__ import annotations
