"""Statistical errors from replicas of the test sample in which whole events are drawn again."""

from __future__ import annotations
