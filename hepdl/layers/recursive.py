"""Recursive cells that follow a binary clustering tree from its leaves to its root.

Every node has an embedding of its own features, ``u = relu(W_u x + b_u)``. A leaf's state is its
``u``; an inner node's state combines the states of its two children with its ``u``:

* ``SimpleCell``: ``h = relu(W_h [h_L; h_R; u] + b_h)``;
* ``GatedCell``: reset gates ``r = s(W_r v + b_r)`` on ``v = [h_L; h_R; u]``, a candidate
  ``c = relu(W_h (r v) + b_h)``, and ``h = z_C c + z_L h_L + z_R h_R + z_N u`` with
  ``z = softmax(W_z [c; v] + b_z)`` over the four groups, separately for each hidden unit;

where ``s(x) = logistic(2x)``, as in the paper's code.

A minibatch is laid out level by level. The rows of a level are exactly the children of the inner
nodes of the level above, siblings adjacent and in the order of their parents, so that the pair
``[h_L; h_R]`` of all inner nodes of a level is a view of the level below: nothing is gathered.
What does not depend on the children is computed for all nodes at once.

Reference:
    G. Louppe, K. Cho, C. Becot, K. Cranmer, "QCD-aware recursive neural networks for jet
    physics", JHEP 01 (2019) 057, arXiv:1702.00748.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError, unknown_name

__all__ = [
    "CELLS",
    "Cell",
    "GatedCell",
    "LevelOrder",
    "RecursiveEmbedding",
    "SimpleCell",
    "arrange_levels",
    "glorot_",
]

Cell = Literal["simple", "gated"]

# Scale of the uniform initialisation and gain of the orthogonal one, as in the paper's code.
GLOROT_SCALE = 0.1
ORTHOGONAL_GAIN = 1.1


def glorot_(
    weight: Tensor, *, scale: float = GLOROT_SCALE, generator: torch.Generator | None = None
) -> None:
    """Fill ``weight`` uniformly within ``scale * sqrt(6 / (n_in + n_out))``, in place."""
    nn.init.xavier_uniform_(weight, gain=scale, generator=generator)


class LevelOrder(NamedTuple):
    """Where the nodes of a minibatch go.

    Attributes:
        order: The node that stands in each row, ``(n_nodes,)`` int64.
        inner: The rows that hold inner nodes, ascending, ``(n_inner,)`` int64.
        sizes: Number of nodes and number of inner nodes of each level, root level first,
            ``(n_levels, 2)`` int64, on the CPU.
        jets: The jet of each root row, ``(n_roots,)`` int64; jets without any node have no root.
    """

    order: Tensor
    inner: Tensor
    sizes: Tensor
    jets: Tensor


def arrange_levels(depth: Tensor, is_inner: Tensor, offsets: Tensor) -> LevelOrder:
    """Arrange the breadth-first trees of a minibatch level by level.

    Args:
        depth: Distance of each node from its root.
        is_inner: True for nodes with two children.
        offsets: First node of each jet, and the number of nodes at the end.

    Shapes:
        depth and is_inner ``(n_nodes,)``, offsets ``(n_jets + 1,)``.

    >>> depth = torch.tensor([0, 0, 1, 1])  # a jet of one constituent, a jet of two
    >>> is_inner = torch.tensor([False, True, False, False])
    >>> levels = arrange_levels(depth, is_inner, torch.tensor([0, 1, 4]))
    >>> levels.order.tolist(), levels.inner.tolist(), levels.sizes.tolist()
    ([0, 1, 2, 3], [1], [[2, 1], [2, 0]])
    """
    # Stable, so that within a level the jets stay in order, and so do the nodes of each jet:
    # then children come in the order of their parents.
    order = torch.sort(depth, stable=True).indices
    nodes = torch.bincount(depth)
    inner_nodes = torch.bincount(depth[is_inner], minlength=len(nodes))
    return LevelOrder(
        order=order,
        inner=is_inner[order].nonzero().squeeze(1),
        sizes=torch.stack((nodes, inner_nodes), dim=1).cpu(),
        jets=offsets.diff().nonzero().squeeze(1),
    )


class SimpleCell(nn.Module):
    """``h = relu(W_h [h_L; h_R; u] + b_h)``."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.combine = nn.Linear(3 * hidden, hidden)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew: orthogonal, as in the paper's code."""
        nn.init.orthogonal_(self.combine.weight, gain=ORTHOGONAL_GAIN, generator=generator)
        nn.init.zeros_(self.combine.bias)

    def constants(self, u: Tensor) -> Tensor:
        """Return what the own features ``u`` of all inner nodes contribute, ``(n_inner, H)``."""
        weight = self.combine.weight[:, 2 * self.hidden :]
        return torch.addmm(self.combine.bias, u, weight.t())

    def weights(self) -> tuple[Tensor, ...]:
        """Return the matrices that ``step`` multiplies with, sliced once for all levels."""
        return (self.combine.weight[:, : 2 * self.hidden].t(),)

    def step(
        self, children: Tensor, u: Tensor, constant: Tensor, weights: tuple[Tensor, ...]
    ) -> Tensor:
        """Return the states of the inner nodes of one level, ``(n_inner, H)``."""
        return torch.relu(torch.addmm(constant, children, weights[0]))


