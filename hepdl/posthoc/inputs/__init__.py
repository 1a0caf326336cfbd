"""What every combination is given: the scores of several models, checked once."""

from __future__ import annotations
