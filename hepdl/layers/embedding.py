"""Numerical embeddings: each flat feature becomes a vector before the dense layers.

A dense layer sees a feature as one number and must make every bend in it out of its units. An
embedding of each feature ``x`` by itself lays out what depends on it:

* ``linear``: ``w x + b``, one row of ``size`` numbers a feature;
* ``linear_relu``: the same, rectified;
* ``periodic``: ``[sin(2 pi c x), cos(2 pi c x)]`` with trainable frequencies ``c``;
* ``periodic_linear``: a linear layer of each feature's own on its periodic numbers;
* ``periodic_linear_relu``: the same, rectified ("PLR").

Features must come scaled: the frequencies are drawn for values of order one.

Reference:
    Y. Gorishniy, I. Rubachev, A. Babenko, "On embeddings for numerical features in tabular deep
    learning", NeurIPS 2022, arXiv:2203.05556.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, unknown_name

__all__ = ["EMBEDDINGS", "NumericalEmbedding", "make_embedding"]

EMBEDDINGS = ("linear", "linear_relu", "periodic", "periodic_linear", "periodic_linear_relu")


class NumericalEmbedding(nn.Module):
    """Embeds each feature by itself, and lays the vectors side by side.

    Args:
        n_features: Number of features.
        name: One of ``EMBEDDINGS``.
        size: Numbers for each feature; ``periodic`` has 2 ``frequencies`` of them instead.
        frequencies: Frequencies for each feature; the periodic ones only.
        scale: Standard deviation of the frequencies before the first step, truncated at three of
            them [1 / standard deviation of the feature]. The default is small, as the authors': the
            sines start as straight lines.
    """

    def __init__(
        self,
        n_features: int,
        name: str = "periodic_linear_relu",
        *,
        size: int = 24,
        frequencies: int = 48,
        scale: float = 0.01,
    ) -> None:
        super().__init__()
        if name not in EMBEDDINGS:
            raise ConfigError(unknown_name("embedding", name, EMBEDDINGS, where="embedding"))
        if min(size, frequencies) < 1 or not (math.isfinite(scale) and scale > 0):
            message = (
                f"embedding {name}: size {size} and frequencies {frequencies} must be at least 1, "
                f"and scale {scale} must be a number > 0"
            )
            raise ConfigError(message)
        self.name, self.scale = name, scale
        self.is_periodic = name.startswith("periodic")
        n_in = 2 * frequencies if self.is_periodic else 1
        n_out = n_in if name == "periodic" else size
        self.out_features = n_features * n_out
        self.activation = nn.ReLU() if name.endswith("relu") else nn.Identity()
        self.frequencies: nn.Parameter | None = None
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        if self.is_periodic:
            self.frequencies = nn.Parameter(torch.empty(n_features, frequencies))
        if name != "periodic":
            self.weight = nn.Parameter(torch.empty(n_features, n_in, n_out))
            self.bias = nn.Parameter(torch.empty(n_features, n_out))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew, as in the authors' package."""
        if self.frequencies is not None:
            limit = 3 * self.scale
            nn.init.trunc_normal_(
                self.frequencies, std=self.scale, a=-limit, b=limit, generator=generator
            )
        if self.weight is not None and self.bias is not None:
            n_in, n_out = self.weight.shape[1:]
            limit = (n_in if self.is_periodic else n_out) ** -0.5
            nn.init.uniform_(self.weight, -limit, limit, generator=generator)
            nn.init.uniform_(self.bias, -limit, limit, generator=generator)

    def extra_repr(self) -> str:
        """Return what the parameters do not show."""
        return f"{self.name}, out_features={self.out_features}, scale={self.scale}"

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(n_events, n_features)`` to ``(n_events, n_features * size)``."""
        rows = values.unsqueeze(2)
        if self.frequencies is not None:
            angles = 2 * math.pi * self.frequencies * rows
            rows = torch.cat((angles.sin(), angles.cos()), dim=2)
        if self.weight is not None and self.bias is not None:
            rows = torch.einsum("nfi,fio->nfo", rows, self.weight) + self.bias
        output: Tensor = self.activation(rows)
        return output.flatten(1)


def make_embedding(
    n_features: int, description: str | Mapping[str, Any] | None
) -> NumericalEmbedding | None:
    """Return the embedding that a model's option describes, or None for none.

    Args:
        n_features: Number of features.
        description: A name, e.g. ``"periodic"``, or a mapping with ``name`` and any of ``size``,
            ``frequencies`` and ``scale``.

    Raises:
        ConfigError: The description cannot be used.
    """
    if description is None:
        return None
    options = {"name": description} if isinstance(description, str) else dict(description)
    known = ("name", "size", "frequencies", "scale")
    problems = [
        unknown_name("option of an embedding", str(key), known, where=f"embedding.{key}")
        for key in options
        if key not in known
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    return NumericalEmbedding(n_features, **options)
