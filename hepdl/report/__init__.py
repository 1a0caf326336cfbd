"""Figures, tables and the HTML page of a run."""

from __future__ import annotations
