"""Sums over all pairs of events without a loop over pairs; listings ignore it."""

from __future__ import annotations
