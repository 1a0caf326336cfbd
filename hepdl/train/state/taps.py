"""Listening to a layer of a network while it trains."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["Tap"]


class Tap:
    """Keeps the last output of a layer while the network trains; it is a forward hook.

    Args:
        network: Whose mode decides; None listens to nothing.

    Attributes:
        output: Of the last call; whoever reads it sets it to None.
        is_testing: In a dry run the network does not train, and calls are counted.
        n_calls: Calls of the dry run.
    """

    def __init__(self, network: nn.Module | None) -> None:
        self.network = network
        self.output: Any = None
        self.is_testing = False
        self.n_calls = 0

    def __call__(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        """Keep the output."""
        if self.is_testing:
            self.n_calls += 1
            self.output = output
        elif self.network is not None and self.network.training:
            self.output = output

    def __deepcopy__(self, memo: dict[int, Any]) -> Tap:
        # A copy of the network, e.g. its moving average, is not listened to.
        return Tap(None)
