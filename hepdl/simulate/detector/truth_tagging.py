"""Truth tagging: keep every event, weighted with the probability that it has enough tags.

Hard tagging throws away 99 of 100 events of tt + jets. Here instead each event gets the weight
P(at least n tags), and a pattern of tags drawn from its distribution under that condition, so that
every weighted distribution is that of hard tagging, from many more events. Jets are tagged
independently of each other, which makes both exact with a table: P(j, k) is the probability of at
least k tags among the jets from j on, and P(j, k) = e_j P(j+1, k-1) + (1 - e_j) P(j+1, k).

ATLAS calls it truth tagging or the tag rate function method. Weight and pattern are exact here,
since the efficiencies used for both are those with which hard tags are drawn.
"""

from __future__ import annotations

import numpy as np

from hepdl.simulate.detector.b_tagging import Bins, Bools, Floats, Ints, efficiencies, threshold

__all__ = ["draw_tags", "probability_of_tags", "tail_probabilities"]


def tail_probabilities(efficiency: Floats, minimum: int) -> Floats:
    """Return P(j, k), the probability of at least ``k`` tags among the jets from ``j`` on.

    Args:
        efficiency: Probability of a tag; 0 for what is no jet.
        minimum: Largest ``k``.

    Shapes:
        ``(n_events, n_jets)`` → ``(n_jets + 1, minimum + 1, n_events)``.
    """
    n_events, n_jets = efficiency.shape
    table = np.zeros((n_jets + 1, minimum + 1, n_events))
    table[:, 0] = 1.0
    for jet in reversed(range(n_jets)):
        tag = efficiency[:, jet]
        table[jet, 1:] = tag * table[jet + 1, :-1] + (1.0 - tag) * table[jet + 1, 1:]
    return table


def probability_of_tags(efficiency: Floats, minimum: int) -> Floats:
    """Return the probability of at least ``minimum`` tags, ``(n_events, n_jets) → (n_events,)``.

    >>> probability_of_tags(np.array([[0.5, 0.5, 0.0]]), 1)
    array([0.75])
    """
    return np.asarray(tail_probabilities(efficiency, minimum)[0, minimum])


def draw_tags(
    flavour: Ints, uniform: Floats, is_jet: Bools, *, minimum: int, working_point: int
) -> tuple[Bins, Floats]:
    """Return tags with at least ``minimum`` at the working point, and the probability of that.

    With ``minimum=0`` these are the tags of ``tag_bins`` from the same numbers, and weights of 1.

    Args:
        flavour: 5, 4 or 0.
        uniform: One number in [0, 1) a jet; small ones are tight tags.
        is_jet: Which jets are real and selected.
        minimum: Fewest tags.
        working_point: What counts as a tag.

    Shapes:
        ``(n_events, n_jets)`` each → bins ``(n_events, n_jets)``, weight ``(n_events,)``. An event
        with fewer jets than tags has weight 0, and all its jets are tagged.
    """
    tag = efficiencies(flavour)[..., threshold(working_point) - 1] * is_jet
    table = tail_probabilities(tag, minimum)
    event = np.arange(len(flavour))
    missing = np.full(len(flavour), minimum)
    # The number that gives the wanted bin when hard tagging is asked.
    equivalent = np.empty(uniform.shape)
    for jet in range(flavour.shape[1]):
        probability = tag[:, jet] * table[jet + 1, np.maximum(missing - 1, 0), event]
        total = table[jet, missing, event]
        # Without any tag missing the total is 1; without enough jets both are 0: tag them all.
        chance = np.divide(probability, total, out=np.ones(len(total)), where=total > 0.0)
        hit = (uniform[:, jet] < chance) & is_jet[:, jet]
        safe = np.where(hit, np.maximum(chance, np.finfo(float).tiny), 1.0)
        # Rounding must not untag a jet that the event was counted for.
        inside = np.minimum(uniform[:, jet] / safe * tag[:, jet], np.nextafter(tag[:, jet], 0.0))
        rest = np.maximum(1.0 - chance, np.finfo(float).tiny)
        outside = tag[:, jet] + (uniform[:, jet] - chance) / rest * (1.0 - tag[:, jet])
        equivalent[:, jet] = np.where(hit, inside, np.clip(outside, tag[:, jet], 1.0))
        missing = np.maximum(missing - hit, 0)
    passed = equivalent[..., None] < efficiencies(flavour)
    bins = np.where(is_jet, passed.sum(axis=-1), 0).astype(np.int8)
    return bins, np.asarray(table[0, minimum])
