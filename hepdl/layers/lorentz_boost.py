"""Learnt combinations of particles, each boosted to a learnt rest frame: the Lorentz boost network.

With the four-momenta ``k_n`` of an event and weights ``W``, ``V`` that are learnt,

    p_m = sum_n |W_mn| k_n        particle m
    r_m = sum_n |V_mn| k_n        its rest frame
    p'_m                          p_m as r_m at rest sees it

and what comes out are the energy, transverse momentum, pseudorapidity, azimuth and mass of each
``p'_m`` and the cosine of the angle between any two of them. A boost needs no matrix: with
``r = (P, E)`` of mass M, a momentum ``(p, e)`` becomes

    e' = (E e - P p) / M          p' = p - P (e + e') / (E + M)

Sums of momenta that point to the future do so, too, so that with absolute weights every ``r_m`` has
a rest frame. The exceptions are a single massless particle and nothing at all, and rounding: in
float32 ``E² - P²`` is known to some 1e-7 E². So a mass is at least ``E / MAX_GAMMA``, and a frame
without momentum leaves everything as it is. Masses are taken before the boost, which cannot change
them but would round them. All is finite, and so are the gradients, for any finite momenta.

Reference:
    M. Erdmann, E. Geiser, Y. Rath, M. Rieger, "Lorentz boost networks: autonomous physics-inspired
    feature engineering", JINST 14 (2019) P06006, arXiv:1812.09722; absolute weights, their first
    values and the six features as in the authors' code, https://github.com/riga/LBN (pairs mode).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, unknown_name

__all__ = ["BOOST_FEATURES", "PUBLISHED_FEATURES", "LorentzBoost", "boost", "invariant_mass"]

# A mass below E / MAX_GAMMA is rounding: its square would be 1e-6 E², ten times what float32 resolves.
MAX_GAMMA = 1e3
# What is added in quadrature to lengths of momenta, in the unit of the momenta. A boost by gamma 10
# of an energy of 10 rounds to some 1e-5: directions of much smaller momenta are noise.
SMALL_MOMENTUM = 1e-4

PUBLISHED_FEATURES = ("energy", "pt", "eta", "phi", "mass", "pair_cos")


class LorentzBoost(nn.Module):
    """Combinations of particles in rest frames that are combinations, too, and their features.

    Momenta should be in a unit of about their size, so that ``SMALL_MOMENTUM`` is small.

    Args:
        n_particles: Number of particles of an event.
        n_combinations: Number M of combinations, each with a rest frame of its own.
        features: Names of ``BOOST_FEATURES``: M columns each, ``pair_cos`` M (M - 1) / 2.

    Attributes:
        out_features: Number of columns.
        columns: Name of each column, ``energy_0`` to ``pair_cos_8_9``.
    """

    pairs: Tensor

    def __init__(
        self,
        n_particles: int,
        n_combinations: int,
        *,
        features: Sequence[str] = PUBLISHED_FEATURES,
    ) -> None:
        super().__init__()
        if n_particles < 1 or n_combinations < 1:
            message = (
                f"a Lorentz boost of {n_particles} particles to {n_combinations} combinations; "
                "both must be at least 1"
            )
            raise ConfigError(message)
        for name in features:
            if name not in BOOST_FEATURES:
                message = unknown_name(
                    "feature", name, BOOST_FEATURES, where="of boosted particles"
                )
                raise ConfigError(message)
        self.features = tuple(features)
        pairs = torch.triu_indices(n_combinations, n_combinations, offset=1)
        self.columns = tuple(
            f"{name}_{suffix}"
            for name in self.features
            for suffix in (
                [f"{i}_{j}" for i, j in pairs.t().tolist()]
                if name == "pair_cos"
                else range(n_combinations)
            )
        )
        self.out_features = len(self.columns)
        if not self.columns:
            message = f"{n_combinations} combinations have no features {list(features)}; name more"
            raise ConfigError(message)
        # Places of the pairs in the flattened table of all cosines.
        self.register_buffer("pairs", pairs[0] * n_combinations + pairs[1], persistent=False)
        self.particle_weight = nn.Parameter(torch.empty(n_combinations, n_particles))
        self.frame_weight = nn.Parameter(torch.empty(n_combinations, n_particles))
        self.reset_parameters()

    def extra_repr(self) -> str:
        """Return what the parameters do not show."""
        return f"features={list(self.features)}"

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew: normal, of standard deviation 1 / M."""
        for weight in (self.particle_weight, self.frame_weight):
            nn.init.normal_(weight, std=1.0 / len(weight), generator=generator)

    def combine(self, momenta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the combined particles and their rest frames.

        Shapes:
            ``(n_events, n_particles, 4)`` → twice ``(n_events, n_combinations, 4)``.
        """
        weight = torch.cat((self.particle_weight, self.frame_weight)).abs()
        # One product for all; components side by side are what the rest works on.
        combined = nn.functional.linear(momenta.transpose(1, 2), weight).transpose(1, 2)
        particles, frames = combined.split(len(self.particle_weight), dim=1)
        return particles, frames

    def forward(self, momenta: Tensor) -> Tensor:
        """Return the features of the boosted combinations, ordered as ``columns``.

        Args:
            momenta: px, py, pz and energy of each particle; zeros where there is none.

        Shapes:
            ``(n_events, n_particles, 4)`` → ``(n_events, out_features)``.
        """
        # Eight bits of a half-precision number are not enough for any boost.
        with torch.autocast(momenta.device.type, enabled=False):
            particles, frames = self.combine(momenta.float())
            boosted = boost(particles, frames)
            found = [BOOST_FEATURES[name](boosted, particles) for name in self.features]
            tables = [
                values.flatten(1).index_select(1, self.pairs) if values.dim() == 3 else values
                for values in found
            ]
            return torch.cat(tables, dim=1)


def invariant_mass(momenta: Tensor) -> Tensor:
    """Return the mass, at least ``E / MAX_GAMMA`` (and ``SMALL_MOMENTUM``).

    Shapes:
        ``(…, 4)`` → ``(…)``.
    """
    px, py, pz, energy = momenta.unbind(-1)
    squared = energy.square() - px.square() - py.square() - pz.square()
    least = (energy / MAX_GAMMA).square() + SMALL_MOMENTUM**2
    return torch.maximum(squared, least).sqrt()


def boost(momenta: Tensor, frames: Tensor) -> Tensor:
    """Return the momenta as one sees them in whose rest frame ``frames`` are at rest.

    A frame of less than its least mass (see ``invariant_mass``) is given that mass.

    Args:
        momenta: px, py, pz, energy.
        frames: The four-momentum that is at rest afterwards, for each of the momenta.

    Shapes:
        both ``(…, 4)`` → ``(…, 4)``.
    """
    px, py, pz, energy = momenta.unbind(-1)
    frame_x, frame_y, frame_z, _ = frames.unbind(-1)
    mass = invariant_mass(frames)
    total = mass.square() + frame_x.square() + frame_y.square() + frame_z.square()
    frame_energy = total.sqrt()
    along = frame_x * px + frame_y * py + frame_z * pz
    boosted_energy = (frame_energy * energy - along) / mass
    shift = (energy + boosted_energy) / (frame_energy + mass)
    components = (px - frame_x * shift, py - frame_y * shift, pz - frame_z * shift, boosted_energy)
    return torch.stack(components, dim=-1)


def _pt(momenta: Tensor) -> Tensor:
    squared = momenta[..., 0].square() + momenta[..., 1].square()
    return (squared + SMALL_MOMENTUM**2).sqrt()


def _eta(momenta: Tensor) -> Tensor:
    return torch.asinh(momenta[..., 2] / _pt(momenta))


def _phi(momenta: Tensor) -> Tensor:
    px, py = momenta[..., 0], momenta[..., 1]
    # Nothing has no azimuth, and close to it the gradient of atan2 is not finite.
    is_small = px.square() + py.square() < SMALL_MOMENTUM**2
    return torch.atan2(py, torch.where(is_small, SMALL_MOMENTUM, px))


def _pair_cos(momenta: Tensor) -> Tensor:
    momentum = (_pt(momenta).square() + momenta[..., 2].square()).sqrt()
    unit = momenta[..., :3] / momentum[..., None]
    return unit @ unit.transpose(1, 2)


# Of the boosted momenta and of those before the boost, (n_events, n_combinations, 4) each.
BOOST_FEATURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "energy": lambda boosted, _: boosted[..., 3],
    "pt": lambda boosted, _: _pt(boosted),
    "eta": lambda boosted, _: _eta(boosted),
    "phi": lambda boosted, _: _phi(boosted),
    "cos_phi": lambda boosted, _: boosted[..., 0] / _pt(boosted),
    "sin_phi": lambda boosted, _: boosted[..., 1] / _pt(boosted),
    "mass": lambda _, particles: invariant_mass(particles),
    "pair_cos": lambda boosted, _: _pair_cos(boosted),
}
