"""What a model needs from the events, written down as data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Inputs", "TreeInputs"]


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
class Inputs:
    """What a model needs: names of flat features, and a recipe for jet trees.

    Attributes:
        features: Columns of ``Events.flat`` in the model's order; may be empty.
        trees: Recipe for ``Events.jet_trees``, or None if the model takes no trees.
        scaled: Whether the model wants the features centred and scaled (networks do,
            boosted trees do not).
    """

    features: tuple[str, ...] = ()
    trees: TreeInputs | None = None
    scaled: bool = True
