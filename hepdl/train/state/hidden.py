"""The output of a layer in the place of the logits: what a penalty on hidden features reads."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.events import Events
from hepdl.losses import Penalty
from hepdl.models import Network
from hepdl.train.state.device import device_of
from hepdl.train.state.taps import Tap

__all__ = ["HiddenLayer"]


class HiddenLayer:
    """Keeps what a layer gives for the minibatch that the network has just seen.

    Args:
        layer: Its name, as ``named_modules`` has it.
        model: The network, on its device; it is run once in evaluation mode.
        sample: Some events as it trains on them, at least one.
        penalty: What reads the layer; it is told how wide it is.

    Raises:
        ConfigError: There is no such layer, it does not give one vector per event, or the penalty
            reads logits only.
    """

    def __init__(
        self, layer: str, model: Network | None, sample: Events | None, *, penalty: Penalty
    ) -> None:
        self.layer = layer
        set_width = getattr(penalty, "set_width", None)
        if set_width is None:
            message = (
                f"decorrelation.layer is {layer!r}: {type(penalty).__name__} reads one number "
            )
            message += "of each event; use domain_adversarial or gradient_reversal on a layer"
            raise ConfigError(message)
        if model is None or sample is None:
            message = f"decorrelation.layer is {layer!r}, and there is no network to read it from"
            raise ConfigError(message)
        network = cast("nn.Module", model)
        self._device = device_of(network)
        layers = {name: module for name, module in network.named_modules() if name}
        if layer not in layers:
            raise ConfigError(unknown_name("layer", layer, layers, where="decorrelation.layer"))
        self._tap = Tap(network)
        self._handle = layers[layer].register_forward_hook(self._tap)
        try:
            self._n_features = self._width(model, sample)
            set_width(self._n_features)
        except BaseException:
            self.remove()
            raise

    def _width(self, model: Network, sample: Events) -> int:
        network = cast("nn.Module", model)
        was_training = network.training
        network.eval()
        self._tap.is_testing = True
        with torch.no_grad():
            network(*model.prepare(sample))
        network.train(was_training)
        output: Any = self._tap.output
        is_vector = isinstance(output, Tensor) and output.shape[:1] == (len(sample),)
        if self._tap.n_calls != 1 or not is_vector or output.ndim not in (1, 2):
            found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            message = (
                f"decorrelation.layer: {self.layer} runs {self._tap.n_calls} times and gives {found} "
                f"for {len(sample)} events; a penalty reads a layer that runs once and gives one "
                "vector per event, (n_events, n_features)"
            )
            raise ConfigError(message)
        self._tap.is_testing, self._tap.output = False, None
        return 1 if output.ndim == 1 else int(output.shape[1])

    def take(self, n_events: int) -> Tensor:
        """Return what the layer gave for the last minibatch, ``(n_events, n_features)``.

        Raises:
            DataError: It did not give one row for each event.
        """
        output, self._tap.output = self._tap.output, None
        if n_events == 0:
            # A rank without events of this minibatch has run no network.
            return torch.zeros(0, self._n_features, device=self._device)
        if output is None or len(output) != n_events:
            rows = "nothing" if output is None else f"{len(output)} rows"
            message = (
                f"decorrelation.layer: {self.layer} gives {rows} for {n_events} events; read a "
            )
            message += "layer that gives one for each, also for jets without constituents"
            raise DataError(message)
        # In full precision whatever the network computes in.
        seen: Tensor = output.float() if output.dtype in (torch.bfloat16, torch.float16) else output
        return seen[:, None] if seen.ndim == 1 else seen

    def remove(self) -> None:
        """Stop listening."""
        self._handle.remove()
