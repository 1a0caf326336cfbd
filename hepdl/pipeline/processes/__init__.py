"""One run in several processes: who starts them, what they say to each other."""

from __future__ import annotations
