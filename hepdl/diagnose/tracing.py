"""Follow the values of one forward pass from weight matrix to weight matrix.

Hooks on modules see only modules that are called. Many fast layers multiply with slices of a weight
matrix, or apply ``torch.relu`` themselves; so `Tracer` watches the functions of torch instead. It
knows of every tensor whether it was computed from parameters alone, and which matrix product it
comes from. What it calls a *layer* is a weight matrix (or several that are multiplied as one), what
it calls the *output* of a layer is what the next layer takes: after norm, activation, dropout and
shortcut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["ELEMENTWISE", "LEAKY", "Call", "Nonlinearity", "Tracer"]

# Functions that multiply with a weight matrix, by the last part of their names.
_PRODUCTS = frozenset(
    {
        *("linear", "bilinear", "einsum", "tensordot", "embedding"),
        *("addmm", "mm", "matmul", "__matmul__", "__rmatmul__", "bmm", "baddbmm", "addbmm", "mv"),
        *("addmv", "conv1d", "conv2d", "conv3d"),
        *("lstm", "gru", "rnn_tanh", "rnn_relu", "multi_head_attention_forward"),
    }
)
# Their first argument is added to the product.
_ADDING = frozenset({"addmm", "baddbmm", "addbmm", "addmv"})

# Nonlinearities by function name; the value says whether they are bounded on both sides.
ELEMENTWISE: Mapping[str, bool] = {
    "tanh": True,
    "sigmoid": True,
    "hardtanh": True,
    "softsign": True,
    "relu": False,
    "relu6": False,
    "leaky_relu": False,
    "prelu": False,
    "elu": False,
    "selu": False,
    "celu": False,
    "gelu": False,
    "silu": False,
    "mish": False,
    "softplus": False,
}


# Their slope is nowhere next to nothing, however small it is made.
LEAKY = frozenset({"leaky_relu", "prelu"})


@dataclass(frozen=True)
class Nonlinearity:
    """One use of an activation function.

    Attributes:
        name: A key of ``ELEMENTWISE``.
        function: Applies it to a tensor, with its options.
        argument: What it was applied to, without its graph.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    argument: Tensor


@dataclass
class Call:
    """One product with a weight matrix, and what became of it.

    Attributes:
        parameters: Names of the matrices.
        source: What was multiplied.
        output: The last value made of the product before another layer took it.
        unit_axis: The axis that counts units.
        is_taken: Whether another layer has taken the output.
        is_partial: Whether it was only a term of another product.
        nonlinearities: The activation functions on the way.
    """

    parameters: frozenset[str]
    source: Tensor
    output: Tensor
    unit_axis: int
    is_taken: bool = False
    is_partial: bool = False
    nonlinearities: list[Nonlinearity] = field(default_factory=list)


class Tracer(TorchFunctionMode):
    """Watches a forward pass inside its ``with`` block; ``calls`` are its products in order.

    Args:
        parameters: The parameters that the pass uses, by name.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._origin = {id(p): frozenset({name}) for name, p in parameters.items()}
        self._recent: dict[int, int] = {}
        # An id must not come back while the pass runs, so nothing may be freed.
        self._kept: list[Tensor] = list(parameters.values())

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = _name_of(func)
        # Before it runs: it may work in place.
        use = _nonlinearity(name, func, args, kwargs) if name in ELEMENTWISE else None
        result = func(*args, **kwargs)
        results = [value for value in _tensors((result,)) if value.is_floating_point()]
        if results:
            inputs = list(_tensors((args, kwargs)))
            self._kept += [*inputs, *results]
            self._follow(name, args, inputs, results, use)
        return result

    def _follow(
        self,
        name: str,
        args: tuple[Any, ...],
        inputs: list[Tensor],
        results: list[Tensor],
        use: Nonlinearity | None,
    ) -> None:
        origins = [self._origin.get(id(value), frozenset()) for value in inputs]
        if inputs and all(origins):
            for value in results:
                self._origin[id(value)] = frozenset().union(*origins)
            return
        data = [v for v, o in zip(inputs, origins, strict=True) if not o and v.is_floating_point()]
        matrices = [o for v, o in zip(inputs, origins, strict=True) if o and v.ndim >= 2]
        if name in _PRODUCTS and matrices and (data or name == "embedding"):
            self._begin_call(name, frozenset().union(*matrices), data or inputs, args, results)
            return
        recent = max((self._recent.get(id(value), -1) for value in inputs), default=-1)
        if recent < 0:
            return
        call = self.calls[recent]
        if use is not None:
            call.nonlinearities.append(use)
        for value in results:
            self._recent[id(value)] = recent
        if not call.is_taken:
            call.output = max(results, key=Tensor.numel)

    def _begin_call(
        self,
        name: str,
        parameters: frozenset[str],
        data: list[Tensor],
        args: tuple[Any, ...],
        results: list[Tensor],
    ) -> None:
        added = args[0] if name in _ADDING and args else None
        sources = [value for value in data if value is not added] or data
        for value in data:
            before = self._recent.get(id(value), -1)
            if before >= 0 and not self.calls[before].is_taken:
                self.calls[before].is_taken = True
                self.calls[before].is_partial = value is added
                self.calls[before].output = value
        axis = 1 if name.startswith("conv") else -1
        self.calls.append(Call(parameters, sources[0], max(results, key=Tensor.numel), axis))
        for value in results:
            self._recent[id(value)] = len(self.calls) - 1


def _nonlinearity(
    name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Nonlinearity | None:
    if not args or not isinstance(args[0], Tensor):
        return None
    # Options such as a slope stay; what works in place gets a copy.
    options = {key: value for key, value in kwargs.items() if key != "inplace"}
    rest = tuple(value for value in args[1:] if not isinstance(value, bool))
    argument = args[0].detach().clone()
    return Nonlinearity(name, lambda values: func(values.clone(), *rest, **options), argument)


def _name_of(func: Callable[..., Any]) -> str:
    """Return the bare name of a function of torch; ``relu_`` is ``relu``."""
    name = str(getattr(func, "__name__", ""))
    return name if name.startswith("__") else name.rstrip("_")


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        for value in values.values():
            yield from _tensors(value)
