"""What the penalties of ``hepdl.losses`` are made of; listings ignore it."""

from __future__ import annotations
