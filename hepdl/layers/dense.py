"""Dense stacks: linear, batch norm, activation, dropout; residual if wanted.

Reference:
    K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", ICCV 2015, arXiv:1502.01852
    (initialisation); "Deep residual learning for image recognition", CVPR 2016,
    arXiv:1512.03385 (identity shortcuts); S. Ioffe, C. Szegedy, "Batch normalization", ICML 2015,
    arXiv:1502.03167.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, unknown_name

__all__ = ["ACTIVATIONS", "DenseBlock", "DenseStack"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class DenseBlock(nn.Module):
    """Linear, batch norm, activation, dropout; the input is added where ``residual`` is True.

    Args:
        n_in: Number of inputs.
        n_out: Number of outputs.
        dropout: Probability that an output is dropped while training.
        batch_norm: Normalise over the minibatch before the activation.
        residual: Add the input to the output; ``n_in`` must be ``n_out``.
        activation: A name of ``ACTIVATIONS``.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        dropout: float = 0.0,
        batch_norm: bool = True,
        residual: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            message = unknown_name("activation", activation, ACTIVATIONS, where="activation")
            raise ConfigError(message)
        if not 0 <= dropout < 1:
            message = f"dropout is {dropout}; it is a probability, 0 <= dropout < 1"
            raise ConfigError(message)
        if residual and n_in != n_out:
            message = f"a residual block needs as many outputs as inputs, not {n_in} to {n_out}"
            raise ConfigError(message)
        self.residual = residual
        self.activation_name = activation
        # Batch norm has a bias of its own.
        self.linear = nn.Linear(n_in, n_out, bias=not batch_norm)
        self.norm = nn.BatchNorm1d(n_out) if batch_norm else nn.Identity()
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew: He for rectifiers, Glorot with tanh's gain for tanh."""
        if self.activation_name == "tanh":
            gain = nn.init.calculate_gain("tanh")
            nn.init.xavier_normal_(self.linear.weight, gain=gain, generator=generator)
        else:
            nn.init.kaiming_normal_(self.linear.weight, nonlinearity="relu", generator=generator)
        if isinstance(self.norm, nn.BatchNorm1d):
            self.norm.reset_parameters()
        else:
            nn.init.zeros_(self.linear.bias)

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(n_events, n_in)`` to ``(n_events, n_out)``."""
        output: Tensor = self.dropout(self.activation(self.norm(self.linear(values))))
        return values + output if self.residual else output


class DenseStack(nn.Module):
    """Dense blocks one after the other.

    With ``residual`` each block whose input and output have the same size adds its input; the
    others (the first, as a rule) are plain.

    Args:
        n_in: Number of inputs.
        hidden: Number of outputs of each block; may be empty, then the stack is the identity.
        dropout: Probability that an output of a block is dropped while training.
        batch_norm: Normalise each block over the minibatch.
        residual: Add a block's input to its output where the sizes allow.
        activation: A name of ``ACTIVATIONS``.
    """

    def __init__(
        self,
        n_in: int,
        hidden: Sequence[int],
        *,
        dropout: float = 0.0,
        batch_norm: bool = True,
        residual: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if any(size < 1 for size in hidden):
            message = f"hidden is {list(hidden)}; every size must be at least 1"
            raise ConfigError(message)
        sizes = [n_in, *hidden]
        self.out_features = sizes[-1]
        self.blocks = nn.ModuleList(
            DenseBlock(
                size_in,
                size_out,
                dropout=dropout,
                batch_norm=batch_norm,
                residual=residual and size_in == size_out,
                activation=activation,
            )
            for size_in, size_out in pairwise(sizes)
        )

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew."""
        for block in self.blocks:
            assert isinstance(block, DenseBlock)
            block.reset_parameters(generator)

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(n_events, n_in)`` to ``(n_events, hidden[-1])``."""
        for block in self.blocks:
            values = block(values)
        return values
