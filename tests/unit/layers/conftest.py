"""Random binary trees, as nested tuples and as the breadth-first arrays of ``JetTrees``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor


@dataclass
class Forest:
    """Trees whose nodes are ``(row,)`` or ``(row, left, right)``; ``row`` into ``features``."""

    roots: list[Any]
    features: Tensor
    depth: Tensor
    is_inner: Tensor
    offsets: Tensor


@pytest.fixture(scope="session")
def grow_forest() -> Callable[..., Forest]:
    def grow(leaves: list[int], *, seed: int = 0, n_features: int = 7) -> Forest:
        random = np.random.default_rng(seed)
        roots, depth, is_inner, offsets = [], [], [], [0]

        def shape(n: int) -> list[Any]:
            if n == 1:
                return []
            left = int(random.integers(1, n))
            return [shape(left), shape(n - left)]

        def number(root: list[Any]) -> Any:
            """Number the nodes breadth-first, then rebuild the tree with the numbers."""
            level, rows, d = [root], {}, 0
            while level:
                for node in level:
                    rows[id(node)] = len(depth)
                    depth.append(d)
                    is_inner.append(bool(node))
                level, d = [child for node in level for child in node], d + 1

            def numbered(node: list[Any]) -> Any:
                return (rows[id(node)], *map(numbered, node))

            return numbered(root)

        for n in leaves:
            if n:
                roots.append(number(shape(n)))
            offsets.append(len(depth))
        features = torch.from_numpy(random.normal(size=(len(depth), n_features)))
        return Forest(
            roots,
            features,
            torch.tensor(depth, dtype=torch.int64),
            torch.tensor(is_inner, dtype=torch.bool),
            torch.tensor(offsets),
        )

    return grow
