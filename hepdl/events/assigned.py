"""The best assignments of each event to a decay, as networks and trees take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from hepdl.errors import DataError
from hepdl.kinematics import Decay

__all__ = ["LEAF_COLUMNS", "AssignedEvents", "Truth", "join_assigned"]

# Of each leaf of a decay; momenta in GeV, the tag 0 for what has none (lepton, neutrino).
LEAF_COLUMNS = ("px", "py", "pz", "energy", "b_tag")


@dataclass(frozen=True)
class Truth:
    """How right each assignment is: for training targets and efficiencies, never for inputs.

    Attributes:
        is_right: True where all leaves of the particle are right.
        is_known: True where truth can tell for the particle.

    Shapes:
        is_right ``(n_events, n_best, n_particles)``, is_known ``(n_events, n_particles)``, in the
        order of ``decay.particles``; both bool.
    """

    is_right: Tensor
    is_known: Tensor


@dataclass(frozen=True)
class AssignedEvents:
    """The ``n_best`` assignments of each event, the best first; all 0 where there are fewer.

    Attributes:
        decay: What the objects are assigned to.
        leaves: ``LEAF_COLUMNS`` of the object at each leaf, in the order of ``decay.leaves``.
        features: What is computed from an assignment, e.g. masses [GeV] and distances.
        score: What the assignments were ranked by; larger is better.
        mask: True where there is an assignment.
        feature_names: Name of each feature.
        truth: How right they are, where that is known.

    Shapes:
        leaves ``(n_events, n_best, n_leaves, 5)``, features ``(n_events, n_best, n_features)``,
        score ``(n_events, n_best)``, all float32; mask ``(n_events, n_best)`` bool.
    """

    decay: Decay
    leaves: Tensor
    features: Tensor
    score: Tensor
    mask: Tensor
    feature_names: tuple[str, ...] = ()
    truth: Truth | None = None

    def __len__(self) -> int:
        return len(self.score)

    @property
    def n_best(self) -> int:
        """How many assignments an event has room for."""
        return int(self.score.shape[1])

    def take(self, index: Tensor) -> AssignedEvents:
        """Return the chosen events, in the order of ``index``."""
        return self._with({key: value.index_select(0, index) for key, value in self.tensors()})

    def slice(self, first: int, end: int) -> AssignedEvents:
        """Return the events ``first`` to ``end - 1`` as views."""
        return self._with({key: value[first:end] for key, value in self.tensors()})

    def to(self, device: torch.device | str) -> AssignedEvents:
        """Return the same on ``device``."""
        return self._with({key: value.to(device) for key, value in self.tensors()})

    def best(self, n_best: int, feature_names: Sequence[str] | None = None) -> AssignedEvents:
        """Return the first ``n_best`` assignments of each event, with some of the features.

        Args:
            n_best: At most as many as there are.
            feature_names: Which, in this order; without them, all.

        Raises:
            DataError: There are fewer assignments, or no such feature.
        """
        names = self.feature_names if feature_names is None else tuple(feature_names)
        missing = [name for name in names if name not in self.feature_names]
        if n_best > self.n_best or missing:
            message = (
                f"asked for the best {n_best} assignments with {list(names)}; these events have "
                f"{self.n_best} with {list(self.feature_names)}"
            )
            raise DataError(message)
        columns = [self.feature_names.index(name) for name in names]
        truth = self.truth
        if truth is not None:
            truth = Truth(truth.is_right[:, :n_best], truth.is_known)
        return AssignedEvents(
            self.decay,
            self.leaves[:, :n_best],
            self.features[:, :n_best][:, :, columns],
            self.score[:, :n_best],
            self.mask[:, :n_best],
            names,
            truth,
        )

    def tensors(self) -> list[tuple[str, Tensor]]:
        """Return every tensor by name, those of truth last."""
        found = [(key, getattr(self, key)) for key in ("leaves", "features", "score", "mask")]
        if self.truth is not None:
            found += [(key.name, getattr(self.truth, key.name)) for key in fields(Truth)]
        return found

    def _with(self, tensors: dict[str, Tensor]) -> AssignedEvents:
        truth = None
        if self.truth is not None:
            truth = Truth(tensors["is_right"], tensors["is_known"])
        return AssignedEvents(
            self.decay,
            tensors["leaves"],
            tensors["features"],
            tensors["score"],
            tensors["mask"],
            self.feature_names,
            truth,
        )


def join_assigned(parts: Sequence[AssignedEvents]) -> AssignedEvents:
    """Return the assignments of several tables one after the other.

    Raises:
        DataError: They are of different decays, or have different features.
    """
    first = parts[0]
    for part in parts[1:]:
        same = (part.decay, part.feature_names, part.n_best, part.truth is None) == (
            first.decay,
            first.feature_names,
            first.n_best,
            first.truth is None,
        )
        if not same:
            message = (
                f"assignments differ: best {first.n_best} with {list(first.feature_names)}, and "
                f"best {part.n_best} with {list(part.feature_names)}"
            )
            raise DataError(message)
    tables = [dict(part.tensors()) for part in parts]
    return first._with({key: torch.cat([table[key] for table in tables]) for key in tables[0]})
