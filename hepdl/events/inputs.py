"""What a model needs from the events, written down as data."""

from __future__ import annotations

from dataclasses import dataclass

from hepdl.errors import ConfigError

__all__ = ["AssignmentInputs", "Inputs", "ParticleInputs", "TreeInputs"]


@dataclass(frozen=True)
class TreeInputs:
    """How to build the jet tree of each entry.

    Attributes:
        collection: The collection that holds the constituents' four-vectors.
        topology: A name of ``hepdl.kinematics.TOPOLOGIES``, e.g. ``"kt"``.
        preprocess: Rotate, boost and flip the jet to a standard frame first.
        seed: For the random topology only.
    """

    collection: str = "constituents"
    topology: str = "kt"
    preprocess: bool = True
    seed: int = 0


@dataclass(frozen=True)
class ParticleInputs:
    """How to build the list of particles of each entry, ordered by falling pT.

    Attributes:
        collection: The collection that holds the particles' four-vectors.
        features: Names of ``hepdl.kinematics.PARTICLE_FEATURES``, or columns of the collection.
        unscaled: Further columns, which stay as they are while the features are centred and
            scaled: coordinates in which distances are measured, weights of a sum.
        max_particles: How many of the hardest are kept; None for all. Axis and sums that the
            features refer to are those of all particles.

    Raises:
        ConfigError: ``max_particles`` is not at least 1.
    """

    collection: str = "constituents"
    features: tuple[str, ...] = ()
    unscaled: tuple[str, ...] = ()
    max_particles: int | None = None

    def __post_init__(self) -> None:
        if self.max_particles is not None and self.max_particles < 1:
            message = f"max_particles is {self.max_particles}; it must be at least 1, or null"
            raise ConfigError(message)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of ``Events.particles``: the features, then what stays unscaled."""
        return (*self.features, *self.unscaled)


@dataclass(frozen=True)
class AssignmentInputs:
    """Which candidate assignments of each entry a model takes.

    What they are assignments to, and what ranks them, is the same for all models of an analysis.

    Attributes:
        n_best: How many, the best first.
        features: What is wanted of each of them, e.g. ``mass_higgs``.

    Raises:
        ConfigError: ``n_best`` is not at least 1.
    """

    n_best: int = 1
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.n_best < 1:
            message = f"n_best is {self.n_best}; a model takes at least 1 assignment of each event"
            raise ConfigError(message)


@dataclass(frozen=True)
class Inputs:
    """What a model needs: names of flat features, recipes for all else.

    Attributes:
        features: Columns of ``Events.flat`` in the model's order; may be empty.
        trees: Recipe for ``Events.jet_trees``, or None if the model takes no trees.
        particles: Recipe for ``Events.particles``, or None if the model takes none.
        scaled: Whether the model wants the features centred and scaled (networks do,
            boosted trees do not).
        assignments: Which of ``Events.assignments``, or None if the model takes none.
    """

    features: tuple[str, ...] = ()
    trees: TreeInputs | None = None
    scaled: bool = True
    particles: ParticleInputs | None = None
    assignments: AssignmentInputs | None = None
