"""A recursive network that follows the jet's clustering tree.

Each jet is a binary tree of its constituents (``hepdl.kinematics``), seven features a node. A
recursive cell runs from the leaves to the root (``hepdl.layers.recursive``); the root's state,
and jet-level features if there are any, go through three dense layers.

Reference:
    G. Louppe, K. Cho, C. Becot, K. Cranmer, "QCD-aware recursive neural networks for jet
    physics", JHEP 01 (2019) 057, arXiv:1702.00748.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.events import Events, Inputs, TreeInputs, flat_features
from hepdl.kinematics import NODE_FEATURES, TOPOLOGIES
from hepdl.layers import RecursiveEmbedding, arrange_levels
from hepdl.layers.recursive import Cell, glorot_

__all__ = ["RecNN"]


class RecNN(nn.Module):
    """A recursive network on jet trees.

    The paper's output is ``logistic(2x)`` with ``x`` the last layer's output; ``forward`` returns
    ``2x``, so that here too ``sigmoid(logits)`` is the score, and it is the paper's score.

    A jet without constituents has the embedding 0.

    Args:
        topology: How the tree is built, a name of ``hepdl.kinematics.TOPOLOGIES``.
        cell: ``"simple"`` or ``"gated"``.
        hidden: Size of the state of each node.
        collection: The collection that holds the constituents.
        preprocess: Rotate, boost and flip each jet to a standard frame first.
        features: Flat features of the jet that join the root's state.
        root_children: Take the states of the root's two children instead of the root's (the
            paper's variants "sd" and "gd").
        tree_seed: For the topology ``random`` only.
    """

    def __init__(
        self,
        topology: str = "kt",
        cell: Cell = "simple",
        *,
        hidden: int = 40,
        collection: str = "constituents",
        preprocess: bool = True,
        features: Sequence[str] = (),
        root_children: bool = False,
        tree_seed: int = 0,
    ) -> None:
        super().__init__()
        if topology not in TOPOLOGIES:
            message = unknown_name("topology", topology, TOPOLOGIES, where="topology of recnn")
            raise ConfigError(message)
        if hidden < 1:
            message = f"hidden is {hidden}; it must be at least 1"
            raise ConfigError(message)
        trees = TreeInputs(collection, topology=topology, preprocess=preprocess, seed=tree_seed)
        self.inputs = Inputs(features=tuple(features), trees=trees)
        self.embedding = RecursiveEmbedding(
            len(NODE_FEATURES), hidden, cell=cell, root_children=root_children
        )
        self.head = nn.Sequential(
            nn.Linear(self.embedding.out_features + len(features), hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew, as in the paper's code."""
        self.embedding.reset_parameters(generator)
        linears = [layer for layer in self.head if isinstance(layer, nn.Linear)]
        for linear in linears:
            glorot_(linear.weight, generator=generator)
            nn.init.zeros_(linear.bias)
        nn.init.ones_(linears[-1].bias)

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        """Return the nodes in level order, what ``RecursiveEmbedding`` needs, and the features.

        Shapes:
            ``(n_nodes, 7)``, ``(n_inner,)``, ``(n_levels, 2)`` on the CPU, ``(n_roots,)``,
            ``(n_events, n_features)``.
        """
        trees = events.jet_trees
        if trees is None:
            message = "these events have no jet trees; call hepdl.events.trees.attach_trees first"
            raise DataError(message)
        order, inner, sizes, jets = arrange_levels(trees.depth, trees.is_inner, trees.offsets)
        nodes = trees.features.index_select(0, order)
        return nodes, inner, sizes, jets, flat_features(events, self.inputs.features)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the logits, ``(n_events,)``."""
        nodes, inner, sizes, jets, flat = tensors
        if len(jets) == 0:
            embedding = nodes.new_zeros(len(flat), self.embedding.out_features)
        else:
            embedding = self.embedding(nodes, inner, sizes)
        if len(jets) < len(flat):
            empty = embedding.new_zeros(len(flat), self.embedding.out_features)
            embedding = empty.index_copy(0, jets, embedding)
        if flat.shape[1]:
            embedding = torch.cat((embedding, flat), dim=1)
        logits: Tensor = self.head(embedding)
        return 2 * logits.squeeze(1)
