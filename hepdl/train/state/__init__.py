"""What a loop must remember to continue exactly: checkpoints, signals, options."""

from __future__ import annotations
