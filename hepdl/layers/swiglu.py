"""SwiGLU, and the residual block that is made of it.

``SwiGLU(a, b) = silu(a) * b``: one half of the units gates the other half. The residual block is
pre-normalised and starts close to the identity:

    x + s * W_2 dropout(SwiGLU(W_1 norm(x) + b_1)) + ...

with one trainable factor ``s`` per feature (LayerScale), small at first, so that a stack of many
blocks starts as a shallow network and grows as deep as the data ask for.

Reference:
    N. Shazeer, "GLU variants improve transformer", arXiv:2002.05202 (SwiGLU); J. L. Ba,
    J. R. Kiros, G. E. Hinton, "Layer normalization", arXiv:1607.06450; H. Touvron et al., "Going
    deeper with image transformers", ICCV 2021, arXiv:2103.17239 (LayerScale); K. He et al.,
    "Identity mappings in deep residual networks", ECCV 2016, arXiv:1603.05027 (norm first).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepdl.errors import ConfigError
from hepdl.layers.initialisation import initialise_

__all__ = ["GatedBlock", "SwiGLU"]


class SwiGLU(nn.Module):
    """``silu(a) * b`` with ``a`` the first and ``b`` the second half of the features.

    >>> SwiGLU()(torch.tensor([[0.0, 3.0]])).tolist()
    [[0.0]]
    """

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(n_events, 2 n_features)`` to ``(n_events, n_features)``."""
        gate, value = values.chunk(2, dim=-1)
        return functional.silu(gate) * value


class GatedBlock(nn.Module):
    """A residual block: layer norm, SwiGLU, dropout, linear, LayerScale; then the input is added.

    Args:
        n_features: Number of inputs and outputs.
        n_hidden: Number of units behind the gate.
        dropout: Probability that one of them is dropped while training.
        layer_scale: Factor of the block's own part before the first step; 0 makes the block the
            identity.
    """

    def __init__(
        self, n_features: int, n_hidden: int, *, dropout: float = 0.0, layer_scale: float = 0.1
    ) -> None:
        super().__init__()
        if n_features < 1 or n_hidden < 1:
            message = f"a gated block of {n_features} features and {n_hidden} hidden units; both "
            message += "must be at least 1"
            raise ConfigError(message)
        if not 0 <= dropout < 1:
            message = f"dropout is {dropout}; it is a probability, 0 <= dropout < 1"
            raise ConfigError(message)
        self.layer_scale = layer_scale
        self.norm = nn.LayerNorm(n_features)
        self.expand = nn.Linear(n_features, 2 * n_hidden)
        self.activation = SwiGLU()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.contract = nn.Linear(n_hidden, n_features)
        self.scale = nn.Parameter(torch.empty(n_features))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew: both products keep a second moment of 1."""
        self.norm.reset_parameters()
        initialise_(self.expand.weight, "auto", activation="swiglu", generator=generator)
        initialise_(self.contract.weight, "auto", activation="linear", generator=generator)
        nn.init.zeros_(self.expand.bias)
        nn.init.zeros_(self.contract.bias)
        nn.init.constant_(self.scale, self.layer_scale)

    def extra_repr(self) -> str:
        """Return what the parameters do not show."""
        return f"layer_scale={self.layer_scale}"

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(n_events, n_features)`` to the same shape."""
        inner = self.dropout(self.activation(self.expand(self.norm(values))))
        output: Tensor = values + self.scale * self.contract(inner)
        return output
