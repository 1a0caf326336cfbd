"""Edge convolution: each particle collects messages from its nearest neighbours.

Reference:
    Y. Wang et al., "Dynamic graph CNN for learning on point clouds", ACM Trans. Graph. 38 (2019)
    146, arXiv:1801.07829; as a block with a shortcut: H. Qu, L. Gouskos, "ParticleNet: jet tagging
    via particle clouds", Phys. Rev. D 101 (2020) 056019, arXiv:1902.08570, figure 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError

__all__ = ["EdgeConvBlock", "RowNorm"]


class RowNorm(nn.BatchNorm1d):
    """Batch norm over the rows of a minibatch; with less than two rows the running moments do.

    A minibatch of jets of one particle has no edges, and nothing to take moments of.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(n_rows, n_features)`` to the same shape."""
        if self.training and len(input) < 2:
            return nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


class EdgeConvBlock(nn.Module):
    """``relu(shortcut(x_i) + mean over neighbours j of h(x_i, x_j - x_i))``.

    ``h`` is a dense stack with batch norm over the edges. A particle without neighbours keeps its
    shortcut alone.

    Args:
        n_in: Number of features of a particle.
        sizes: Number of outputs of each layer of ``h``.
    """

    def __init__(self, n_in: int, sizes: Sequence[int]) -> None:
        # Takes a second and a half; only networks that use it should wait.
        from torch_geometric.nn import EdgeConv

        super().__init__()
        if not sizes or any(size < 1 for size in sizes):
            message = f"sizes is {list(sizes)}; an edge convolution needs layers of at least 1 unit"
            raise ConfigError(message)
        self.out_features = sizes[-1]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise((2 * n_in, *sizes)):
            layers += (nn.Linear(size_in, size_out, bias=False), RowNorm(size_out), nn.ReLU())
        self.convolution = EdgeConv(nn.Sequential(*layers), aggr="mean")
        self.shortcut = nn.Sequential(nn.Linear(n_in, sizes[-1], bias=False), RowNorm(sizes[-1]))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew, Gaussian as in the authors' code."""
        for layer in (*self.convolution.nn, *self.shortcut):
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            elif isinstance(layer, nn.BatchNorm1d):
                layer.reset_parameters()

    def forward(self, values: Tensor, edges: Tensor) -> Tensor:
        """Return the new features of each particle.

        Args:
            values: Features of each particle.
            edges: Row of the neighbour and row of the particle, from ``nearest_neighbours``.

        Shapes:
            values ``(n_rows, n_in)``, edges ``(2, n_edges)`` → ``(n_rows, sizes[-1])``.
        """
        collected: Tensor = self.convolution(values, edges)
        return torch.relu(self.shortcut(values) + collected)
