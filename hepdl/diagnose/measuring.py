"""How activations and gradients flow through a network: one forward and backward pass, looked at.

For every layer of the network (a weight matrix with what follows it up to the next one) it measures
the size of the values and of the gradient, how many activations are saturated, how many units are
dead, how much a training step would change the matrix, and how many directions the values of
the minibatch really use.

An entry is *saturated* where the slope of its activation function is below 2 % of the steepest one
(for tanh: beyond ±0.99). A unit is *dead* where that holds for every event of the minibatch: no
gradient reaches its weights. The *effective rank* is the exponential of the entropy of the shares
of the centred values' variance along their principal axes.

Reference:
    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010 (activations and gradients by layer); O. Roy, M. Vetterli, "The
    effective rank", EUSIPCO 2007 (here of the squared singular values).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hepdl.diagnose.flow import Flow, InputColumn, LayerFlow, norm_of, with_updates
from hepdl.diagnose.tracing import ELEMENTWISE, LEAKY, Call, Nonlinearity, Tracer
from hepdl.events import Events
from hepdl.kinematics import NODE_FEATURES
from hepdl.losses import Loss
from hepdl.models import Network
from hepdl.train.state.optimizers import make_optimizer
from hepdl.train.state.options import TrainOptions

__all__ = ["effective_rank", "measure"]

# Share of the steepest slope below which an activation counts as saturated: tanh beyond ±0.99.
FLAT_SLOPE = 1 - 0.99**2
# Values of so many rows are kept for the effective rank; more only take time.
MAX_ROWS = 2048
# Events that are looked at; fractions are then known to about 1 %.
MAX_EVENTS = 1024


def measure(
    model: Network,
    minibatch: Events,
    loss: Loss,
    *,
    options: TrainOptions | None = None,
    auxiliary: Callable[[Events], Tensor] | None = None,
    with_rank: bool = True,
) -> Flow:
    """Look at one forward and backward pass in training mode.

    The network is left as it was: parameters, buffers (the averages of batch norm), mode, gradients
    and random numbers. Padded entries of a minibatch count like the others.

    Args:
        model: The network; also a ``torch.nn.Module``.
        minibatch: Events, scaled as for the training; the first 1024 are looked at.
        loss: Of the training.
        options: With them, one training step is made on a copy for ``update_ratio``: the first step
            of a new optimiser at the full learning rate.
        auxiliary: Gives the loss of auxiliary heads for the minibatch just passed forward.
        with_rank: Whether to compute the effective rank.
    """
    network = cast("nn.Module", model)
    network = cast("nn.Module", getattr(network, "_orig_mod", network))  # under torch.compile
    device = next((p.device for p in network.parameters()), minibatch.device)
    if len(minibatch) > MAX_EVENTS:
        minibatch = minibatch.take(torch.arange(MAX_EVENTS, device=minibatch.device))
    minibatch = minibatch.to(device)
    parameters = {n: p.detach().clone().requires_grad_() for n, p in network.named_parameters()}
    buffers = {n: b.detach().clone() for n, b in network.named_buffers()}
    was_training = {module: module.training for module in network.modules()}
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad(), _alone(network):
        network.train()
        try:
            tensors = model.prepare(minibatch)
            with Tracer(parameters) as tracer:
                logits = functional_call(network, {**parameters, **buffers}, tensors)
            value = loss(logits, minibatch.label, None, minibatch.event_weight)
            total = value if auxiliary is None else value + auxiliary(minibatch)
            found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        finally:
            for module, mode in was_training.items():
                module.training = mode
    for parameter, gradient in zip(parameters.values(), found, strict=True):
        parameter.grad = gradient
    before = {name: p.detach().clone() for name, p in parameters.items()}
    layers = tuple(
        _layer(names, calls, parameters, with_rank=with_rank)
        for names, calls in _by_layer(tracer.calls).items()
    )
    flow = Flow(len(minibatch), float(value.detach()), _columns(minibatch), layers)
    if options is None:
        return flow
    _step(parameters, options)
    return with_updates(flow, before, {name: p.detach() for name, p in parameters.items()})


@contextmanager
def _alone(network: nn.Module) -> Iterator[None]:
    """Let batch norm that waits for other processes work by itself: they do not take part."""
    synchronised = [m for m in network.modules() if isinstance(m, nn.SyncBatchNorm)]
    for layer in synchronised:
        vars(layer)["forward"] = partial(nn.modules.batchnorm._BatchNorm.forward, layer)
    try:
        yield
    finally:
        for layer in synchronised:
            del vars(layer)["forward"]


def effective_rank(values: Tensor) -> float:
    """Return the number of directions that centred values use, ``(n_rows, n_units)`` → 1 … n_units.

    It is 0 where all rows are equal, and nan where a value is not finite.

    >>> effective_rank(torch.cat((torch.eye(4), -torch.eye(4))))  # four directions alike
    4.0
    """
    values = values.detach().double()
    if not bool(torch.isfinite(values).all()):
        return math.nan
    centred = values - values.mean(dim=0)
    size = centred.abs().max() if centred.numel() else torch.zeros(())
    if not size > 0:
        return 0.0
    centred = centred / size
    few_rows = len(centred) < centred.shape[1]
    product = centred @ centred.T if few_rows else centred.T @ centred
    variances = torch.linalg.eigvalsh(product).clamp_min(0)
    shares = variances / variances.sum()
    return round(float(torch.special.entr(shares).sum().exp()), 6)


def _layer(
    names: frozenset[str],
    calls: Sequence[Call],
    parameters: Mapping[str, Tensor],
    *,
    with_rank: bool,
) -> LayerFlow:
    whole = [call for call in calls if not call.is_partial] or list(calls)
    values = torch.cat([call.output.detach().flatten().float() for call in whole])
    uses = [(use, call.unit_axis) for call in calls for use in call.nonlinearities]
    activation = uses[-1][0].name if uses else ""
    flat = [(_is_flat(use), axis) for use, axis in uses]
    largest = max(whole, key=lambda call: call.output.numel())
    rows = largest.output.detach().movedim(largest.unit_axis, -1)
    rows = rows.reshape(-1, rows.shape[-1]) if rows.ndim else rows.reshape(1, 1)
    if largest.output.ndim == 1:  # logits, one a row
        rows = rows.reshape(-1, 1)
    matrices = [parameters[name] for name in sorted(names) if parameters[name].ndim >= 2]
    return LayerFlow(
        name=_layer_name(names),
        activation=activation,
        n_units=rows.shape[1],
        mean=float(values.mean()),
        std=float(values.std()) if len(values) > 1 else 0.0,
        saturated=_share([mask for mask, _ in flat])
        if activation and ELEMENTWISE[activation]
        else None,
        dead=_dead(flat) if activation else None,
        gradient_norm=norm_of(m.grad for m in matrices if m.grad is not None),
        weight_norm=norm_of(m.detach() for m in matrices),
        update_ratio=None,
        effective_rank=effective_rank(_thinned(rows)) if with_rank else None,
        parameters=tuple(sorted(names)),
    )


def _by_layer(calls: Iterable[Call]) -> dict[frozenset[str], list[Call]]:
    found: dict[frozenset[str], list[Call]] = {}
    for call in calls:
        found.setdefault(call.parameters, []).append(call)
    return found


def _layer_name(names: Iterable[str]) -> str:
    owners = dict.fromkeys(name.rpartition(".")[0] or name for name in sorted(names))
    return " + ".join(owners)


def _is_flat(use: Nonlinearity) -> Tensor:
    """Return where the slope of an activation function is next to nothing."""
    argument = use.argument
    if use.name in LEAKY:
        return torch.zeros_like(argument, dtype=torch.bool)
    # Slopes run from 0 to about 1, a quarter for the sigmoid; the steepest is found around zero.
    around = torch.linspace(-4, 4, 801, device=argument.device, dtype=argument.dtype)
    steepest = _slope(use.function, around).abs().max()
    return _slope(use.function, argument).abs() < FLAT_SLOPE * steepest


def _slope(function: Callable[[Tensor], Tensor], argument: Tensor) -> Tensor:
    leaf = argument.detach().requires_grad_()
    (slope,) = torch.autograd.grad(function(leaf).sum(), leaf)
    return slope


def _share(masks: Sequence[Tensor]) -> float:
    n = sum(mask.numel() for mask in masks)
    return sum(float(mask.sum()) for mask in masks) / n if n else 0.0


def _dead(flat: Sequence[tuple[Tensor, int]]) -> float:
    """Return the share of units that are flat wherever they are used."""
    by_width: dict[int, Tensor] = {}
    for mask, axis in flat:
        if mask.ndim == 0 or mask.numel() == 0:
            continue
        rows = mask.movedim(axis, -1)
        everywhere = rows.reshape(-1, rows.shape[-1]).all(dim=0)
        width = rows.shape[-1]
        by_width[width] = by_width.get(width, torch.ones_like(everywhere)) & everywhere
    return _share(list(by_width.values()))


def _thinned(rows: Tensor) -> Tensor:
    stride = max(1, -(-len(rows) // MAX_ROWS))
    return rows[::stride].cpu()


def _step(parameters: Mapping[str, Tensor], options: TrainOptions) -> None:
    leaves = [cast("nn.Parameter", p) for p in parameters.values()]
    if options.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(leaves, options.clip_norm)
    make_optimizer(leaves, options).step()


def _columns(events: Events) -> tuple[InputColumn, ...]:
    """Describe what the network is given: flat features, and columns of jagged collections."""
    columns = [_column(name, events.flat[:, k]) for k, name in enumerate(events.feature_names)]
    if events.jet_trees is not None:
        features = events.jet_trees.features
        columns += [_column(f"node {n}", features[:, k]) for k, n in enumerate(NODE_FEATURES)]
    particles = getattr(events, "particles", None)
    if particles is not None:
        columns += [
            _column(f"particle {n}", particles.values[:, k])
            for k, n in enumerate(particles.columns)
        ]
    return tuple(columns)


def _column(name: str, values: Tensor) -> InputColumn:
    values = values.detach().double()
    if len(values) < 2:
        only = float(values[0]) if len(values) else 0.0
        return InputColumn(name, only, 0.0, abs(only))
    size = float(torch.sort(values.abs()).values[int(0.9 * (len(values) - 1))])
    return InputColumn(name, float(values.mean()), float(values.std()), size)
