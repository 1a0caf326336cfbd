"""The assignments that a model takes: checked, and a few events at a time."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from hepdl.errors import DataError
from hepdl.events.assigned import AssignedEvents
from hepdl.events.containers import Events
from hepdl.events.inputs import AssignmentInputs
from hepdl.kinematics import Decay

__all__ = ["chosen_assignments", "weighted_chunks"]

# Nodes of a decay in float64 take some 50 MB for so many events.
_CHUNK = 4096


def chosen_assignments(
    events: Events, inputs: AssignmentInputs, decay: Decay | None = None
) -> AssignedEvents:
    """Return the assignments of the events after a check that they are those of ``inputs``.

    Args:
        events: The events.
        inputs: How many assignments the model takes, and which features of them.
        decay: What they must be assignments to; without it, any decay will do.

    Raises:
        DataError: There are none, other ones, or they are of another decay.
    """
    found = events.assignments
    if found is None:
        message = (
            f"the model takes the best {inputs.n_best} assignments, these events have none; add the "
            "section reconstruction to the analysis, or give the events assignments"
        )
        raise DataError(message)
    if (found.n_best, found.feature_names) != (inputs.n_best, inputs.features):
        message = (
            f"the model takes the best {inputs.n_best} assignments with {list(inputs.features)}, the "
            f"events have {found.n_best} with {list(found.feature_names)}; cut them with "
            "AssignedEvents.best first"
        )
        raise DataError(message)
    if decay is not None and found.decay != decay:
        message = (
            f"the model is made for {_described(decay)}; the assignments of these events are of "
            f"{_described(found.decay)}; give the model the decay of the section reconstruction"
        )
        raise DataError(message)
    return found


def weighted_chunks(
    assigned: AssignedEvents, event_weight: Tensor
) -> Iterator[tuple[AssignedEvents, Tensor]]:
    """Yield some events after the other, and the weights of the assignments that there are.

    An assignment has the magnitude of the weight of its event.

    Shapes:
        event_weight ``(n_events,)`` → for each piece ``(n_assignments_of_all,)``, in the order of
        ``values[piece.mask]``.
    """
    for first in range(0, len(assigned), _CHUNK):
        piece = assigned.slice(first, first + _CHUNK)
        weight = event_weight[first : first + _CHUNK, None].abs().expand(piece.mask.shape)
        yield piece, weight[piece.mask]


def _described(decay: Decay) -> str:
    """Return a decay in one line, with all that makes two decays differ."""
    particles = [
        f"{p.name} → {' '.join(p.daughters)}"
        + (f" ({p.mass:g} ± {p.resolution:g} GeV)" if p.mass else "")
        for p in reversed(decay.particles)
    ]
    leaves = [f"{name}: {kind}" for name, kind in zip(decay.leaves, decay.kinds, strict=True)]
    return f"[{', '.join(particles)}; {', '.join(leaves)}]"
