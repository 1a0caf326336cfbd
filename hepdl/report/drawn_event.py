"""What is drawn of an event: its objects, their assignment to a decay, and the colours of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.kinematics import Decay
from hepdl.report.style import model_colours

__all__ = ["DrawnEvent"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DrawnEvent:
    """One event and one assignment of its objects to a decay.

    Attributes:
        decay: The decay.
        leaves: Four-vector of the object at each leaf [GeV].
        jet_of_leaf: Place of this object among the jets; -1 if it is no jet.
        jets: Four-vectors of all jets [GeV].
        b_tag: Tag bin of each jet.
        lepton: Four-vector [GeV].
        missing: Missing transverse momentum, px and py [GeV].
        is_right: Whether each particle of the decay is right by truth; None draws no verdict.
        is_known: Whether truth can tell; None means it always can.

    Shapes:
        leaves ``(n_leaves, 4)``, jet_of_leaf ``(n_leaves,)``, jets ``(n_jets, 4)``,
        b_tag ``(n_jets,)``, lepton ``(4,)``, missing ``(2,)``, is_right, is_known
        ``(n_particles,)`` in the order of ``decay.particles``.

    Raises:
        DataError: Shapes do not fit the decay, or a leaf is a jet that is not there.
    """

    decay: Decay
    leaves: Floats
    jet_of_leaf: Integers
    jets: Floats
    b_tag: Integers
    lepton: Floats
    missing: Floats
    is_right: Mask | None = None
    is_known: Mask | None = None

    def __post_init__(self) -> None:
        n_leaves, n_particles = len(self.decay.leaves), len(self.decay.particles)
        wanted: dict[str, tuple[int, ...]] = {
            "leaves": (n_leaves, 4),
            "jet_of_leaf": (n_leaves,),
            "jets": (len(self.jets), 4),
            "b_tag": (len(self.jets),),
            "lepton": (4,),
            "missing": (2,),
            "is_right": (n_particles,),
            "is_known": (n_particles,),
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape:
                message = (
                    f"{name} of the drawn event has shape {np.shape(value)}; {shape} is needed"
                )
                raise DataError(message)
        if np.any(self.jet_of_leaf >= len(self.jets)):
            message = (
                f"leaves are the jets {self.jet_of_leaf.tolist()} of {len(self.jets)}; "
                "take the jets and the assignment of the same event"
            )
            raise DataError(message)

    def momenta(self) -> Floats:
        """Return the four-vectors of the leaves and of the particles, ``(n_leaves + n, 4)`` [GeV]."""
        return np.concatenate([self.leaves, self.decay.membership.astype(float) @ self.leaves])

    def branches(self) -> dict[str, str]:
        """Return the branch of each leaf: a particle's name."""
        found: dict[str, str] = {}
        for leaf, name in enumerate(self.decay.leaves):
            above = [
                particle
                for particle, below in zip(self.decay.particles, self.decay.membership, strict=True)
                if below[leaf]
            ]
            with_mass = [particle for particle in above if particle.mass is not None]
            # Mothers come after daughters: the last one is the highest, the first one the mother.
            found[name] = with_mass[-1].name if with_mass else above[0].name
        return found

    def colours(self) -> dict[str, str]:
        """Return the colour of each leaf, and of each particle that lies in one branch."""
        branches = self.branches()
        by_branch = model_colours(dict.fromkeys(branches.values()))
        found = {leaf: by_branch[branch] for leaf, branch in branches.items()}
        for particle in self.decay.particles:
            below = {found.get(daughter) for daughter in particle.daughters}
            colour = below.pop() if len(below) == 1 else None
            if colour is not None:
                found[particle.name] = colour
        return found
