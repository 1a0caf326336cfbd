"""How often the chosen assignment has a particle right, where truth can tell.

A particle is *known* in an event if each of its daughters that counts has a matched object of its
own, and *right* if the chosen assignment gives it these objects. The efficiency is the weighted
share of right ones among the known ones; the whole event is right if all its particles are, among
events in which all are known. The share of known events is a property of the sample, not of the
method.

No method can choose what is not among its candidates. So two more shares are given where the other
candidates were judged too: that of known events that have a right candidate (the ceiling of the
efficiency), and the purity, the share of these in which the right one was chosen.

All 68 % intervals are those of `hepdl.evaluate.efficiency`: Wilson's, with the effective number of
events that reproduces the variance of a weighted share.

Reference:
    A. Shmakov et al., "SPANet", arXiv:2106.03898 (efficiencies per particle and per event, by
    number of jets, partial events kept); E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.evaluate.efficiency import binned_efficiency
from hepdl.evaluate.inputs.scored import check_weights
from hepdl.evaluate.roc import effective_number

__all__ = [
    "WHOLE_EVENT",
    "AssignmentEfficiency",
    "JudgedAssignments",
    "assignment_efficiencies",
    "groups_by_number",
]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

WHOLE_EVENT = "event"


@dataclass(frozen=True)
class JudgedAssignments:
    """Which particles of the chosen assignment of each event are right.

    Attributes:
        particles: Name of each particle; together they are the whole event.
        is_right: True where the chosen assignment has the particle right.
        is_known: True where truth can tell.
        any_right: True where at least one candidate has the particle right; None if the others
            were not judged.
        any_whole: True where at least one candidate has all particles right.

    Shapes:
        is_right, is_known, any_right ``(n_events, n_particles)``; any_whole ``(n_events,)``.

    Raises:
        DataError: Shapes differ.
        ConfigError: A particle has the name of the whole event.
    """

    particles: tuple[str, ...]
    is_right: Mask
    is_known: Mask
    any_right: Mask | None = None
    any_whole: Mask | None = None

    def __post_init__(self) -> None:
        n_events = len(self.is_right)
        wanted = (n_events, len(self.particles))
        shapes = {"is_right": self.is_right.shape, "is_known": self.is_known.shape}
        if self.any_right is not None:
            shapes["any_right"] = self.any_right.shape
        wrong = {name: shape for name, shape in shapes.items() if shape != wanted}
        if self.any_whole is not None and self.any_whole.shape != (n_events,):
            wrong["any_whole"] = self.any_whole.shape
        if wrong:
            message = (
                f"{n_events} events with the particles {', '.join(self.particles)} need {wanted} "
                f"(any_whole: {wanted[:1]}); given are {wrong}"
            )
            raise DataError(message)
        if WHOLE_EVENT in self.particles:
            message = (
                f"a particle is called {WHOLE_EVENT!r}, the name that the whole event has "
                f"({', '.join(self.particles)}); give it another name"
            )
            raise ConfigError(message)

    @classmethod
    def best_first(
        cls,
        is_right: npt.ArrayLike,
        is_known: npt.ArrayLike,
        *,
        names: Sequence[str],
        particles: Sequence[str] | None = None,
    ) -> JudgedAssignments:
        """Return the verdict on the first of several candidates, and on the best that there is.

        Args:
            is_right: Which particles of each candidate are right, the chosen candidate first, as
                `hepdl.kinematics.compare_with_truth` gives it.
            is_known: Where truth can tell.
            names: The particle of each column.
            particles: Those that are looked at; without it, all.

        Shapes:
            is_right ``(n_events, n_candidates, n_particles)``, is_known ``(n_events, n_particles)``.

        Raises:
            DataError: Shapes differ, or there is no candidate at all.
            ConfigError: There is no such particle.
        """
        right, known = np.asarray(is_right, dtype=np.bool_), np.asarray(is_known, dtype=np.bool_)
        wanted = tuple(names if particles is None else particles)
        for name in wanted:
            if name not in names:
                where = "particles of the efficiencies"
                raise ConfigError(unknown_name("particle", name, names, where=where))
        if right.ndim != 3 or right.shape[1] < 1 or right.shape[2] != len(names):
            message = (
                f"is_right has shape {right.shape}; (n_events, n_candidates, {len(names)}) with at "
                "least one candidate is needed, masked ones as wrong"
            )
            raise DataError(message)
        columns = [list(names).index(name) for name in wanted]
        right = right[:, :, columns]
        whole = np.asarray(right.all(axis=2))
        return cls(
            particles=wanted,
            is_right=right[:, 0],
            is_known=known[:, columns],
            any_right=np.asarray(right.any(axis=1)),
            any_whole=np.asarray(whole.any(axis=1)),
        )


@dataclass(frozen=True)
class AssignmentEfficiency:
    """How well one particle, or the whole event, is found in one group of events.

    Attributes:
        efficiency: Share of right ones among the known ones; nan if none is known.
        known: Share of events in which it is known.
        ceiling: Share of the known ones that have a right candidate; None if not judged.
        purity: Share of right ones among those that have a right candidate; None likewise.
        n_known: Entries in which it is known.
        n_effective: (sum w)^2 / sum w^2 of these.
    """

    efficiency: Interval
    known: Interval
    ceiling: Interval | None
    purity: Interval | None
    n_known: int
    n_effective: float


def groups_by_number(numbers: npt.ArrayLike, *, first: int = 6, last: int = 8) -> dict[str, Mask]:
    """Return groups of events by a number, of jets for example: each one, the last open, and all.

    Args:
        numbers: One for each event.
        first: The smallest that gets a group; smaller ones are only among all.
        last: This and all larger ones are one group.

    Shapes:
        numbers ``(n_events,)``; returns masks of this shape.

    >>> {name: mask.tolist() for name, mask in groups_by_number([6, 9], first=6, last=7).items()}
    {'6': [True, False], '≥ 7': [False, True], 'all': [True, True]}
    """
    counts = np.asarray(numbers)
    groups = {str(number): counts == number for number in range(first, last)}
    return {**groups, f"≥ {last}": counts >= last, "all": np.ones(len(counts), dtype=np.bool_)}


def assignment_efficiencies(
    judged: JudgedAssignments,
    event_weight: npt.ArrayLike | None = None,
    *,
    groups: Mapping[str, npt.ArrayLike] | None = None,
) -> dict[str, dict[str, AssignmentEfficiency]]:
    """Return the efficiencies of each particle and of the whole event.

    Args:
        judged: Which particles are right, and which are known.
        event_weight: Weights of either sign; None means 1.
        groups: True for the events of each group, which may overlap; without it, ``"all"``.

    Shapes:
        event_weight and each group ``(n_events,)``.

    Returns:
        By group, then by particle; the whole event is ``"event"``.

    Raises:
        DataError: Weights or groups are of another length.
    """
    n_events = len(judged.is_right)
    weight = check_weights(event_weight, n_events)
    if groups is None:
        groups = {"all": np.ones(n_events, dtype=np.bool_)}
    found = {}
    for group, members in groups.items():
        mask = np.asarray(members, dtype=np.bool_)
        if mask.shape != (n_events,):
            message = f"group {group!r} has shape {mask.shape} for {n_events} events; give one each"
            raise DataError(message)
        found[group] = {
            name: _efficiency(
                right[mask], known[mask], None if any_ is None else any_[mask], weight[mask]
            )
            for name, right, known, any_ in _columns(judged)
        }
    return found


def _columns(judged: JudgedAssignments) -> list[tuple[str, Mask, Mask, Mask | None]]:
    """Return name, right, known and whether a candidate is right, of particles and whole event."""
    found: list[tuple[str, Mask, Mask, Mask | None]] = []
    for column, name in enumerate(judged.particles):
        any_right = None if judged.any_right is None else judged.any_right[:, column]
        found.append((name, judged.is_right[:, column], judged.is_known[:, column], any_right))
    right = np.asarray(judged.is_right.all(axis=1))
    known = np.asarray(judged.is_known.all(axis=1))
    return [*found, (WHOLE_EVENT, right, known, judged.any_whole)]


def _efficiency(
    right: Mask, known: Mask, any_right: Mask | None, weight: Floats
) -> AssignmentEfficiency:
    among = None if any_right is None else known & any_right
    return AssignmentEfficiency(
        efficiency=_share(right[known], weight[known]),
        known=_share(known, weight),
        ceiling=None if among is None else _share(among[known], weight[known]),
        purity=None if among is None else _share(right[among], weight[among]),
        n_known=int(np.count_nonzero(known & (weight != 0.0))),
        n_effective=effective_number(weight[known]),
    )


def _share(passed: Mask, weight: Floats) -> Interval:
    """Return the weighted share with its interval; nan of nothing."""
    if not len(passed):
        return Interval(np.nan, np.nan, np.nan)
    one = binned_efficiency(np.zeros(len(passed)), passed, weight, edges=(-1.0, 1.0))
    return Interval(float(one.value[0]), float(one.low[0]), float(one.high[0]))
