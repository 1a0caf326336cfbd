"""How well the reconstruction of an analysis assigns: numbers by number of jets, and events drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from hepdl.evaluate.assignments import (
    AssignmentEfficiency,
    JudgedAssignments,
    assignment_efficiencies,
    groups_by_number,
)
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.events import Events, Inputs
from hepdl.events.assigned import Truth
from hepdl.events.candidates import candidates_of
from hepdl.events.reconstruction import ReconstructionRecipe
from hepdl.kinematics import k_best
from hepdl.models.reconstruction.fitted import Reconstruction
from hepdl.pipeline.attention import attention_of
from hepdl.pipeline.dataset import Dataset
from hepdl.pipeline.saved import SavedModel
from hepdl.report.assignments import draw_assignment_efficiencies
from hepdl.report.drawn_event import DrawnEvent
from hepdl.report.event_display import draw_events

__all__ = ["assignment_efficiency", "draw_assigned_events", "draw_assignments", "drawable"]

Efficiencies = dict[str, dict[str, AssignmentEfficiency]]
Integers = npt.NDArray[np.int64]
Chooser = Callable[[Integers], Truth | None]

_ANY = Inputs(("best_score",))
_PARTS = ("efficiency", "known", "ceiling", "purity")


def assignment_efficiency(
    dataset: Dataset,
    networks: Mapping[str, Sequence[SavedModel]] | None = None,
    *,
    device: torch.device | None = None,
) -> dict[str, Any] | None:
    """Return how often particles are found in signal test events, for ``metrics.json``.

    The ranking of the analysis stands beside χ², where masses are known, and beside the assignment
    that each network looks at most. With folds each event is assigned by what was not trained on
    its fold.

    Args:
        dataset: All events of the run.
        networks: Of each model that attends to assignments, the network of each fold.
        device: Where networks compute; by default the CPU.

    Returns:
        By method, number of jets and particle: ``efficiency``, ``known``, ``ceiling``, ``purity``
        with 68 % intervals and ``n_known``; None where there is no reconstruction or no truth.
    """
    methods = _methods(dataset)
    if not methods:
        return None
    recipe = next(iter(next(iter(methods.values())).values())).recipe
    choosers: dict[str, dict[int | None, Chooser]] = {
        name: {fold: partial(_ranked, dataset, made) for fold, made in of_folds.items()}
        for name, of_folds in methods.items()
    }
    for name, saved in (networks or {}).items():
        of_folds = zip(_folds(dataset), saved, strict=True)
        choosers[name] = {
            fold: partial(_attended, dataset, one, device or torch.device("cpu"))
            for fold, one in of_folds
        }
    rows = _signal_rows(dataset)
    found: dict[str, Any] = {}
    for name, of_fold in choosers.items():
        judged, counts, weight = _judge(dataset, recipe, of_fold, rows)
        if judged is None:
            return None
        efficiencies = assignment_efficiencies(judged, weight, groups=groups_by_number(counts))
        found[name] = {
            group: {particle: _as_dict(one) for particle, one in particles.items()}
            for group, particles in efficiencies.items()
        }
    return found


def draw_assignments(numbers: Mapping[str, Any]) -> Figure:
    """Draw what `assignment_efficiency` gave."""
    methods = {
        name: {
            group: {particle: _from_dict(one) for particle, one in particles.items()}
            for group, particles in groups.items()
        }
        for name, groups in numbers.items()
    }
    return draw_assignment_efficiencies(methods)


def drawable(dataset: Dataset) -> bool:
    """Whether an event has all that the display shows: jets with tags, a lepton, a neutrino."""
    made = dataset.of_fold(_folds(dataset)[0]).reconstruction(_ANY)
    if made is None or not len(_signal_rows(dataset)):
        return False
    names = {source.name for source in made.recipe.objects}
    return {"jets", "lepton", "neutrino"} <= names and "jets" in {
        source.name for source in made.recipe.objects if source.b_tag is not None
    }


def draw_assigned_events(dataset: Dataset) -> Figure:
    """Draw the signal and the background event, of the first ten tested, with the best assignment."""
    fold = _folds(dataset)[0]
    made = dataset.of_fold(fold).reconstruction(_ANY)
    assert made is not None
    rows = dataset.rows_of_fold(fold)
    tested = rows[np.isin(rows, dataset.index("test"))]
    drawn = {}
    for name, code in (("signal", 1), ("background", 0)):
        some = tested[dataset.label[tested] == code][:10]
        drawn[f"{name} event"] = _best_of(made, dataset.events.take(torch.from_numpy(some)))
    return draw_events(drawn)


def _best_of(made: Reconstruction, events: Events) -> DrawnEvent:
    """Return the event whose best assignment has the largest score, ready to be drawn."""
    candidates = candidates_of(events, made.recipe)
    score = made.scores(events, candidates)
    best = k_best(-score, 1)
    event = int(np.argmax(np.where(np.isfinite(score), score, -np.inf).max(axis=1)))
    chosen = best[event : event + 1]
    one = candidates_of(events.slice(event, event + 1), made.recipe)
    decay = made.recipe.decay
    members = one.assignments.members(chosen)[0, 0]
    is_jet = np.array([name == "jets" for name in one.assignments.collections])
    real = one.momenta["jets"][0, :, 3] > 0
    right = one.correctness(chosen)
    neutrino = one.momenta["neutrino"][0, 0]
    return DrawnEvent(
        decay=decay,
        leaves=one.leaves(chosen)[0, 0, :, :4],
        jet_of_leaf=np.where(is_jet, members, -1),
        jets=one.momenta["jets"][0][real],
        b_tag=one.tags["jets"][0][real],
        lepton=one.momenta["lepton"][0, 0],
        missing=neutrino[:2],
        is_right=None if right is None else right.is_right[0, 0],
        is_known=None if right is None else right.is_known[0],
    )


def _folds(dataset: Dataset) -> list[int | None]:
    return [None] if dataset.folds is None else list(range(dataset.folds.n))


def _signal_rows(dataset: Dataset) -> Integers:
    index = dataset.index("test")
    return np.asarray(index[dataset.label[index] == 1])


def _methods(dataset: Dataset) -> dict[str, dict[int | None, Reconstruction]]:
    """Return the reconstruction of each fold, by the name of its ranking; χ² first."""
    fitted = {fold: dataset.of_fold(fold).reconstruction(_ANY) for fold in _folds(dataset)}
    own = {fold: made for fold, made in fitted.items() if made is not None}
    if len(own) < len(fitted):
        return {}
    first = next(iter(own.values()))
    methods: dict[str, dict[int | None, Reconstruction]] = {}
    if any(particle.mass is not None for particle in first.recipe.decay.particles):
        plain = Reconstruction(first.recipe, ranking="chi_square")
        methods["chi_square"] = dict.fromkeys(own, plain)
    return {**methods, first.ranking: own}


def _ranked(dataset: Dataset, made: Reconstruction, rows: Integers) -> Truth | None:
    """Return how right all assignments of events are, in the order of a reconstruction."""
    return made.verdict(dataset.events.take(torch.from_numpy(rows)))


def _attended(
    dataset: Dataset, saved: SavedModel, device: torch.device, rows: Integers
) -> Truth | None:
    """Return how right the assignments that a network reads are, by falling attention."""
    arranged = dataset.arranged(saved.inputs, saved.reconstruction)
    events = arranged.take(torch.from_numpy(rows))
    assert events.assignments is not None
    truth = events.assignments.truth
    if truth is None:
        return None
    order = attention_of(saved, events, device=device).argsort(dim=1, descending=True, stable=True)
    is_right = truth.is_right.take_along_dim(order[..., None], dim=1)
    return Truth(is_right, truth.is_known)


def _judge(
    dataset: Dataset,
    recipe: ReconstructionRecipe,
    choosers: Mapping[int | None, Chooser],
    rows: Integers,
) -> tuple[JudgedAssignments | None, Integers, npt.NDArray[np.float64]]:
    """Return the verdict on the best assignment of signal events, their jets and their weights."""
    right, known, counts, weight = [], [], [], []
    jets = next(source for source in recipe.objects if source.collection is not None)
    assert jets.collection is not None
    for fold, choose in choosers.items():
        chosen = rows[np.isin(rows, dataset.rows_of_fold(fold))]
        truth = choose(chosen)
        if truth is None:
            return None, np.zeros(0, dtype=np.int64), np.zeros(0)
        events = dataset.events.take(torch.from_numpy(chosen))
        right.append(truth.is_right.numpy())
        known.append(truth.is_known.numpy())
        counts.append(events.collections[jets.collection].counts.numpy())
        weight.append(events.event_weight.numpy().astype(np.float64))
    names = tuple(particle.name for particle in recipe.decay.particles)
    with_mass = [p.name for p in recipe.decay.particles if p.mass is not None]
    judged = JudgedAssignments.best_first(
        np.concatenate(right), np.concatenate(known), names=names, particles=with_mass or names
    )
    return judged, np.concatenate(counts), np.concatenate(weight)


def _as_dict(one: AssignmentEfficiency) -> dict[str, Any]:
    content = asdict(one)
    for name in _PARTS:
        interval = getattr(one, name)
        content[name] = None if interval is None else interval.as_dict()
    return content


def _from_dict(content: Mapping[str, Any]) -> AssignmentEfficiency:
    def interval(name: str) -> Any:
        found = content[name]
        if found is None:
            return None
        return Interval(
            *(np.nan if found[k] is None else found[k] for k in ("value", "low", "high"))
        )

    return AssignmentEfficiency(
        **{name: interval(name) for name in _PARTS},
        n_known=content["n_known"],
        n_effective=content["n_effective"],
    )
