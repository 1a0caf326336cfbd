"""What was measured of the flow through a network, and how it is kept.

The words are those of `hepdl.diagnose.measuring`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

__all__ = ["Flow", "InputColumn", "LayerFlow", "norm_of", "with_updates"]


@dataclass(frozen=True)
class InputColumn:
    """One input of the network, as it arrives there.

    Attributes:
        name: Of the feature.
        mean: Over the minibatch.
        std: Standard deviation over the minibatch.
        size: 90 % of the values are smaller than this, without regard to their sign.
    """

    name: str
    mean: float
    std: float
    size: float


@dataclass(frozen=True)
class LayerFlow:
    """One layer.

    Attributes:
        name: Of the module that owns the matrix, or of several that are multiplied as one.
        activation: Name of the activation function that follows; empty without one.
        n_units: Values per event that the next layer takes.
        mean: Of all values that the next layer takes.
        std: Their standard deviation.
        saturated: Share of saturated entries, for activations bounded on both sides; else None.
        dead: Share of dead units; None without an activation.
        gradient_norm: Norm of the gradient of the matrix.
        weight_norm: Norm of the matrix.
        update_ratio: Norm of what one training step changes, over ``weight_norm``; None if no
            step was made, or the matrix is zero.
        effective_rank: See the module; None where it was not asked for.
        parameters: Names of the matrices.
    """

    name: str
    activation: str
    n_units: int
    mean: float
    std: float
    saturated: float | None
    dead: float | None
    gradient_norm: float
    weight_norm: float
    update_ratio: float | None
    effective_rank: float | None
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Flow:
    """What one forward and backward pass showed.

    Attributes:
        n_events: Events that were looked at.
        loss: Of these events.
        inputs: The input columns.
        layers: In the order in which they are first used; the last one gives the logits.
    """

    n_events: int
    loss: float
    inputs: tuple[InputColumn, ...]
    layers: tuple[LayerFlow, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; numbers that are not finite become None."""
        content: dict[str, Any] = _finite(asdict(self))
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Flow:
        """Return the flow that ``as_dict`` wrote down."""
        inputs = tuple(InputColumn(**_numbers(column)) for column in content["inputs"])
        layers = tuple(
            LayerFlow(**{**_numbers(layer), "parameters": tuple(layer["parameters"])})
            for layer in content["layers"]
        )
        loss = math.nan if content["loss"] is None else float(content["loss"])
        return cls(int(content["n_events"]), loss, inputs, layers)


def with_updates(flow: Flow, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Flow:
    """Return the flow with the update-to-weight ratios between two states of the network.

    Args:
        flow: What was measured.
        before: The parameters before a step, by name; at least the matrices of the layers.
        after: The same after it.
    """
    layers = []
    for layer in flow.layers:
        changes = [after[name] - before[name] for name in layer.parameters]
        weight = norm_of(before[name] for name in layer.parameters)
        ratio = norm_of(changes) / weight if weight else None
        layers.append(replace(layer, update_ratio=ratio))
    return replace(flow, layers=tuple(layers))


def norm_of(tensors: Iterable[Tensor]) -> float:
    """Return the norm of all entries of some tensors together."""
    # float64, since vanishing gradients lie below the squares that float32 can hold.
    return math.sqrt(sum(float(t.detach().double().square().sum()) for t in tensors))


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


_MAY_BE_ABSENT = {"saturated", "dead", "update_ratio", "effective_rank"}


def _numbers(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a row; what JSON could not hold is nan again."""
    return {
        key: math.nan if value is None and key not in _MAY_BE_ABSENT else value
        for key, value in content.items()
    }
