"""What made a number infinite: found by doing the last steps again, exactly, and looking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hepdl.events import Events
from hepdl.train.state.minibatches import Minibatch
from hepdl.train.state.ranks import Ranks

__all__ = ["Fault", "first_fault"]

# Features that are named when none of them is infinite.
_N_SUSPECTS = 3


@dataclass(frozen=True)
class Fault:
    """The first number that is not finite.

    Attributes:
        index: Of the minibatch, among those done again.
        place: Which number of the network it is.
        features: What is odd about the features of the minibatch.
    """

    index: int
    place: str
    features: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, which other ranks can be told."""
        return asdict(self)


def first_fault(
    network: nn.Module,
    minibatches: Sequence[Minibatch],
    step: Callable[[Minibatch], object],
    *,
    ranks: Ranks,
    may_overflow: bool,
) -> Fault | None:
    """Do the steps again and return the first fault; None if all is finite here this time.

    Args:
        network: In the state before the first of the steps.
        minibatches: Of the steps.
        step: Learns from one minibatch.
        ranks: Who does each step together; all of them end with the one where any finds a fault.
        may_overflow: Gradients that are not finite are no fault.
    """
    with _watching(network) as found:
        for index, minibatch in enumerate(minibatches):
            found.clear()
            step(minibatch)
            if not may_overflow:
                found += _bad_gradients(network)
            faults = [text for text in found if not (may_overflow and "gradient" in text)]
            faults += _bad_parameters(network)
            place = faults[0] if faults else None
            if ranks.any(place is not None):
                if place is None:
                    return None
                return Fault(index, place, _odd_features(minibatch.events))
    return None


@contextmanager
def _watching(network: nn.Module) -> Iterator[list[str]]:
    """Give a list of the outputs, and gradients by outputs, that are not finite, in their order."""
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def look(layer: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or not output.is_floating_point():
                return
            if not bool(torch.isfinite(output).all()):
                found.append(f"the output of {name}")
            if output.requires_grad:
                output.register_hook(lambda gradient: look_back(gradient))

        def look_back(gradient: Tensor) -> None:
            if not bool(torch.isfinite(gradient).all()):
                found.append(f"the gradient by the output of {name}")

        return look

    # Inner layers are heard before those that hold them.
    handles = [
        layer.register_forward_hook(watch(f"layer {name} ({type(layer).__name__})"))
        for name, layer in network.named_modules()
        if name
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _bad_gradients(network: nn.Module) -> list[str]:
    return [
        f"the gradient of {name}"
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all())
    ]


def _bad_parameters(network: nn.Module) -> list[str]:
    return [
        f"parameter {name}"
        for name, parameter in network.named_parameters()
        if not bool(torch.isfinite(parameter).all())
    ]


def _odd_features(events: Events) -> str:
    """Name the values that are not finite, else those furthest from zero."""
    columns = dict(_columns(events))
    bad = {name: values for name, values in columns.items() if not bool(values.isfinite().all())}
    if bad:
        shown = [_first(events, name, values, ~values.isfinite()) for name, values in bad.items()]
        more = f" and {len(shown) - _N_SUSPECTS} more" if len(shown) > _N_SUSPECTS else ""
        return "not finite: " + ", ".join(shown[:_N_SUSPECTS]) + more
    sizes = {name: float(values.abs().max()) for name, values in columns.items() if len(values)}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_N_SUSPECTS]
    if not largest:
        return "no features"
    return "all finite, the largest: " + ", ".join(
        _first(events, name, columns[name], columns[name].abs() == sizes[name]) for name in largest
    )


def _first(events: Events, name: str, values: Tensor, chosen: Tensor) -> str:
    row = int(torch.nonzero(chosen)[0, 0])
    text = f"{name} = {float(values[row]):g}"
    if len(values) == len(events):
        text += f" (event number {int(events.event_number[row])})"
    return text


def _columns(events: Events) -> Iterator[tuple[str, Tensor]]:
    yield "event_weight", events.event_weight
    yield from zip(events.feature_names, events.flat.T, strict=True)
    if events.jet_trees is not None:
        for i, column in enumerate(events.jet_trees.features.T):
            yield f"jet tree node feature {i}", column
    jagged = {"particles": events.particles} if events.particles is not None else {}
    for name, rows in {**events.collections, **jagged}.items():
        for column_name, column in zip(rows.columns, rows.values.T, strict=True):
            yield f"{name}.{column_name}", column
