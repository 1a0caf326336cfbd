"""The record of a run: the only door to MLflow."""

from __future__ import annotations
