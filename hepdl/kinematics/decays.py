"""A decay as data: which particle goes to which, down to the leaves that are measured.

In YAML, for top pairs with a Higgs boson (``TTH_DECAY`` of ``hepdl.kinematics.tth_assignments``):

    particles:
      top_lep: {daughters: [w_lep, b_lep], mass: 172.5, resolution: 24}
      w_lep: [lepton, neutrino]               # short for {daughters: […]}
      higgs: {daughters: [b1, b2], mass: 111, resolution: 18}
      …
    leaves: {b1: b_jet, b2: b_jet, b_lep: b_jet, q1: light_jet, lepton: lepton, …}

A leaf is given with its kind, which says where its candidates come from. Sister branches that are
the same in shape, kinds and masses are identical: exchanging them gives the same physics. From
this the symmetries of a decay follow, and of all assignments that symmetries turn into each other
only one is kept.

Reference:
    Fixed decay trees as the shape of a network: Z. Guo's thesis (Aix-Marseille, 2019) on ttH(bb),
    after G. Louppe et al., "QCD-aware recursive neural networks for jet physics",
    arXiv:1702.00748; the symmetries of a decay as a group that acts on its leaves: A. Shmakov et
    al., "SPANet", arXiv:2106.03898.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepdl.errors import ConfigError, nearest

__all__ = ["Decay", "Particle"]

IntArray = NDArray[np.int64]

_KEYS = ("daughters", "mass", "resolution")


@dataclass(frozen=True)
class Particle:
    """A particle that decays.

    Attributes:
        name: Its name.
        daughters: Names of particles or leaves.
        mass: Where its reconstructed mass peaks [GeV], or None if unknown (no constraint).
        resolution: Width of that peak [GeV].
    """

    name: str
    daughters: tuple[str, ...]
    mass: float | None = None
    resolution: float | None = None


@dataclass(frozen=True)
class Decay:
    """A tree of particles with one root.

    Attributes:
        particles: Daughters before their mothers; the root comes last.
        leaves: Names of the leaves, from left to right.
        kinds: Kind of each leaf.
    """

    particles: tuple[Particle, ...]
    leaves: tuple[str, ...]
    kinds: tuple[str, ...]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, where: str = "decay") -> Decay:
        """Return the decay that a mapping (of a YAML file) describes; see the module.

        Args:
            mapping: ``particles`` and ``leaves``.
            where: The key path, for messages.

        Raises:
            ConfigError: It is not one tree; every problem is named.
        """
        problems = [
            f"{where}.{key} is missing" for key in ("particles", "leaves") if key not in mapping
        ]
        problems += [
            f"{where}.{key} is not known; a decay has particles and leaves"
            for key in mapping
            if key not in ("particles", "leaves")
        ]
        problems += [
            f"{where}.{key} is {mapping[key]!r}; it must be a mapping of names"
            for key in ("particles", "leaves")
            if key in mapping and not isinstance(mapping[key], Mapping)
        ]
        if not problems:
            leaves = dict(mapping["leaves"])
            particles = {
                str(name): _particle(str(name), value, f"{where}.particles", problems)
                for name, value in mapping["particles"].items()
            }
            problems += _problems(particles, leaves, where)
        if problems:
            message = "\n".join(problems)
            raise ConfigError(message)
        (root,) = set(particles) - {d for p in particles.values() for d in p.daughters}
        names = [name for name in _walk(root, particles) if name in leaves]
        return cls(
            particles=tuple(
                particles[name] for name in _walk(root, particles) if name in particles
            ),
            leaves=tuple(names),
            kinds=tuple(str(leaves[name]) for name in names),
        )

    @property
    def root(self) -> Particle:
        """The particle that is nobody's daughter."""
        return self.particles[-1]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the leaves, then of the particles: the order of momenta."""
        return self.leaves + tuple(particle.name for particle in self.particles)

    @cached_property
    def membership(self) -> NDArray[np.bool_]:
        """Which leaves a particle decays to in the end, ``(n_particles, n_leaves)``."""
        table = np.zeros((len(self.particles), len(self.leaves)), dtype=bool)
        row = {particle.name: i for i, particle in enumerate(self.particles)}
        for i, particle in enumerate(self.particles):
            for daughter in particle.daughters:
                if daughter in row:
                    table[i] |= table[row[daughter]]
                else:
                    table[i, self.leaves.index(daughter)] = True
        return table

    @cached_property
    def symmetries(self) -> IntArray:
        """Permutations of the leaves that leave the decay as it is; the first is the identity.

        An assignment ``a`` (a member for each leaf) is the same as ``a[symmetry]``.

        Shapes:
            ``(n_symmetries, n_leaves)``.
        """
        by_name = {particle.name: particle for particle in self.particles}
        kind = dict(zip(self.leaves, self.kinds, strict=True))
        found = _arrangements(self.root.name, by_name, kind)
        place = {name: i for i, name in enumerate(self.leaves)}
        table = np.empty((len(found), len(self.leaves)), dtype=np.int64)
        start = [place[name] for name in found[0]]
        for row, arrangement in zip(table, found, strict=True):
            row[start] = [place[name] for name in arrangement]
        return table


def _particle(name: str, value: Any, where: str, problems: list[str]) -> Particle:
    """Return a particle of the mapping; what is wrong with it is added to ``problems``."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = {"daughters": value}
    if not isinstance(value, Mapping):
        problems.append(f"{where}.{name}: {value!r} is neither a list of daughters nor a mapping")
        return Particle(name, ())
    problems += [
        f"{where}.{name}.{key} is not known; there are {', '.join(_KEYS)}"
        for key in value
        if key not in _KEYS
    ]
    daughters = tuple(str(daughter) for daughter in value.get("daughters", ()))
    if len(daughters) < 2:
        problems.append(f"{where}.{name} has {len(daughters)} daughters; a decay has at least two")
    mass, resolution = value.get("mass"), value.get("resolution")
    if (mass is None) != (resolution is None):
        problems.append(f"{where}.{name}: give mass and resolution [GeV] together, or neither")
    for key, number in (("mass", mass), ("resolution", resolution)):
        if number is not None and not (isinstance(number, int | float) and number > 0):
            problems.append(f"{where}.{name}.{key} is {number!r}; it is a positive number [GeV]")
    return Particle(name, daughters, mass, resolution)


