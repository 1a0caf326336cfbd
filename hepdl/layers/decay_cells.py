"""Recursive cells that follow a fixed decay from its leaves to its root, one for each particle.

Every node has an embedding ``u``. The state of a leaf is its ``u``; that of a particle is

    h = relu(W [daughters; u] + b)

with a matrix ``W`` of its own. Unlike daughters stand side by side, in a fixed order. Of identical
ones (``identical_nodes``) mean and maximum of their states are taken, which say the same whichever
comes first; identical particles that decay share their cell. So the state of the root does not
change when identical branches are exchanged. With ``residual`` ``u`` is added to ``h``.

All events, and identical particles, are rows of one matrix product.

Reference:
    Z. Guo's thesis (Aix-Marseille, 2019), after G. Louppe et al., "QCD-aware recursive neural
    networks for jet physics", arXiv:1702.00748. What is done with identical daughters is a deep
    set of two or more, M. Zaheer et al., arXiv:1703.06114; in the thesis they stand side by side.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError
from hepdl.kinematics import Decay
from hepdl.layers.decay_nodes import identical_nodes

__all__ = ["DecayCells"]


class DecayCells(nn.Module):
    """The cells of a decay; gives the state of its root.

    Args:
        decay: The decay.
        hidden: Size of the embedding and of the state of each node.
        symmetric: Treat identical daughters alike; otherwise each particle has its own cell, and
            all daughters stand side by side.
        residual: Add a particle's embedding to its state.
        dropout: Probability that a number of a particle's state is dropped while training.
        initialisation: ``"he"``, or ``"glorot"`` (uniform, as Keras does).

    Attributes:
        cells: The linear map of each particle, or of identical ones under the name of the first.
    """

    def __init__(
        self,
        decay: Decay,
        hidden: int,
        *,
        symmetric: bool = True,
        residual: bool = False,
        dropout: float = 0.0,
        initialisation: str = "he",
    ) -> None:
        super().__init__()
        if hidden < 1 or not 0 <= dropout < 1:
            message = (
                f"hidden is {hidden} and dropout {dropout}; hidden is at least 1, and dropout "
            )
            message += "a probability, 0 <= dropout < 1"
            raise ConfigError(message)
        self.residual, self.initialisation = residual, initialisation
        self.n_leaves, self.n_nodes = len(decay.leaves), len(decay.names)
        place = {name: node for node, name in enumerate(decay.names)}
        first = identical_nodes(decay) if symmetric else tuple(range(self.n_nodes))
        # Of each particle: its daughters, identical ones together, in an order that identical
        # particles share.
        self._daughters: dict[int, list[list[int]]] = {}
        self._alike: dict[int, list[int]] = defaultdict(list)
        for particle in decay.particles:
            groups: dict[int, list[int]] = defaultdict(list)
            for daughter in particle.daughters:
                groups[first[place[daughter]]].append(place[daughter])
            order = sorted(groups) if symmetric else list(groups)
            node = place[particle.name]
            self._daughters[node] = [groups[key] for key in order]
            self._alike[first[node]].append(node)
        self.cells = nn.ModuleDict(
            {
                decay.names[node]: nn.Linear(self._width(node, hidden), hidden)
                for node in self._alike
            }
        )
        self._names = {node: decay.names[node] for node in self._alike}
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.reset_parameters()

    def extra_repr(self) -> str:
        """Return what the layers do not show."""
        return (
            f"residual={self.residual}, initialisation={self.initialisation}, "
            f"daughters={list(self._daughters.values())}"
        )

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew; biases are zero."""
        for cell in self.cells.values():
            assert isinstance(cell, nn.Linear)
            if self.initialisation == "he":
                nn.init.kaiming_normal_(cell.weight, nonlinearity="relu", generator=generator)
            else:
                nn.init.xavier_uniform_(cell.weight, generator=generator)
            nn.init.zeros_(cell.bias)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the state of the root.

        Args:
            embeddings: Of each node, in the order of ``Decay.names``.

        Shapes:
            ``(n_nodes, n_rows, hidden)`` → ``(n_rows, hidden)``.
        """
        # One unbind: the gradient of each index would be a tensor of all nodes, filled with zeros.
        nodes = embeddings.unbind(0)
        states = dict(enumerate(nodes[: self.n_leaves]))
        for node, alike in self._alike.items():
            inputs = torch.cat([self._input(one, states, nodes[one]) for one in alike])
            found = torch.relu(self.cells[self._names[node]](inputs))
            if self.residual:
                found = found + torch.cat([nodes[one] for one in alike])
            found = self.dropout(found)
            states |= zip(alike, found.chunk(len(alike)), strict=True)
        return states[self.n_nodes - 1]

    def _input(self, node: int, states: dict[int, Tensor], embedding: Tensor) -> Tensor:
        """Return the states of the daughters and the embedding of a particle, side by side."""
        columns = []
        for group in self._daughters[node]:
            if len(group) == 1:
                columns.append(states[group[0]])
                continue
            alike = torch.stack([states[daughter] for daughter in group])
            columns += [alike.mean(0), alike.amax(0)]
        return torch.cat([*columns, embedding], dim=-1)

    def _width(self, node: int, hidden: int) -> int:
        return hidden * (1 + sum(1 if len(group) == 1 else 2 for group in self._daughters[node]))
