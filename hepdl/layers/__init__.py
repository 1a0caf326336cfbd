"""Building blocks of networks."""

from __future__ import annotations

from hepdl.layers.dense import DenseBlock, DenseStack
from hepdl.layers.embedding import NumericalEmbedding, make_embedding
from hepdl.layers.initialisation import initialise_
from hepdl.layers.lstm import Lstm, LstmTrace
from hepdl.layers.recursive import (
    GatedCell,
    LevelOrder,
    RecursiveEmbedding,
    SimpleCell,
    arrange_levels,
)
from hepdl.layers.swiglu import GatedBlock, SwiGLU

__all__ = [
    "DenseBlock",
    "DenseStack",
    "GatedBlock",
    "GatedCell",
    "LevelOrder",
    "Lstm",
    "LstmTrace",
    "NumericalEmbedding",
    "RecursiveEmbedding",
    "SimpleCell",
    "SwiGLU",
    "arrange_levels",
    "initialise_",
    "make_embedding",
]
