"""Dense stacks: linear, norm, activation, dropout; residual if wanted.

Dropout scales up what it keeps while training, so that at inference nothing is scaled.

Reference:
    S. Ioffe, C. Szegedy, "Batch normalization", ICML 2015, arXiv:1502.03167; J. L. Ba,
    J. R. Kiros, G. E. Hinton, "Layer normalization", arXiv:1607.06450; N. Srivastava et al.,
    "Dropout", JMLR 15 (2014) 1929; K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for
    image recognition", CVPR 2016, arXiv:1512.03385 (identity shortcuts). The initialisations are
    those of ``hepdl.layers.initialisation``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, unknown_name
from hepdl.layers.initialisation import check_initialisation, initialise_
from hepdl.layers.swiglu import SwiGLU

__all__ = ["ACTIVATIONS", "DenseBlock", "DenseStack"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "swiglu": SwiGLU,
    "tanh": nn.Tanh,
}


class DenseBlock(nn.Module):
    """Linear, norm, activation, dropout; the input is added where ``residual`` is True.

    Args:
        n_in: Number of inputs.
        n_out: Number of outputs.
        dropout: Probability that an output is dropped while training.
        batch_norm: Normalise each unit over the minibatch.
        layer_norm: Normalise each event over its units; instead of ``batch_norm``.
        norm_after: Normalise after the activation instead of before it.
        residual: Add the input to the output; ``n_in`` must be ``n_out``.
        activation: A name of ``ACTIVATIONS``. ``"swiglu"`` has two linear units for each output; it
            multiplies, so that more than three or four of them need ``layer_norm``.
        initialisation: A name of ``hepdl.layers.initialisation``; ``"auto"`` goes by the activation.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        dropout: float = 0.0,
        batch_norm: bool = True,
        layer_norm: bool = False,
        norm_after: bool = False,
        residual: bool = False,
        activation: str = "relu",
        initialisation: str = "auto",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            message = unknown_name("activation", activation, ACTIVATIONS, where="activation")
            raise ConfigError(message)
        check_initialisation(initialisation)
        if not 0 <= dropout < 1:
            message = f"dropout is {dropout}; it is a probability, 0 <= dropout < 1"
            raise ConfigError(message)
        if residual and n_in != n_out:
            message = f"a residual block needs as many outputs as inputs, not {n_in} to {n_out}"
            raise ConfigError(message)
        _check_norms(batch_norm=batch_norm, layer_norm=layer_norm, norm_after=norm_after)
        self.residual = residual
        self.norm_after = norm_after
        self.activation_name = activation
        self.initialisation = initialisation
        n_units = 2 * n_out if activation == "swiglu" else n_out
        # Batch norm takes a bias away again, and has one of its own.
        self.linear = nn.Linear(n_in, n_units, bias=norm_after or not batch_norm)
        n_normalised = n_out if norm_after else n_units
        self.norm: nn.Module = nn.Identity()
        if batch_norm or layer_norm:
            self.norm = (nn.BatchNorm1d if batch_norm else nn.LayerNorm)(n_normalised)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.reset_parameters()

    def extra_repr(self) -> str:
        """Return what the layers do not show."""
        return (
            f"residual={self.residual}, norm_after={self.norm_after}, "
            f"initialisation={self.initialisation}"
        )

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew; biases are zero."""
        initialise_(
            self.linear.weight,
            self.initialisation,
            activation=self.activation_name,
            generator=generator,
        )
        if self.linear.bias is not None:
            nn.init.zeros_(self.linear.bias)
        if isinstance(self.norm, nn.BatchNorm1d | nn.LayerNorm):
            self.norm.reset_parameters()

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(n_events, n_in)`` to ``(n_events, n_out)``."""
        output: Tensor = self.linear(values)
        if self.norm_after:
            output = self.norm(self.activation(output))
        else:
            output = self.activation(self.norm(output))
        output = self.dropout(output)
        return values + output if self.residual else output


class DenseStack(nn.Module):
    """Dense blocks one after the other.

    With ``residual`` each block whose input and output have the same size adds its input; the
    others (the first, as a rule) are plain.

    Args:
        n_in: Number of inputs.
        hidden: Number of outputs of each block; may be empty, then the stack is the identity.
        dropout: Probability that an output of a block is dropped while training.
        batch_norm: Normalise each unit over the minibatch.
        layer_norm: Normalise each event over the units of a block; instead of ``batch_norm``.
        norm_after: Normalise after the activation instead of before it.
        residual: Add a block's input to its output where the sizes allow.
        activation: A name of ``ACTIVATIONS``.
        initialisation: A name of ``hepdl.layers.initialisation``; ``"auto"`` goes by the activation.
    """

    def __init__(
        self,
        n_in: int,
        hidden: Sequence[int],
        *,
        dropout: float = 0.0,
        batch_norm: bool = True,
        layer_norm: bool = False,
        norm_after: bool = False,
        residual: bool = False,
        activation: str = "relu",
        initialisation: str = "auto",
    ) -> None:
        super().__init__()
        if any(size < 1 for size in hidden):
            message = f"hidden is {list(hidden)}; every size must be at least 1"
            raise ConfigError(message)
        _check_norms(batch_norm=batch_norm, layer_norm=layer_norm, norm_after=norm_after)
        sizes = [n_in, *hidden]
        self.out_features = sizes[-1]
        self.blocks = nn.ModuleList(
            DenseBlock(
                size_in,
                size_out,
                dropout=dropout,
                batch_norm=batch_norm,
                layer_norm=layer_norm,
                norm_after=norm_after,
                residual=residual and size_in == size_out,
                activation=activation,
                initialisation=initialisation,
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


def _check_norms(*, batch_norm: bool, layer_norm: bool, norm_after: bool) -> None:
    if batch_norm and layer_norm:
        message = f"batch_norm is {batch_norm} and layer_norm is {layer_norm}; a layer has one of "
        message += "them: set batch_norm: false with layer_norm: true"
        raise ConfigError(message)
    if norm_after and not (batch_norm or layer_norm):
        message = f"norm_after is {norm_after}, but there is nothing to normalise with: set "
        message += "batch_norm or layer_norm to true"
        raise ConfigError(message)
