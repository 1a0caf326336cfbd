"""ParticleNet: edge convolutions between the nearest particles of a jet.

In the first block the neighbours are near in the plane of pseudorapidity and azimuth, in the next
ones in the features that the block before has learnt. Unlike in the authors' code, filled-up
positions are nobody's neighbours and enter no mean and no batch norm, so that a jet's score does
not depend on the size of other jets. A jet of n particles has n - 1 neighbours a particle where
that is less than the wanted number.

Reference:
    H. Qu, L. Gouskos, "ParticleNet: jet tagging via particle clouds", Phys. Rev. D 101 (2020)
    056019, arXiv:1902.08570; parameters and layers of both variants as in the authors' code,
    https://github.com/hqucms/ParticleNet.
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
from hepdl.layers.edge_conv import EdgeConvBlock, RowNorm
from hepdl.layers.neighbours import Neighbourhood, arrange_neighbourhood, nearest_neighbours

__all__ = ["ParticleNet"]

COORDINATES = ("delta_eta", "delta_phi")
BLOCKS = ((64, 64, 64), (128, 128, 128), (256, 256, 256))
LITE_BLOCKS = ((32, 32, 32), (64, 64, 64))


class ParticleNet(nn.Module):
    """A network of edge convolutions on the particles of a jet.

    The score is ``sigmoid(logits)``. A jet without particles has the mean 0.

    Args:
        particle_features: Names of ``hepdl.kinematics.PARTICLE_FEATURES`` or columns of the
            collection; by default the seven kinematic ones of the paper.
        lite: ParticleNet-Lite: two smaller blocks, 7 neighbours, 128 hidden units. What is given
            explicitly wins.
        blocks: Sizes of the three layers of each block.
        n_neighbours: At most so many neighbours a particle; 16 in the paper.
        hidden: Sizes of the dense layers after the mean over the particles.
        dropout: Probability that a hidden unit is dropped while training.
        collection: The collection that holds the particles.
        max_particles: Take the hardest so many of each jet; None takes all.
        features: Flat features of the jet that join the mean before the dense layers.
    """

    def __init__(
        self,
        particle_features: Sequence[str] = KINEMATIC_FEATURES,
        *,
        lite: bool = False,
        blocks: Sequence[Sequence[int]] | None = None,
        n_neighbours: int | None = None,
        hidden: Sequence[int] | None = None,
        dropout: float = 0.1,
        collection: str = "constituents",
        max_particles: int | None = None,
        features: Sequence[str] = (),
    ) -> None:
        super().__init__()
        blocks = (LITE_BLOCKS if lite else BLOCKS) if blocks is None else blocks
        hidden = ((128,) if lite else (256,)) if hidden is None else hidden
        self.n_neighbours = (7 if lite else 16) if n_neighbours is None else n_neighbours
        if not particle_features or not blocks or self.n_neighbours < 1:
            message = (
                f"particle_net has the particle_features {list(particle_features)}, {len(blocks)} "
                f"blocks and n_neighbours {self.n_neighbours}; it needs at least one of each"
            )
            raise ConfigError(message)
        self.inputs = Inputs(
            features=tuple(features),
            particles=ParticleInputs(
                collection,
                features=tuple(particle_features),
                unscaled=COORDINATES,
                max_particles=max_particles,
            ),
        )
        sizes = [len(particle_features), *(block[-1] for block in blocks)]
        self.norm = RowNorm(sizes[0])
        self.blocks = nn.ModuleList(
            EdgeConvBlock(n_in, block) for n_in, block in zip(sizes, blocks, strict=False)
        )
        self.stack = DenseStack(
            sizes[-1] + len(features), hidden, dropout=dropout, batch_norm=False
        )
        self.output = nn.Linear(self.stack.out_features, 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew."""
        self.norm.reset_parameters()
        for block in self.blocks:
            assert isinstance(block, EdgeConvBlock)
            block.reset_parameters(generator)
        self.stack.reset_parameters(generator)
        nn.init.xavier_uniform_(self.output.weight, generator=generator)
        nn.init.zeros_(self.output.bias)

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        """Return particles, jet of each, features of the jets, and the layout of neighbourhoods.

        Shapes:
            ``(n_particles, n_columns)``, ``(n_particles,)``, ``(n_events, n_features)``, then the
            tensors of ``hepdl.layers.neighbours.Neighbourhood``.
        """
        assert self.inputs.particles is not None
        particles = particle_columns(events, self.inputs.particles)
        jet = torch.repeat_interleave(
            torch.arange(len(particles), device=events.device),
            particles.counts,
            output_size=len(particles.values),
        )
        layout = arrange_neighbourhood(
            particles.offsets, particles.host_offsets, n_neighbours=self.n_neighbours
        )
        return particles.values, jet, flat_features(events, self.inputs.features), *layout

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the logits, ``(n_events,)``."""
        columns, jet, flat, *layout = tensors
        neighbourhood = Neighbourhood(*layout)
        values, points = columns.tensor_split((-len(COORDINATES),), dim=1)
        values = self.norm(values)
        for block in self.blocks:
            edges = nearest_neighbours(points, neighbourhood, n_neighbours=self.n_neighbours)
            values = points = block(values, edges)
        # In the precision of the features, also where the blocks run with fewer bits.
        total = flat.new_zeros(len(flat), values.shape[1])
        total = total.index_add(0, jet, values.to(flat.dtype))
        counts = neighbourhood.is_real.sum(dim=1, keepdim=True).clamp(min=1)
        mean = total / counts
        if flat.shape[1]:
            mean = torch.cat((mean, flat), dim=1)
        logits: Tensor = self.output(self.stack(mean))
        return logits.squeeze(1)
