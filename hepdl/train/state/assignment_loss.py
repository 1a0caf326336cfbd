"""The loss of an auxiliary head that says which assignment of an event is the right one.

With logits ``z_k`` of the assignments k that an event has, and R those of them in which all particles
are right of which truth can tell,

    L = -log Σ_{k in R} softmax(z)_k

so that several right ones (the same jets with either solution for a neutrino) share the
probability, and an event of which truth knows one particle teaches about that one. Where truth knows
nothing, or no listed assignment is right, there is nothing to be learnt: the loss of such an event
is 0.

Reference:
    Partial events as in A. Shmakov et al., "SPANet", arXiv:2106.03898; the sum over right ones is
    the marginal likelihood.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hepdl.errors import DataError
from hepdl.events import AssignedEvents, Events

__all__ = ["assignment_loss", "assignments_with_truth", "right_assignments"]


def assignments_with_truth(events: Events, *, where: str) -> AssignedEvents:
    """Return the assignments of events that have them, and truth.

    Args:
        events: The events.
        where: The configuration key, for messages.

    Raises:
        DataError: They have not.
    """
    found = events.assignments
    if found is None or found.truth is None:
        lacks = "assignments" if found is None else "truth of their assignments"
        message = (
            f"{where}: loss: assignment learns which assignment is right, and the training events "
            f"have no {lacks}; give the head to a network that takes assignments, and the section "
            "reconstruction its truth"
        )
        raise DataError(message)
    return found


def right_assignments(assigned: AssignedEvents) -> Tensor:
    """Return where all particles are right of which truth can tell; all False where it cannot.

    Shapes:
        ``(n_events, n_assignments)`` bool.
    """
    assert assigned.truth is not None
    known = assigned.truth.is_known
    is_right = (assigned.truth.is_right | ~known[:, None]).all(dim=2)
    return is_right & assigned.mask & known.any(dim=1, keepdim=True)


def assignment_loss(logits: Tensor, assigned: AssignedEvents, event_weight: Tensor) -> Tensor:
    """Return ``Σ w L / Σ |w|``, both sums over all events.

    Events that teach nothing are in the second sum too: the loop adds what chunks and ranks find with
    their shares of the whole minibatch's ``Σ |w|``, and the result must not depend on where it was
    cut. A sample of which a share f can be learnt from has f times the loss of these events.

    Args:
        logits: One for each assignment, masked ones included; these do not count.
        assigned: The assignments, with truth.
        event_weight: Of the events.

    Shapes:
        logits ``(n_events, n_assignments)``, event_weight ``(n_events,)`` → ``()``.
    """
    is_right = right_assignments(assigned)
    teaches = is_right.any(dim=1, keepdim=True)
    # Where nothing is learnt all assignments are as right as they are there: -log 1, no gradient.
    is_there = assigned.mask | ~teaches
    is_right = is_right | ~teaches
    each = _log_sum(logits, is_there) - _log_sum(logits, is_right)
    total = event_weight.abs().sum().clamp_min(torch.finfo(event_weight.dtype).tiny)
    loss: Tensor = torch.where(teaches.squeeze(1), each * event_weight, 0.0).sum() / total
    return loss


def _log_sum(logits: Tensor, mask: Tensor) -> Tensor:
    return logits.masked_fill(~mask, float("-inf")).logsumexp(dim=1)