class GatedCell(nn.Module):
    """A candidate state, its children and its own features, mixed by gates."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.combine = nn.Linear(3 * hidden, hidden)
        self.reset_gates = nn.Linear(3 * hidden, 3 * hidden)
        self.mix_gates = nn.Linear(4 * hidden, 4 * hidden)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew: orthogonal and small uniform, as in the paper's code."""
        nn.init.orthogonal_(self.combine.weight, gain=ORTHOGONAL_GAIN, generator=generator)
        glorot_(self.reset_gates.weight, generator=generator)
        glorot_(self.mix_gates.weight, generator=generator)
        for linear in (self.combine, self.reset_gates, self.mix_gates):
            nn.init.zeros_(linear.bias)

    def _gate_weight(self) -> Tensor:
        # Both gates act on v, so one product serves both; the 2 is that of logistic(2x), and a
        # factor of two costs no precision.
        return torch.cat((2 * self.reset_gates.weight, self.mix_gates.weight[:, self.hidden :]))

    def constants(self, u: Tensor) -> Tensor:
        """Return what the own features ``u`` of all inner nodes contribute, ``(n_inner, 7H)``."""
        bias = torch.cat((2 * self.reset_gates.bias, self.mix_gates.bias))
        return torch.addmm(bias, u, self._gate_weight()[:, 2 * self.hidden :].t())

    def weights(self) -> tuple[Tensor, ...]:
        """Return the matrices that ``step`` multiplies with, sliced once for all levels."""
        return (
            self._gate_weight()[:, : 2 * self.hidden].t(),
            self.combine.weight.t(),
            self.mix_gates.weight[:, : self.hidden].t(),
        )

    def step(
        self, children: Tensor, u: Tensor, constant: Tensor, weights: tuple[Tensor, ...]
    ) -> Tensor:
        """Return the states of the inner nodes of one level, ``(n_inner, H)``."""
        gates, combine, mix = weights
        hidden = self.hidden
        products = torch.addmm(constant, children, gates)
        reset, mixing = products.split((3 * hidden, 4 * hidden), dim=1)
        inputs = torch.cat((children, u), dim=1)
        candidate = torch.relu(
            torch.addmm(self.combine.bias, torch.sigmoid(reset) * inputs, combine)
        )
        mixing = torch.addmm(mixing, candidate, mix)
        share = torch.softmax(mixing.view(-1, 4, hidden), dim=1)
        states = torch.cat((candidate, inputs), dim=1).view(-1, 4, hidden)
        return (share * states).sum(dim=1)


CELLS: dict[str, type[SimpleCell | GatedCell]] = {"simple": SimpleCell, "gated": GatedCell}


class RecursiveEmbedding(nn.Module):
    """Embeds each tree of a minibatch into one vector: the state of its root.

    Args:
        n_features: Number of features of each node.
        hidden: Size ``H`` of each state.
        cell: ``"simple"`` or ``"gated"``.
        root_children: Return the states of the root's two children side by side instead, ``2H``
            numbers; a tree of a single node counts as both of its children.
    """

    def __init__(
        self,
        n_features: int,
        hidden: int,
        *,
        cell: Cell = "simple",
        root_children: bool = False,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            message = unknown_name("cell", cell, CELLS, where="cell of a recursive network")
            raise ConfigError(message)
        self.hidden = hidden
        self.root_children = root_children
        self.out_features = (2 if root_children else 1) * hidden
        self.embed = nn.Linear(n_features, hidden)
        self.cell = CELLS[cell](hidden)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew."""
        glorot_(self.embed.weight, generator=generator)
        nn.init.zeros_(self.embed.bias)
        self.cell.reset_parameters(generator)

    def forward(self, nodes: Tensor, inner: Tensor, sizes: Tensor) -> Tensor:
        """Return the embedding of each tree.

        Args:
            nodes: Node features in level order.
            inner: Rows of the inner nodes.
            sizes: Number of nodes and inner nodes of each level, on the CPU.

        Shapes:
            nodes ``(n_nodes, n_features)``, inner ``(n_inner,)``, sizes ``(n_levels, 2)`` →
            ``(n_roots, H)``, or ``(n_roots, 2H)`` for the root's children.
        """
        n_nodes, n_inner = _checked_sizes(sizes)
        u = torch.relu(self.embed(nodes))
        u_levels = u.split(n_nodes)
        u_inner = u.index_select(0, inner)
        constants = self.cell.constants(u_inner).split(n_inner)
        u_inner_levels = u_inner.split(n_inner)
        inner_levels = inner.split(n_inner)
        weights = self.cell.weights()
        first_row = [0, *accumulate(n_nodes)]

        states: Tensor = u_levels[-1]
        below = states
        for level in range(len(n_nodes) - 2, -1, -1):
            below = states
            states = self.cell.step(
                below.view(-1, 2 * self.hidden), u_inner_levels[level], constants[level], weights
            )
            if n_inner[level] < n_nodes[level]:
                rows = inner_levels[level] - first_row[level]
                states = u_levels[level].index_copy(0, rows, states)
        if not self.root_children:
            return states
        twice = torch.cat((u_levels[0], u_levels[0]), dim=1)
        if len(n_nodes) == 1:
            return twice
        return twice.index_copy(0, inner_levels[0], below.view(-1, 2 * self.hidden))


def _checked_sizes(sizes: Tensor) -> tuple[list[int], list[int]]:
    """Return nodes and inner nodes of each level, or say which level breaks the layout."""
    n_nodes, n_inner = sizes[:, 0].tolist(), sizes[:, 1].tolist()
    for level, children in enumerate([*n_nodes[1:], 0]):
        if 2 * n_inner[level] != children:
            message = (
                f"level {level} of the jet trees has {n_inner[level]} inner nodes, but the level "
                f"below it has {children} nodes instead of {2 * n_inner[level]}; the trees must "
                "come from hepdl.kinematics.build"
            )
            raise DataError(message)
    return n_nodes, n_inner
