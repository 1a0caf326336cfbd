"""What the flow of values and gradients says about a network, in words.

A finding is *bad* when the network cannot learn as it should, and a *note* when it is worth a look.
The limits are far outside of what healthy networks show. The recursive networks of
arXiv:1702.00748, which learn well, start with values that fall by a factor of 2000 from input to last
hidden layer, with 40 % of the units of a layer silent for all jets of a minibatch, and with a first
step that changes a matrix by a quarter of its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hepdl.diagnose.flow import Flow, InputColumn, LayerFlow

__all__ = ["Finding", "judge", "summarise"]

# A column is unscaled where one value in ten is this large; scaled columns have 1 to 3 there.
LARGE_INPUT = 10.0
# … and too small to be seen beside the others below this.
SMALL_INPUT = 0.01
# Values vanish when a hidden layer has this share of the inputs' size, and begin to at the second.
VANISHED, VANISHING = 1e-4, 1e-2
# Values explode when a hidden layer has so many times the inputs' size.
EXPLODED = 1e2
# Logits of such a size are scores of 0 and 1 before anything is learnt: sigmoid(20) = 1 - 2e-9.
LARGE_LOGIT = 20.0
# Ten residual layers of tanh without norm come to a half and still learn.
SATURATED = 0.6
# Behind a layer that tells the events little apart, as in recursive networks at their start, a unit is
# silent for all of them with probability 1/2: only a layer that is silent as a whole is dead.
DEAD, SILENT = 0.95, 0.75
# Fewer rows say nothing on units that are never active.
FEW_EVENTS = 32
# Gradients of the layers differ by at most a few hundred in networks that learn.
GRADIENT_RATIO = 1e4
LARGE_UPDATE, SMALL_UPDATE = 1.0, 1e-6
# One direction to this precision: all units of the layer are the same function.
ONE_DIRECTION = 1.0005
# Logits this close to each other are one number in float32.
SAME_LOGIT = 1e-6


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth a look.

    Attributes:
        kind: One word a script can ask for: ``not_finite, unscaled, constant, zero, identical,
            vanishing, exploding, saturated, dead, gradient, update``.
        sentence: What it is, where, and what to do.
        is_bad: Whether the network cannot learn as it should.
        layer: Number of the layer where it begins, from 1; None if it is not about one layer.
    """

    kind: str
    sentence: str
    is_bad: bool = True
    layer: int | None = None


def judge(
    flow: Flow, *, is_trained: bool = False, units: Mapping[str, str] | None = None
) -> tuple[Finding, ...]:
    """Return what is wrong with a network, causes before their consequences; empty if nothing is.

    Args:
        flow: From `hepdl.diagnose.measure`.
        is_trained: Whether training has begun: then large values, gradients and steps are what the
            training made them, and only what keeps a network from learning is a finding.
        units: Unit of a feature by name, e.g. ``GeV``.
    """
    broken = list(_not_finite(flow))
    found = [*broken, *_inputs(flow, units or {})]
    if not broken:
        found += [*_silence(flow, is_trained=is_trained), *_small_values(flow)]
        found += [] if is_trained else _large_values(flow)
        # What a layer without signal does to the others needs no words of its own.
        kinds = {finding.kind for finding in found}
        if "zero" not in kinds:
            found += _activations(flow, is_trained=is_trained)
        if not is_trained and not kinds & {"zero", "vanishing"}:
            found += _gradients(flow)
        found += [] if is_trained else _updates(flow)
    return tuple(found)


