"""What every metric is given: labels, scores and event weights, checked once."""

from __future__ import annotations
