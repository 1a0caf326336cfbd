"""A long short-term memory that reads the particles of a jet one after the other.

The particles are ordered by transverse momentum; the state after the last one, and features of the
jet if there are any, go through dense layers.

Reference:
    S. Egan, W. Fedorko, A. Lister, J. Pearkes, C. Gay, "Long short-term memory (LSTM) networks with
    jet constituents for boosted top tagging at the LHC", arXiv:1711.09059: 128 units, a dense layer
    of 64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, unknown_name
from hepdl.events import Events, Inputs, ParticleInputs, flat_features
from hepdl.events.particles import particle_columns
from hepdl.kinematics import KINEMATIC_FEATURES
from hepdl.layers import DenseStack, lstm
from hepdl.layers.neighbours import padded_rows

__all__ = ["Lstm"]

ORDERS = ("softest_first", "hardest_first")


class Lstm(nn.Module):
    """A long short-term memory over the particles of a jet.

    The score is ``sigmoid(logits)``. A jet without particles has the state 0.

    Args:
        particle_features: Names of ``hepdl.kinematics.PARTICLE_FEATURES`` or columns of the
            collection; by default the seven kinematic ones of ParticleNet.
        units: Size of cell and state.
        hidden: Size of each dense layer after the last state.
        order: ``softest_first``, which ends with the hardest particle, or ``hardest_first``.
        collection: The collection that holds the particles.
        max_particles: Take the hardest so many of each jet; None takes all.
        features: Flat features of the jet that join the last state.
        dropout: Probability that a unit of a dense layer is dropped while training.
    """

    def __init__(
        self,
        particle_features: Sequence[str] = KINEMATIC_FEATURES,
        *,
        units: int = 128,
        hidden: Sequence[int] = (64,),
        order: str = "softest_first",
        collection: str = "constituents",
        max_particles: int | None = None,
        features: Sequence[str] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not particle_features:
            message = "lstm has no particle_features; name at least one, e.g. log_pt"
            raise ConfigError(message)
        if order not in ORDERS:
            raise ConfigError(unknown_name("order", order, ORDERS, where="order of lstm"))
        self.inputs = Inputs(
            features=tuple(features),
            particles=ParticleInputs(
                collection, features=tuple(particle_features), max_particles=max_particles
            ),
        )
        self.order = order
        self.memory = lstm.Lstm(len(particle_features), units)
        self.stack = DenseStack(
            units + len(features), hidden, dropout=dropout, batch_norm=False, activation="relu"
        )
        self.output = nn.Linear(self.stack.out_features, 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew; the forget gates start open."""
        self.memory.reset_parameters(generator)
        self.stack.reset_parameters(generator)
        nn.init.xavier_uniform_(self.output.weight, generator=generator)
        nn.init.zeros_(self.output.bias)

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        """Return the particles in the order of reading, which are real, and the jets' features.

        Shapes:
            ``(n_events, n_max, n_particle_features)``, ``(n_events, n_max)``,
            ``(n_events, n_features)``.
        """
        assert self.inputs.particles is not None
        particles = particle_columns(events, self.inputs.particles)
        width = int(np.diff(particles.host_offsets).max(initial=0))
        rows, is_real = padded_rows(particles.offsets, width)
        if self.order == "softest_first":
            # First and last row of a jet add up to the same number as every pair in between.
            ends = particles.offsets[:-1] + particles.offsets[1:] - 1
            rows = torch.where(is_real, ends[:, None] - rows, 0)
        values = particles.values[rows].masked_fill(~is_real[:, :, None], 0.0)
        return values, is_real, flat_features(events, self.inputs.features)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the logits, ``(n_events,)``."""
        values, is_real, flat = tensors
        state = self.memory(values, is_real)
        if flat.shape[1]:
            state = torch.cat((state, flat), dim=1)
        logits: Tensor = self.output(self.stack(state))
        return logits.squeeze(1)
