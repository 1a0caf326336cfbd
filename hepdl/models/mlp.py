"""A dense network on flat features: normalisation, dropout, residual blocks, embeddings if wanted.

Reference:
    Those of the parts, in ``hepdl.layers.dense``, ``initialisation`` and ``embedding``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError
from hepdl.events import Events, Inputs, flat_features
from hepdl.layers import DenseStack, initialise_, make_embedding

__all__ = ["Mlp"]


class Mlp(nn.Module):
    """A dense network.

    The score is ``sigmoid(logits)``.

    Args:
        features: Names of the flat features, in the network's order.
        hidden: Size of each hidden layer.
        dropout: Probability that a hidden unit is dropped while training.
        batch_norm: Normalise each hidden unit over the minibatch.
        layer_norm: Normalise each event over the units of a layer; with ``batch_norm: false``.
        norm_after: Normalise after the activation instead of before it.
        residual: Add a layer's input to its output where the sizes allow.
        activation: ``relu``, ``leaky_relu``, ``elu``, ``gelu``, ``silu``, ``tanh`` or ``swiglu``,
            which multiplies two units: a deep network of it needs ``layer_norm``.
        initialisation: ``auto`` (by the activation), ``he``, ``xavier``, ``orthogonal``,
            ``small_gaussian`` or ``zero``; the last two hold for the output layer, too.
        embedding: Of each feature before the first layer: ``linear``, ``linear_relu``,
            ``periodic``, ``periodic_linear`` or ``periodic_linear_relu``, or a mapping with
            ``name``, ``size``, ``frequencies`` and ``scale``; None takes the features as they are.
    """

    def __init__(
        self,
        features: Sequence[str],
        hidden: Sequence[int] = (64, 64, 64),
        *,
        dropout: float = 0.0,
        batch_norm: bool = True,
        layer_norm: bool = False,
        norm_after: bool = False,
        residual: bool = False,
        activation: str = "relu",
        initialisation: str = "auto",
        embedding: str | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not features:
            message = "mlp has no features; name at least one flat feature of the schema"
            raise ConfigError(message)
        self.inputs = Inputs(features=tuple(features))
        self.initialisation = initialisation
        self.embedding = make_embedding(len(features), embedding)
        n_in = len(features) if self.embedding is None else self.embedding.out_features
        self.stack = DenseStack(
            n_in,
            hidden,
            dropout=dropout,
            batch_norm=batch_norm,
            layer_norm=layer_norm,
            norm_after=norm_after,
            residual=residual,
            activation=activation,
            initialisation=initialisation,
        )
        self.output = nn.Linear(self.stack.out_features, 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew; the logits start near zero."""
        if self.embedding is not None:
            self.embedding.reset_parameters(generator)
        self.stack.reset_parameters(generator)
        if self.initialisation in ("small_gaussian", "zero"):
            initialise_(self.output.weight, self.initialisation, generator=generator)
        else:
            nn.init.xavier_uniform_(self.output.weight, generator=generator)
        nn.init.zeros_(self.output.bias)

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        """Return the features, ``(n_events, n_features)``."""
        return (flat_features(events, self.inputs.features),)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the logits, ``(n_events,)``."""
        (flat,) = tensors
        if self.embedding is not None:
            flat = self.embedding(flat)
        logits: Tensor = self.output(self.stack(flat))
        return logits.squeeze(1)
