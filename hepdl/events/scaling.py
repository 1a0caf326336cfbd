"""Centring and scaling of a network's inputs, fitted on the training part only.

Flat features are centred at their weighted mean and divided by their weighted standard deviation.
Node features of jet trees have long tails, so they are centred at the weighted median and divided
by the weighted interquartile range, as in the paper; every node carries the weight of its jet.
So are the features of particles, where they do not stay unscaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hepdl.errors import DataError
from hepdl.events.containers import Events, Jagged, JetTrees, gather_rows
from hepdl.events.features import flat_features
from hepdl.events.inputs import Inputs
from hepdl.events.particles import particle_columns

__all__ = ["Scaling"]

Array = npt.NDArray[np.float64]

# The quartiles of so many rows are known to 1e-3 of the range; sorting more only takes time.
MAX_ROWS = 2_000_000


@dataclass(frozen=True)
class Scaling:
    """``(value - center) / scale`` for each feature: flat, of nodes, of particles.

    Attributes:
        feature_names: The flat features that were fitted.
        center: Weighted mean of each, ``(n_features,)``.
        scale: Weighted standard deviation of each, ``(n_features,)``.
        node_center: Weighted median of each node feature, ``(n_node_features,)``; empty without
            jet trees.
        node_scale: Weighted interquartile range of each, 1 where it is 0.
        particle_center: Weighted median of each feature of the particles; empty without them.
        particle_scale: Weighted interquartile range of each, where it is 0 the standard deviation.
    """

    feature_names: tuple[str, ...]
    center: Array
    scale: Array
    node_center: Array
    node_scale: Array
    particle_center: Array = field(default_factory=lambda: np.empty(0))
    particle_scale: Array = field(default_factory=lambda: np.empty(0))

    @classmethod
    def fit(cls, events: Events, inputs: Inputs) -> Scaling:
        """Fit on the training events, each with the magnitude of its weight.

        Args:
            events: The training part, with exactly the features of ``inputs``.
            inputs: What the model needs.

        Raises:
            DataError: A feature is constant or not finite, or there are no jet trees or particles
                where the model needs them.
        """
        weight = np.abs(events.event_weight.cpu().numpy().astype(np.float64))
        if not weight.sum() > 0:
            message = f"all {len(events)} training entries have the weight 0: nothing to fit on"
            raise DataError(message)
        flat = flat_features(events, inputs.features).cpu().numpy()
        moments = [
            _moments(name, flat[:, column].astype(np.float64), weight)
            for column, name in enumerate(inputs.features)
        ]
        center, scale = (
            (np.array(numbers) for numbers in zip(*moments, strict=True))
            if (moments)
            else (np.empty(0), np.empty(0))
        )
        node_center, node_scale = np.empty(0), np.empty(0)
        if inputs.trees is not None:
            if events.jet_trees is None:
                message = (
                    "these events have no jet trees; call hepdl.events.trees.attach_trees first"
                )
                raise DataError(message)
            node_center, node_scale = _node_quartiles(events.jet_trees, weight)
        particle_center, particle_scale = np.empty(0), np.empty(0)
        if inputs.particles is not None:
            particles = particle_columns(events, inputs.particles)
            particle_center, particle_scale = _particle_quartiles(
                particles, inputs.particles.features, weight
            )
        return cls(
            tuple(inputs.features),
            center,
            scale,
            node_center,
            node_scale,
            particle_center,
            particle_scale,
        )

    def apply(self, events: Events) -> Events:
        """Return the events with scaled features, jet trees and particles."""
        flat = _scaled(flat_features(events, self.feature_names), self.center, self.scale)
        trees = events.jet_trees
        if len(self.node_center):
            if trees is None:
                message = (
                    "these events have no jet trees; call hepdl.events.trees.attach_trees first"
                )
                raise DataError(message)
            features = _scaled(trees.features, self.node_center, self.node_scale)
            trees = replace(trees, features=features)
        particles = events.particles
        if len(self.particle_center):
            if particles is None:
                message = (
                    "these events have no particles; "
                    "call hepdl.events.particles.attach_particles first"
                )
                raise DataError(message)
            values = _scaled(particles.values, self.particle_center, self.particle_scale)
            particles = replace(particles, values=values)
        return replace(events, flat=flat, jet_trees=trees, particles=particles)

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as what JSON can hold."""
        return {
            "feature_names": list(self.feature_names),
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
            "node_center": self.node_center.tolist(),
            "node_scale": self.node_scale.tolist(),
            "particle_center": self.particle_center.tolist(),
            "particle_scale": self.particle_scale.tolist(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Scaling:
        """Return the scaling that ``as_dict`` wrote down."""
        # Models that were saved before there were particles have no numbers for them.
        names = ("center", "scale", "node_center", "node_scale", "particle_center")
        return cls(
            tuple(content["feature_names"]),
            *(
                np.array(content.get(name, []), dtype=np.float64)
                for name in (*names, "particle_scale")
            ),
        )


def _moments(name: str, values: Array, weight: Array) -> tuple[float, float]:
    used = values[weight > 0]
    if not np.isfinite(used).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        message = f"feature {name!r} is {values[bad]} at training entry {bad}; it must be finite"
        raise DataError(message)
    if used.min() == used.max():
        message = (
            f"feature {name!r} is {used[0]:g} in all {len(used)} training entries: a constant "
            "carries no information and cannot be scaled; take it out of the model's features"
        )
        raise DataError(message)
    mean = float(np.average(values, weights=weight))
    # Around the mean, not as a difference of two large numbers.
    return mean, float(np.sqrt(np.average(np.square(values - mean), weights=weight)))


def _node_quartiles(trees: JetTrees, weight: Array) -> tuple[Array, Array]:
    features, node_weight = _sampled(trees.features, trees.offsets, weight)
    quartiles = np.array([_weighted_quartiles(column, node_weight) for column in features.T])
    spread = quartiles[:, 2] - quartiles[:, 0]
    return quartiles[:, 1], np.where(spread > 0, spread, 1.0)


def _particle_quartiles(
    particles: Jagged, names: tuple[str, ...], weight: Array
) -> tuple[Array, Array]:
    features, row_weight = _sampled(particles.values[:, : len(names)], particles.offsets, weight)
    if not row_weight.sum() > 0:
        message = f"none of {len(weight)} training entries has a particle: nothing to fit on"
        raise DataError(message)
    center, scale = np.empty(len(names)), np.empty(len(names))
    for column, name in enumerate(names):
        # Also refuses what is constant or not finite.
        _, deviation = _moments(f"{name} of the particles", features[:, column], row_weight)
        low, center[column], high = _weighted_quartiles(features[:, column], row_weight)
        # Half of all tracks may have the same value, charge or displacement 0.
        scale[column] = high - low if high > low else deviation
    return center, scale


def _sampled(rows: Tensor, offsets: Tensor, weight: Array) -> tuple[Array, Array]:
    """Return the rows of every n-th entry, and the weight of its entry for each of them."""
    stride = max(1, -(-len(rows) // MAX_ROWS))
    chosen = torch.arange(0, len(offsets) - 1, stride, device=offsets.device)
    index, some_offsets = gather_rows(offsets, chosen)
    row_weight = np.repeat(weight[::stride], some_offsets.diff().cpu().numpy())
    return rows[index].cpu().numpy().astype(np.float64), row_weight


def _weighted_quartiles(values: Array, weight: Array) -> Array:
    """Return the smallest values below or at which a quarter, a half … of the weight lies."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weight[order])
    wanted = cumulative[-1] * np.array([0.25, 0.5, 0.75])
    return np.asarray(values[order][np.searchsorted(cumulative, wanted, side="left")])


def _scaled(values: Tensor, center: Array, scale: Array) -> Tensor:
    """Return the first columns scaled; float64 inside, one column at a time to save memory."""
    result = torch.empty_like(values)
    result[:, len(center) :] = values[:, len(center) :]
    for column, (middle, width) in enumerate(zip(center.tolist(), scale.tolist(), strict=True)):
        result[:, column] = (values[:, column].double() - middle) / width
    return result
