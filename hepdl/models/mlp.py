"""A dense network on flat features: batch norm, dropout, residual blocks if wanted.

Reference:
    Those of the parts, in ``hepdl.layers.dense``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError
from hepdl.events import Events, Inputs, flat_features
from hepdl.layers import DenseStack

__all__ = ["Mlp"]


class Mlp(nn.Module):
    """A dense network.

    The score is ``sigmoid(logits)``.

    Args:
        features: Names of the flat features, in the network's order.
        hidden: Size of each hidden layer.
        dropout: Probability that a hidden unit is dropped while training.
        batch_norm: Normalise each hidden layer over the minibatch.
        residual: Add a layer's input to its output where the sizes allow.
        activation: ``relu``, ``leaky_relu``, ``elu``, ``gelu``, ``silu`` or ``tanh``.
    """

    def __init__(
        self,
        features: Sequence[str],
        hidden: Sequence[int] = (64, 64, 64),
        *,
        dropout: float = 0.0,
        batch_norm: bool = True,
        residual: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if not features:
            message = "mlp has no features; name at least one flat feature of the schema"
            raise ConfigError(message)
        self.inputs = Inputs(features=tuple(features))
        self.stack = DenseStack(
            len(features),
            hidden,
            dropout=dropout,
            batch_norm=batch_norm,
            residual=residual,
            activation=activation,
        )
        self.output = nn.Linear(self.stack.out_features, 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew; the logits start near zero."""
        self.stack.reset_parameters(generator)
        nn.init.xavier_uniform_(self.output.weight, generator=generator)
        nn.init.zeros_(self.output.bias)

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        """Return the features, ``(n_events, n_features)``."""
        return (flat_features(events, self.inputs.features),)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the logits, ``(n_events,)``."""
        (flat,) = tensors
        logits: Tensor = self.output(self.stack(flat))
        return logits.squeeze(1)