def summarise(flow: Flow, findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return the verdict as sentences; of a healthy network one that says what it rests on."""
    if any(finding.is_bad for finding in findings):
        return tuple(finding.sentence for finding in findings)
    hidden = flow.layers[:-1]
    parts = []
    if hidden:
        parts.append(f"standard deviation of the values {_range([x.std for x in hidden])}")
        parts.append(f"gradient norms {_range([x.gradient_norm for x in hidden])}")
    ratios = [x.update_ratio for x in flow.layers if x.update_ratio is not None]
    if ratios:
        parts.append(f"a step changes the weights by {_range([100 * r for r in ratios])} %")
    text = "healthy" + (f": {', '.join(parts)}" if parts else "")
    return (text, *(finding.sentence for finding in findings))


def _not_finite(flow: Flow) -> Iterator[Finding]:
    for column in flow.inputs:
        if not math.isfinite(column.mean + column.std):
            yield Finding(
                "not_finite",
                f"input {column.name} has values that are not finite: select such entries away, or "
                "give the missing ones a number of their own",
            )
    # Gradients of all layers are lost when the values of one are: the values say where it began.
    for what, sizes in (
        ("values", [layer.std for layer in flow.layers]),
        ("gradients", [layer.gradient_norm for layer in reversed(flow.layers)]),
    ):
        first = next((n for n, size in enumerate(sizes, 1) if not math.isfinite(size)), None)
        if first is not None:
            number = first if what == "values" else len(sizes) + 1 - first
            yield Finding(
                "not_finite",
                f"{what} are not finite from {_place(number, flow.layers[number - 1])} on: lower the "
                "learning rate, clip the gradient (clip_norm), or look at the largest inputs",
                layer=number,
            )
            return


def _inputs(flow: Flow, units: Mapping[str, str]) -> Iterator[Finding]:
    large = [c for c in flow.inputs if c.size > LARGE_INPUT]
    if large:
        kinds = {units.get(column.name, "") for column in large} - {"", "1"}
        unit = f" in {' and '.join(sorted(kinds))}" if kinds else ""
        yield Finding(
            "unscaled",
            f"inputs{unit} unscaled: {_listed(large, units)} reach the network as they are "
            "(mean ± standard deviation): centre and scale them on the training part",
        )
    small = [c for c in flow.inputs if 0 < c.size < SMALL_INPUT]
    if small:
        yield Finding(
            "unscaled",
            f"inputs too small to be seen: {_listed(small, units)} (mean ± standard deviation): "
            "centre and scale them on the training part",
        )


def _silence(flow: Flow, *, is_trained: bool) -> Iterator[Finding]:
    """Look for layers that tell neither events nor, before training, their units apart."""
    logits = flow.layers[-1] if flow.layers else None
    if is_trained and logits is not None and logits.std <= SAME_LOGIT * max(1, abs(logits.mean)):
        yield Finding(
            "constant",
            f"all {flow.n_events} events get the same logit, {_short(logits.mean)}: the network has "
            "learnt nothing",
            layer=len(flow.layers),
        )
    for number, layer in enumerate(flow.layers[:-1], 1):
        if layer.std == 0 and (layer.dead or 0) > DEAD and layer.weight_norm > 0:
            return  # a finding of its own
        if layer.std == 0:
            why = (
                "all its weights are zero" if layer.weight_norm == 0 else "all its values are equal"
            )
            yield Finding(
                "zero",
                f"{_place(number, layer)} passes nothing on: {why}, and the layers before it get no "
                "gradient: draw the weights at random (He for ReLU, Xavier for tanh)",
                layer=number,
            )
            return
        rank = layer.effective_rank
        is_one = not is_trained and rank is not None and 0 < rank < ONE_DIRECTION
        # A single unit that is left of a layer is another matter.
        is_alive = layer.activation and not layer.dead
        if is_one and is_alive and layer.n_units > 1 and len(flow.inputs) > 1:
            yield Finding(
                "identical",
                f"all {layer.n_units} units of {_place(number, layer)} give the same value up to a "
                "factor, and training keeps them so: draw the weights at random (He for ReLU, "
                "Xavier for tanh)",
                layer=number,
            )
            return


def _small_values(flow: Flow) -> Iterator[Finding]:
    """Look for values that lose size from layer to layer."""
    hidden = flow.layers[:-1]
    start = _input_size(flow)
    smallest = min((layer.std for layer in hidden if layer.std > 0), default=start)
    if smallest < VANISHED * start:
        first = next(n for n, x in enumerate(hidden, 1) if 0 < x.std < VANISHING * start)
        yield Finding(
            "vanishing",
            f"activations vanish from {_place(first, hidden[first - 1])}: standard deviation "
            f"{_short(hidden[first - 1].std)} there, {_short(smallest)} at the smallest: use He (ReLU) or "
            "Xavier (tanh) initialisation, or batch norm",
            layer=first,
        )


def _large_values(flow: Flow) -> Iterator[Finding]:
    """Look for values that gain size from layer to layer."""
    hidden = flow.layers[:-1]
    limit = EXPLODED * max(_input_size(flow), 1.0)
    largest = max((layer.std for layer in hidden), default=0.0)
    logits = flow.layers[-1] if flow.layers else None
    if largest > limit:
        first = next(n for n, x in enumerate(hidden, 1) if x.std > limit)
        yield Finding(
            "exploding",
            f"activations explode: standard deviation {_short(hidden[first - 1].std)} from "
            f"{_place(first, hidden[first - 1])} on, {_short(largest)} at the largest: use He (ReLU) or "
            "Xavier (tanh) initialisation, or batch norm",
            layer=first,
        )
    elif logits is not None and math.hypot(logits.mean, logits.std) > LARGE_LOGIT:
        yield Finding(
            "exploding",
            f"logits start at {_short(logits.mean)} ± {_short(logits.std)}, so that scores are 0 or 1 before "
            "anything is learnt: use smaller weights in the last layer, or a norm in the layers before it",
            layer=len(flow.layers),
        )


def _activations(flow: Flow, *, is_trained: bool) -> Iterator[Finding]:
    saturated = [(n, x) for n, x in enumerate(flow.layers, 1) if (x.saturated or 0) > SATURATED]
    if saturated:
        number, layer = saturated[0]
        more = f" and {len(saturated) - 1} more layers" if len(saturated) > 1 else ""
        advice = (
            "the gates or units have made up their minds; if learning stalls, lower the learning rate"
            if is_trained
            else "use smaller weights (Xavier), scaled inputs, or batch norm before the activation"
        )
        yield Finding(
            "saturated",
            f"{layer.saturated:.0%} of the {layer.activation} activations of {_place(number, layer)}"
            f"{more} are saturated and pass on no gradient: {advice}",
            is_bad=not is_trained,
            layer=number,
        )
    if flow.n_events < FEW_EVENTS:
        return
    dead = [
        (n, x)
        for n, x in enumerate(flow.layers, 1)
        if (x.dead or 0) > SILENT and (x.saturated or 0) <= SATURATED
    ]
    if dead:
        number, layer = max(dead, key=lambda entry: entry[1].dead or 0)
        is_bad = (layer.dead or 0) > DEAD
        yield Finding(
            "dead",
            f"{layer.dead:.0%} of the {layer.activation} units of {_place(number, layer)} are "
            f"{'dead' if is_bad else 'silent'}: no event of {flow.n_events} makes them active: "
            "lower the learning rate, start from He initialisation with zero biases, or use "
            "leaky_relu or batch norm",
            is_bad=is_bad,
            layer=number,
        )


def _gradients(flow: Flow) -> Iterator[Finding]:
    sizes = [(n, x, x.gradient_norm) for n, x in enumerate(flow.layers, 1)]
    without = [(n, x) for n, x, size in sizes if size == 0 and x.std > 0]
    if without and len(without) < len(sizes):
        number, layer = without[0]
        yield Finding(
            "gradient",
            f"no gradient reaches {_place(number, layer)} in the first step: a layer behind it is "
            "zero or dead",
            is_bad=False,
            layer=number,
        )
    sizes = [entry for entry in sizes if entry[2] > 0]
    if len(sizes) < 2:
        return
    low, high = min(sizes, key=lambda e: e[2]), max(sizes, key=lambda e: e[2])
    if high[2] > GRADIENT_RATIO * low[2]:
        word = "vanish" if low[0] < high[0] else "explode"
        yield Finding(
            "gradient",
            f"gradients {word} towards the input: norm {_short(low[2])} in {_place(low[0], low[1])}, "
            f"{_short(high[2])} in {_place(high[0], high[1])}: use He (ReLU) or Xavier (tanh) "
            "initialisation, batch norm, or residual blocks",
            layer=low[0] if word == "vanish" else high[0],
        )


def _updates(flow: Flow) -> Iterator[Finding]:
    ratios = [
        (n, x, x.update_ratio) for n, x in enumerate(flow.layers, 1) if x.update_ratio is not None
    ]
    if not ratios:
        return
    number, layer, ratio = max(ratios, key=lambda entry: entry[2])
    if ratio > LARGE_UPDATE:
        yield Finding(
            "update",
            f"one step changes the weights of {_place(number, layer)} by {_short(ratio)} times their own "
            "size: lower the learning rate, or start with larger weights there",
            layer=number,
        )
    elif 0 < ratio < SMALL_UPDATE:
        yield Finding(
            "update",
            f"one step changes no layer by more than {ratio:.1g} of its size: raise the learning rate "
            "(`hepdl diagnose` tries which one)",
        )


def _input_size(flow: Flow) -> float:
    """Return the typical size of an input column; 1 if nothing is known."""
    sizes = sorted(column.std for column in flow.inputs if column.std > 0)
    return sizes[len(sizes) // 2] if sizes else 1.0


def _place(number: int, layer: LayerFlow) -> str:
    return f"layer {number} ({layer.name})"


def _listed(columns: Sequence[InputColumn], units: Mapping[str, str]) -> str:
    shown = [
        f"{c.name} {c.mean:.3g} ± {c.std:.2g} {units.get(c.name, '')}".strip() for c in columns[:4]
    ]
    more = f" and {len(columns) - 4} more" if len(columns) > 4 else ""
    return ", ".join(shown) + more


def _range(values: Sequence[float]) -> str:
    low, high = _short(min(values)), _short(max(values))
    return low if low == high else f"{low} to {high}"


def _short(value: float) -> str:
    """Return two significant digits: 0.0024, 480, 3.9e+07."""
    return f"{float(f'{value:.2g}'):g}"
