"""What the boosted trees stand on."""

from __future__ import annotations
