"""The record of a run: JSON lines in its output folder, and MLflow, whose only door this is."""

from __future__ import annotations

from hepdl.track.recorder import Recorder
from hepdl.track.send import Sent, send, sync
from hepdl.track.store import resolve_uri
from hepdl.track.table import flatten, table

__all__ = ["Recorder", "Sent", "flatten", "resolve_uri", "send", "sync", "table"]