def _problems(particles: dict[str, Particle], leaves: dict[str, Any], where: str) -> list[str]:
    """Return what keeps particles and leaves from being one tree."""
    problems = [
        f"{where}: {name} is a particle and a leaf; it can be only one" for name in leaves
        if name in particles
    ]  # fmt: skip
    mothers: dict[str, list[str]] = {name: [] for name in (*particles, *leaves)}
    for particle in particles.values():
        for daughter in particle.daughters:
            if daughter in mothers:
                mothers[daughter].append(particle.name)
                continue
            near = nearest(daughter, mothers)
            hint = f"; did you mean {near!r}?" if near else ""
            problems.append(
                f"{where}.particles.{particle.name}: {daughter!r} is neither a particle nor a leaf"
                + hint
            )
    for name, found in mothers.items():
        if len(found) > 1:
            problems.append(f"{where}: {name} is a daughter of {' and of '.join(found)}")
        elif not found and name in leaves:
            problems.append(f"{where}.leaves.{name} is nobody's daughter")
    roots = [name for name in particles if not mothers[name]]
    if len(roots) != 1:
        listed = ", ".join(roots) or "none"
        problems.append(
            f"{where}: the particles that are nobody's daughter are {listed}; there must be one"
        )
    elif not problems:
        reached = set(_walk(roots[0], particles))
        lost = [name for name in particles if name not in reached]
        if lost:
            problems.append(f"{where}: {', '.join(lost)} decay in a circle")
    return problems


def _walk(name: str, particles: Mapping[str, Particle]) -> Iterator[str]:
    """Give everything below a particle, daughters first, and the particle itself."""
    if name in particles:
        for daughter in particles[name].daughters:
            yield from _walk(daughter, particles)
    yield name


def _signature(name: str, particles: Mapping[str, Particle], kind: Mapping[str, str]) -> str:
    """Return a text that is the same for identical branches and for no others."""
    if name not in particles:
        return repr(kind[name])
    particle = particles[name]
    below = sorted(_signature(daughter, particles, kind) for daughter in particle.daughters)
    return f"({particle.mass}, {particle.resolution}, [{', '.join(below)}])"


def _arrangements(
    name: str, particles: Mapping[str, Particle], kind: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """Return the orders of a branch's leaves that look alike; the first is the normal one."""
    if name not in particles:
        return [(name,)]
    daughters = sorted(
        particles[name].daughters, key=lambda daughter: _signature(daughter, particles, kind)
    )
    classes = [
        list(group)
        for _, group in itertools.groupby(
            daughters, key=lambda daughter: _signature(daughter, particles, kind)
        )
    ]
    found = []
    for orders in itertools.product(*(itertools.permutations(group) for group in classes)):
        branches = [
            _arrangements(daughter, particles, kind) for order in orders for daughter in order
        ]
        found += [
            tuple(itertools.chain.from_iterable(choice)) for choice in itertools.product(*branches)
        ]
    return found
