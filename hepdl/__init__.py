"""hepdl: deep learning for high-energy-physics analyses."""

from __future__ import annotations

__version__ = "0.1.0"
