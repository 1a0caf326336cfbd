"""What puts a decay together again: candidate assignments, ranked by χ² or by boosted trees."""

from __future__ import annotations
