"""Learnt combinations of four-momenta and the Minkowski products of them: CoLa and LoLa.

The combination layer (CoLa) makes rows out of the momenta ``k_n`` of an event: the sum of all, each
of them as it is, and combinations with learnt weights of either sign. The Lorentz layer (LoLa) says
of each row ``q_j``

    m²(q_j)                       Minkowski square, of either sign
    pT(q_j)
    sum_m A_jm E(q_m)             A learnt
    sum_m B_jm d²_jm              B learnt, n_sums times
    min_m C_jm d²_jm              C learnt, n_minima times

with ``d²_jm`` the Minkowski square of ``q_j - q_m``. The distance of a row to itself is 0 and is left
out of the minimum: it would hide all positive products, and their weights would learn nothing.
None of it changes when the event is turned about the beam or mirrored.

Reference:
    A. Butter, G. Kasieczka, T. Plehn, M. Russell, "Deep-learned top tagging with a Lorentz layer",
    SciPost Phys. 5 (2018) 028, arXiv:1707.08966: two sums and two minima, 15 learnt combinations.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError
from hepdl.layers.lorentz_boost import SMALL_MOMENTUM

__all__ = ["LorentzLayer"]


class LorentzLayer(nn.Module):
    """A combination layer and a Lorentz layer.

    Momenta should be in a unit of about their size, so that ``SMALL_MOMENTUM`` is small.

    Args:
        n_particles: Number N of particles of an event.
        n_combinations: Number of learnt combinations.
        n_sums: How often the distances of a row are summed, each time with weights of its own.
        n_minima: How often the least of them is taken.

    Attributes:
        n_rows: ``1 + N + n_combinations``.
        out_features: ``(3 + n_sums + n_minima) n_rows``.
        columns: Name of each column, ``mass_squared_0`` to ``least_distance_1_35``.
    """

    fixed: Tensor
    is_diagonal: Tensor
    metric: Tensor
    no_self: Tensor

    def __init__(
        self, n_particles: int, n_combinations: int = 15, *, n_sums: int = 2, n_minima: int = 2
    ) -> None:
        super().__init__()
        if n_particles < 1 or min(n_combinations, n_sums, n_minima) < 0:
            message = (
                f"a Lorentz layer of {n_particles} particles, {n_combinations} combinations, "
                f"{n_sums} sums and {n_minima} minima; it needs at least 1 particle, and no number "
                "may be negative"
            )
            raise ConfigError(message)
        self.n_rows = 1 + n_particles + n_combinations
        self.n_sums = n_sums
        names = ["mass_squared", "pt", "energy_sum"]
        names += [f"distance_sum_{copy}" for copy in range(n_sums)]
        names += [f"least_distance_{copy}" for copy in range(n_minima)]
        self.columns = tuple(f"{name}_{row}" for name in names for row in range(self.n_rows))
        self.out_features = len(self.columns)
        fixed = torch.cat((torch.ones(1, n_particles), torch.eye(n_particles)))
        self.register_buffer("fixed", fixed, persistent=False)
        is_diagonal = torch.eye(self.n_rows, dtype=torch.bool)
        self.register_buffer("is_diagonal", is_diagonal, persistent=False)
        no_self = torch.zeros(is_diagonal.shape).masked_fill(is_diagonal, torch.inf)
        self.register_buffer("no_self", no_self, persistent=False)
        metric = torch.tensor((-1.0, -1.0, -1.0, 1.0))
        self.register_buffer("metric", metric, persistent=False)
        self.combination_weight = nn.Parameter(torch.empty(n_combinations, n_particles))
        self.energy_weight = nn.Parameter(torch.empty(self.n_rows, self.n_rows))
        self.distance_weight = nn.Parameter(
            torch.empty(n_sums + n_minima, self.n_rows, self.n_rows)
        )
        self.reset_parameters()

    def extra_repr(self) -> str:
        """Return what the parameters do not show."""
        return f"n_rows={self.n_rows}, n_sums={self.n_sums}"

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew: normal, so that a sum is of the size of one of its terms."""
        for weight in (self.combination_weight, self.energy_weight, self.distance_weight):
            if weight.numel():
                nn.init.normal_(weight, std=1 / math.sqrt(weight.shape[-1]), generator=generator)

    def combine(self, momenta: Tensor) -> Tensor:
        """Return the rows: sum, particles, learnt combinations.

        Shapes:
            ``(n_events, n_particles, 4)`` → ``(n_events, n_rows, 4)``.
        """
        weight = torch.cat((self.fixed, self.combination_weight))
        return nn.functional.linear(momenta.transpose(1, 2), weight).transpose(1, 2)

    def forward(self, momenta: Tensor) -> Tensor:
        """Return what the layer says of all rows, ordered as ``columns``.

        Args:
            momenta: px, py, pz and energy of each particle; zeros where there is none.

        Shapes:
            ``(n_events, n_particles, 4)`` → ``(n_events, out_features)``.
        """
        # Minkowski squares are small differences of large numbers.
        with torch.autocast(momenta.device.type, enabled=False):
            rows = self.combine(momenta.float())
            lowered = rows * self.metric
            squared = (rows * lowered).sum(-1)
            transverse = rows[..., 0].square() + rows[..., 1].square()
            found = [
                squared,
                (transverse + SMALL_MOMENTUM**2).sqrt(),
                nn.functional.linear(rows[..., 3], self.energy_weight),
            ]
            products = rows @ lowered.transpose(1, 2)
            distances = squared[:, :, None] + squared[:, None, :] - 2 * products
            distances = distances.masked_fill(self.is_diagonal, 0.0)
            for copy, weight in enumerate(self.distance_weight):
                weighted = distances * weight
                is_sum = copy < self.n_sums
                found.append(weighted.sum(-1) if is_sum else (weighted + self.no_self).min(-1)[0])
            return torch.cat(found, dim=1)
