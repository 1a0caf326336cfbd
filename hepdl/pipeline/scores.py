"""The scores of every event by every model and seed, and how they lie in ``scores.root``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.events.split import PARTS
from hepdl.io import write_table
from hepdl.io.tables import read_table
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.dataset import Dataset, evaluation_weights
from hepdl.pipeline.mapped import load_maps, nuisances_of, transformed
from hepdl.pipeline.progress import progress
from hepdl.pipeline.saved import load_card, load_saved
from hepdl.pipeline.scoring import score_arranged
from hepdl.pipeline.streaming import in_chunks
from hepdl.pipeline.work import Work

__all__ = ["ModelScores", "Scores", "read_scores", "score_models", "score_rows", "write_scores"]

SCORES_TTREE = "scores"

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ModelScores:
    """The scores of one model; with folds each event is scored by the model that has not seen it.

    Attributes:
        by_seed: Scores by seed; nothing for a map of scores, which takes the chosen ones.
        chosen: Of the seed that the validation part chose; with folds each fold chose its own.
        seen: With folds, by the model of the next fold, which has seen the event; else None.

    Shapes:
        all ``(n_events,)``.
    """

    by_seed: dict[int, Values] = field(default_factory=dict)
    chosen: Values = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    seen: Values | None = None

    @property
    def trainings(self) -> tuple[Values, ...]:
        """The scores of each seed in rising order; that of a map alone."""
        return tuple(self.by_seed[seed] for seed in sorted(self.by_seed)) or (self.chosen,)


Scores = dict[str, ModelScores]


def score_models(work: Work, dataset: Dataset) -> Scores:
    """Return the scores of all events by all models of the run, and by the maps of these."""
    config = work.analysis.config
    folds = config.split.fold_numbers
    n_wanted = sum(len(config.train_of(name).seeds) * len(folds) for name in config.models)
    scores: Scores = {}
    with progress("scoring", n_wanted) as advance:
        for name in config.models:
            seeds = config.train_of(name).seeds
            found = {seed: np.zeros(len(dataset), dtype=np.float32) for seed in seeds}
            chosen = np.zeros(len(dataset), dtype=np.float32)
            seen = None if dataset.folds is None else chosen.copy()
            for fold in folds:
                rows = dataset.rows_of_fold(fold)
                best = int(load_card(work.folder.model(name, fold=fold))["seed"])
                for seed in seeds:
                    folder = work.folder.model(name, seed, fold)
                    found[seed][rows] = score_rows(work, dataset, folder, rows)
                    advance(text=name)
                chosen[rows] = found[best][rows]
                if seen is not None and fold is not None:
                    before = dataset.rows_of_fold((fold - 1) % len(folds))
                    folder = work.folder.model(name, best, fold)
                    seen[before] = score_rows(work, dataset, folder, before)
            scores[name] = ModelScores(found, chosen, seen)
    for name in config.maps:
        scores[name] = _mapped(work, dataset, name, scores)
    return scores


def _mapped(work: Work, dataset: Dataset, name: str, scores: Scores) -> ModelScores:
    """Return the scores that a map makes of those of its members' chosen seeds."""
    config = work.analysis.config
    folds, folder = config.split.fold_numbers, work.folder.model(name)
    members = [scores[member] for member in config.maps[name].members]
    names = config.maps[name].nuisances
    columns = np.column_stack([member.chosen for member in members])
    chosen = np.zeros(len(dataset), dtype=np.float32)
    seen = None if dataset.folds is None else chosen.copy()
    for fold, fitted in zip(folds, load_maps(folder), strict=True):
        rows = dataset.rows_of_fold(fold)
        chosen[rows] = transformed(fitted, columns[rows], nuisances_of(dataset, names, rows))
        if seen is not None and fold is not None:
            before = dataset.rows_of_fold((fold - 1) % len(folds))
            of_before = np.column_stack([m.seen[before] for m in members if m.seen is not None])
            nuisance = nuisances_of(dataset, names, before)
            seen[before] = transformed(fitted, of_before, nuisance)
    return ModelScores({}, chosen, seen)


def score_rows(work: Work, dataset: Dataset, folder: Path, rows: npt.NDArray[np.int64]) -> Values:
    """Return the scores of some events by one saved model.

    Args:
        work: The run.
        dataset: All events of the run.
        folder: Of the saved model.
        rows: The events wanted.
    """
    saved = load_saved(folder)
    stream = work.analysis.config.train_of(saved.name).stream
    found = [
        score_arranged(saved, events, device=work.device)
        for events in in_chunks(
            dataset, saved.inputs, rows, stream=stream, reconstruction=saved.reconstruction
        )
    ]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)


def write_scores(
    path: Path,
    dataset: Dataset,
    scores: Scores,
    config: AnalysisConfig,
    *,
    physical: npt.NDArray[np.float64] | None = None,
) -> None:
    """Write one row per event: what it is, and the score of the chosen seed of each model.

    Args:
        path: The file.
        dataset: All events, or those of a variation.
        scores: Of these events.
        config: The resolved configuration.
        physical: Their physical weights, at a luminosity, if there is one.
    """
    events = dataset.events
    weight = np.zeros(len(events))
    for part in PARTS:
        index = dataset.index(part)
        if len(index):
            weight[index] = evaluation_weights(dataset, index, config.weights.evaluation.flatten)
    no_fold = np.zeros(len(events), dtype=np.int32)
    table: dict[str, npt.NDArray[Any]] = {
        "event_number": events.event_number.numpy(),
        "run_number": events.run_number.numpy(),
        "process": events.process.numpy().astype(np.int32),
        "label": events.label.numpy().astype(np.int32),
        "fold": no_fold if dataset.folds is None else dataset.folds.fold,
        "part": dataset.part.astype(np.int32),
        "weight": weight,
        "event_weight": events.event_weight.numpy(),
    }
    if physical is not None:
        table["physical_weight"] = physical
    for name, found in scores.items():
        table[f"score_{name}"] = found.chosen
        if len(found.by_seed) > 1:
            for seed, values in found.by_seed.items():
                table[f"score_{name}_seed{seed}"] = values
        if found.seen is not None:
            table[f"score_{name}_seen"] = found.seen
    write_table(table, path, ttree=SCORES_TTREE)


def read_scores(path: Path, config: AnalysisConfig) -> Scores:
    """Return what `write_scores` wrote."""
    table = read_table(path, ttree=SCORES_TTREE)
    scores: Scores = {}
    for name in config.models:
        seeds = config.train_of(name).seeds
        columns = [f"score_{name}" if len(seeds) == 1 else f"score_{name}_seed{s}" for s in seeds]
        by_seed = {seed: table[column] for seed, column in zip(seeds, columns, strict=True)}
        scores[name] = ModelScores(by_seed, table[f"score_{name}"], table.get(f"score_{name}_seen"))
    for name in config.maps:
        scores[name] = ModelScores({}, table[f"score_{name}"], table.get(f"score_{name}_seen"))
    return scores
