"""Building blocks of networks."""

from __future__ import annotations

from hepdl.layers.dense import DenseBlock, DenseStack
from hepdl.layers.recursive import (
    GatedCell,
    LevelOrder,
    RecursiveEmbedding,
    SimpleCell,
    arrange_levels,
)

__all__ = [
    "DenseBlock",
    "DenseStack",
    "GatedCell",
    "LevelOrder",
    "RecursiveEmbedding",
    "SimpleCell",
    "arrange_levels",
]
