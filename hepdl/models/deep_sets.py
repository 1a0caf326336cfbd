"""Deep sets: a sum over the particles of a jet, whatever their order and number.

Each particle goes through a network Φ, the results are summed, and a second network F turns the sum
into the score. This is the particle flow network (PFN). With ``weighted`` it is the energy flow
network (EFN): Φ sees directions alone, and each particle counts with its share z of the transverse
momentum, Σ z Φ(direction), which makes the score infrared and collinear safe.

Reference:
    P. T. Komiske, E. M. Metodiev, J. Thaler, "Energy flow networks: deep sets for particle jets",
    JHEP 01 (2019) 121, arXiv:1810.05165; M. Zaheer et al., "Deep sets", NeurIPS 2017,
    arXiv:1703.06114.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError
from hepdl.events import Events, Inputs, ParticleInputs, flat_features
from hepdl.events.particles import particle_columns
from hepdl.kinematics import KINEMATIC_FEATURES
from hepdl.layers import DenseStack

__all__ = ["DeepSets"]

# What a safe observable may know of a particle besides its share of the momentum.
DIRECTIONS = ("delta_eta", "delta_phi", "delta_r")
# A jet has tens of particles; in units of this number the sum over them stays of the size that F's
# first layer is made for, and the first minibatches are not spent on shrinking it.
SUM_UNIT = 32.0


class DeepSets(nn.Module):
    """A particle flow network, or an energy flow network.

    The score is ``sigmoid(logits)``. A jet without particles has the sum 0.

    Args:
        particle_features: What Φ sees of each particle: names of
            ``hepdl.kinematics.PARTICLE_FEATURES`` or columns of the collection. By default the
            seven kinematic ones; with ``weighted`` the two of the direction.
        weighted: An energy flow network, ``Σ z Φ``, with directions alone as features.
        particle_hidden: Size of each layer of Φ; the last one is the size of the sum.
        hidden: Size of each layer of F.
        collection: The collection that holds the particles.
        max_particles: Take the hardest so many of each jet; None takes all.
        features: Flat features of the jet that join the sum before F.
        dropout: Probability that a hidden unit of F is dropped while training.
        activation: Of both networks.
    """

    def __init__(
        self,
        particle_features: Sequence[str] | None = None,
        *,
        weighted: bool = False,
        particle_hidden: Sequence[int] = (100, 100, 256),
        hidden: Sequence[int] = (100, 100, 100),
        collection: str = "constituents",
        max_particles: int | None = None,
        features: Sequence[str] = (),
        dropout: float = 0.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if particle_features is None:
            particle_features = DIRECTIONS[:2] if weighted else KINEMATIC_FEATURES
        _check(particle_features, weighted=weighted)
        self.inputs = Inputs(
            features=tuple(features),
            particles=ParticleInputs(
                collection,
                features=tuple(particle_features),
                unscaled=("pt_fraction",) if weighted else (),
                max_particles=max_particles,
            ),
        )
        self.weighted = weighted
        self.particle_stack = DenseStack(
            len(particle_features), particle_hidden, batch_norm=False, activation=activation
        )
        self.stack = DenseStack(
            self.particle_stack.out_features + len(features),
            hidden,
            dropout=dropout,
            batch_norm=False,
            activation=activation,
        )
        self.output = nn.Linear(self.stack.out_features, 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew."""
        self.particle_stack.reset_parameters(generator)
        self.stack.reset_parameters(generator)
        nn.init.xavier_uniform_(self.output.weight, generator=generator)
        nn.init.zeros_(self.output.bias)

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        """Return the particles of all jets, the jet of each, and the features of the jets.

        Shapes:
            ``(n_particles, n_columns)``, ``(n_particles,)``, ``(n_events, n_features)``.
        """
        assert self.inputs.particles is not None
        particles = particle_columns(events, self.inputs.particles)
        jet = torch.repeat_interleave(
            torch.arange(len(particles), device=events.device),
            particles.counts,
            output_size=len(particles.values),
        )
        return particles.values, jet, flat_features(events, self.inputs.features)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the logits, ``(n_events,)``."""
        values, jet, flat = tensors
        if self.weighted:
            latent = self.particle_stack(values[:, :-1]) * values[:, -1:]
        else:
            latent = self.particle_stack(values) / SUM_UNIT
        # In the precision of the features, also where Φ runs with fewer bits.
        total = flat.new_zeros(len(flat), latent.shape[1])
        total = total.index_add(0, jet, latent.to(flat.dtype))
        if flat.shape[1]:
            total = torch.cat((total, flat), dim=1)
        logits: Tensor = self.output(self.stack(total))
        return logits.squeeze(1)


def _check(particle_features: Sequence[str], *, weighted: bool) -> None:
    if not particle_features:
        message = "deep_sets has no particle_features; name at least one, e.g. delta_eta"
        raise ConfigError(message)
    unsafe = [name for name in particle_features if name not in DIRECTIONS]
    if weighted and unsafe:
        message = (
            f"particle_features of a weighted deep_sets holds {', '.join(unsafe)}: a sum over "
            "momentum shares is infrared and collinear safe only if each particle is known by its "
            f"direction alone; use {', '.join(DIRECTIONS)}, or weighted: false"
        )
        raise ConfigError(message)
