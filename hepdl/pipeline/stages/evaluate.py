"""Stage ``evaluate``: score every event once, then every number of the comparison."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.events.split import PARTS
from hepdl.io import write_table
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.dataset import Dataset, evaluation_weights
from hepdl.pipeline.diagnosis import looks_of, verdict_of
from hepdl.pipeline.folders import RunFolder, write_json
from hepdl.pipeline.numbers import Sample, compare_all, model_numbers
from hepdl.pipeline.progress import progress
from hepdl.pipeline.saved import load_card, load_saved
from hepdl.pipeline.scoring import score_arranged
from hepdl.pipeline.stages.prepare import load_dataset, load_notes
from hepdl.pipeline.work import Outcome, Work
from hepdl.track import flatten

__all__ = ["SCORES_TTREE", "Scores", "evaluate", "selected_test"]

log = logging.getLogger(__name__)

SCORES_TTREE = "scores"
# Per-seed numbers, the nuisances beyond the first, and words: in metrics.json only.
_NOT_RECORDED = {"seeds", "dependence_on", "diagnosis"}
FORMAT_VERSION = 1

Scores = dict[str, dict[int, npt.NDArray[np.float32]]]


def evaluate(work: Work) -> Outcome:
    """Write ``scores.root`` and ``metrics.json``."""
    dataset = load_dataset(work)
    config = work.analysis.config
    scores = _score(work, dataset)
    table = _score_table(dataset, scores, work.folder, config)
    write_table(table, work.folder.path / "scores.root", ttree=SCORES_TTREE)
    metrics = _metrics(work, dataset, scores)
    write_json(work.folder.path / "metrics.json", metrics)
    for name, numbers in metrics["models"].items():
        final = {key: value for key, value in numbers.items() if key not in _NOT_RECORDED}
        work.recorder.metrics(flatten(final), model=name)
    outputs = [work.folder.path / "metrics.json", work.folder.path / "scores.root"]
    return Outcome(outputs)


def _score(work: Work, dataset: Dataset) -> Scores:
    config = work.analysis.config
    wanted = [(name, seed) for name in config.models for seed in config.train_of(name).seeds]
    scores: Scores = {}
    with progress("scoring", len(wanted)) as advance:
        for name, seed in wanted:
            saved = load_saved(work.folder.model(name, seed))
            events = dataset.arranged(saved.inputs)
            scores.setdefault(name, {})[seed] = score_arranged(saved, events, device=work.device)
            advance(text=name)
    return scores


def _score_table(
    dataset: Dataset, scores: Scores, folder: RunFolder, config: AnalysisConfig
) -> dict[str, npt.NDArray[Any]]:
    """One row per event: what it is, and the score of the chosen seed of each model."""
    events = dataset.events
    weight = np.zeros(len(events))
    for part in PARTS:
        index = dataset.index(part)
        weight[index] = evaluation_weights(dataset, index, config.weights.evaluation.flatten)
    table: dict[str, npt.NDArray[Any]] = {
        "event_number": events.event_number.numpy(),
        "run_number": events.run_number.numpy(),
        "process": events.process.numpy().astype(np.int32),
        "label": events.label.numpy().astype(np.int32),
        "fold": np.zeros(len(events), dtype=np.int32),
        "part": dataset.part.astype(np.int32),
        "weight": weight,
        "event_weight": events.event_weight.numpy(),
    }
    for name, by_seed in scores.items():
        chosen = int(load_card(folder.model(name))["seed"])
        table[f"score_{name}"] = by_seed[chosen]
        if len(by_seed) > 1:
            for seed, values in by_seed.items():
                table[f"score_{name}_seed{seed}"] = values
    return table


def selected_test(
    dataset: Dataset, work: Work, window: str | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return positions and evaluation weights of the test events, all or inside the window."""
    index = dataset.index("test")
    if window is not None:
        expression = work.analysis.schema.expression(window, where="evaluate.window")
        fields = {name: column.numpy() for name, column in dataset.events.observers.items()}
        index = index[np.asarray(expression.evaluate(fields), dtype=bool)[index]]
    flatten = work.analysis.config.weights.evaluation.flatten
    return index, evaluation_weights(dataset, index, flatten)


def _metrics(work: Work, dataset: Dataset, scores: Scores) -> dict[str, Any]:
    config = work.analysis.config
    samples = {"all": _sample(work, dataset, None)}
    if config.evaluate.window is not None:
        samples["window"] = _sample(work, dataset, config.evaluate.window)
    nuisances = set(config.evaluate.nuisances)
    for name in config.models:
        nuisances |= set(config.decorrelation_of(name).nuisances)
    models: dict[str, dict[str, Any]] = {}
    rankings: dict[str, dict[str, Any]] = {}
    with progress("evaluating", len(scores)) as advance:
        for name, by_seed in scores.items():
            cards = {seed: load_card(work.folder.model(name, seed)) for seed in by_seed}
            chosen = int(load_card(work.folder.model(name))["seed"])
            models[name], rankings[name] = model_numbers(
                by_seed,
                cards,
                chosen,
                samples,
                config=config.evaluate,
                nuisances={n: dataset.column(n) for n in sorted(nuisances)},
            )
            looks = looks_of(work.folder.model(name))
            if looks:
                models[name]["diagnosis"] = verdict_of(looks)
            advance(text=name)
    return {
        "format_version": FORMAT_VERSION,
        "analysis": config.analysis,
        "data": {**load_notes(work), "splits": dataset.counts()},
        "models": models,
        "comparisons": compare_all(rankings, samples, reference=config.evaluate.reference),
    }


def _sample(work: Work, dataset: Dataset, window: str | None) -> Sample:
    index, weight = selected_test(dataset, work, window)
    config = work.analysis.config.evaluate
    groups = dataset.groups(index)
    return Sample(
        selection=window or "all",
        index=index,
        label=dataset.label[index],
        weight=weight,
        bootstrap=Bootstrap(groups, n_replicas=config.bootstrap_replicas),
    )
