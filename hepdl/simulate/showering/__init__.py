"""Jets from the parton shower: the engines, the detector grid, the clustering, the worker pool."""

from __future__ import annotations
