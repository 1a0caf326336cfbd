"""The stages of a run; each leaves an artefact on disk."""

from __future__ import annotations
