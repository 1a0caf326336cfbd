"""One fit: a model with one seed on one fold, from the prepared events to the saved model."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from hepdl.events import Events
from hepdl.events.scaling import Scaling
from hepdl.losses import Loss
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models import Network, Trees
from hepdl.pipeline import parts
from hepdl.pipeline.auxiliary import build_auxiliary
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.dataset import Dataset
from hepdl.pipeline.decorrelation import build_decorrelation
from hepdl.pipeline.diagnosis import Diagnosis
from hepdl.pipeline.folders import content_hash
from hepdl.pipeline.looks import FILE_NAME, units_of
from hepdl.pipeline.planing import planed
from hepdl.pipeline.progress import progress
from hepdl.pipeline.saved import SavedModel, save_model
from hepdl.pipeline.stages.prepare import load_unlabelled
from hepdl.pipeline.streaming import stream_parts, with_nuisances
from hepdl.pipeline.systematics import is_trained_against
from hepdl.pipeline.unlabelled import is_adapted, with_unlabelled
from hepdl.pipeline.varied_training import load_varied_training
from hepdl.pipeline.work import Work
from hepdl.posthoc import Calibration
from hepdl.train import (
    CheckpointFolder,
    FitResult,
    TrainOptions,
    boosted,
    predict_scores,
    supervised,
)
from hepdl.train.state.sources import EventSource

__all__ = ["FitTask", "build_model", "fit_task", "fit_tasks", "is_network", "parts_of"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitTask:
    """Which fit.

    Attributes:
        name: The key of the model under ``models:``.
        seed: Of everything that is random in the fit.
        fold: The fold that the fit leaves out; None without folds.
    """

    name: str
    seed: int
    fold: int | None = None

    def __str__(self) -> str:
        fold = "" if self.fold is None else f", fold {self.fold}"
        return f"{self.name}, seed {self.seed}{fold}"


def fit_tasks(config: AnalysisConfig, name: str) -> list[FitTask]:
    """Return every fit of one model, in the order in which they are done."""
    return [
        FitTask(name, seed, fold)
        for fold in config.split.fold_numbers
        for seed in config.train_of(name).seeds
    ]


def fit_task(work: Work, dataset: Dataset, task: FitTask) -> None:
    """Do one fit and save its model; of several ranks only the first one writes and logs.

    Args:
        work: The run.
        dataset: All events of the run, of all folds.
        task: Which fit.

    Raises:
        DataError: The events of the fit cannot be used.
        DivergedError: A loss is not finite.
        StoppedError: A stop was requested.
    """
    config = work.analysis.config
    model = build_model(config, task)
    start = time.monotonic()
    fitted_with = dataset
    if is_trained_against(config, task.name):
        fitted_with = load_varied_training(work, dataset, task.fold, model.inputs)
    against = config.decorrelation_of(task.name)
    if against.planing > 0:
        base = fitted_with.of_fold(task.fold)
        fitted_with = planed(base, against.nuisances, against.planing)
    if is_adapted(config, task.name):
        fitted_with.of_fold(task.fold).reconstruction(model.inputs)
        unlabelled = load_unlabelled(work.folder)
        fitted_with = with_unlabelled(fitted_with.of_fold(task.fold), unlabelled)
    train, validation, scaling = _training_parts(config, fitted_with, task, model)
    log.info(
        "%s: %d entries to train, %d to choose, prepared in %.1f s",
        task,
        len(train),
        len(validation),
        time.monotonic() - start,
    )
    result, diagnosis = _run_loop(work, task, model, train, validation)
    if not work.ranks.is_first:
        return
    documents = {}
    if diagnosis is not None:
        diagnosis.end(cast("Network", model), train, epochs=len(result.history))
        documents[FILE_NAME] = diagnosis.as_dict()
    card = _card(config, task, result)
    card["n_ranks"] = work.ranks.size if isinstance(model, nn.Module) else 1
    calibration = _calibrate(work, task, model, validation)
    saved = SavedModel(
        task.name,
        model,
        scaling,
        work.analysis.schema,
        card,
        calibration,
        dataset.of_fold(task.fold).reconstruction(model.inputs),
    )
    folder = work.folder.model(task.name, task.seed, task.fold)
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_model(saved, folder, history=result.history, documents=documents)
    log.info(
        "%s: validation AUC %.4f at epoch %d, %.0f s, %.0f entries/s",
        task,
        result.best_validation_auc,
        result.best_epoch,
        result.fit_seconds,
        result.events_per_second,
    )


def _training_parts(
    config: AnalysisConfig, dataset: Dataset, task: FitTask, model: Network | Trees
) -> tuple[Events | EventSource, Events, Scaling | None]:
    """Return what the loop is given: all in memory, or the training part as it is read."""
    nuisances = config.decorrelation_of(task.name).nuisances
    stream = config.train_of(task.name).stream
    if stream is not None and isinstance(model, nn.Module):
        dataset = dataset.of_fold(task.fold)
        return stream_parts(
            dataset,
            model.inputs,
            stream=stream,
            seed=task.seed,
            nuisances=nuisances,
            standardise=lambda sample: standardise(model, sample),
        )
    train, validation, scaling = parts_of(dataset, task, model)
    if not isinstance(model, nn.Module):
        _name_constants(train, task)
    return with_nuisances(train, nuisances), with_nuisances(validation, nuisances), scaling


def standardise(model: Network | Trees, train: Events) -> None:
    """Let a network that scales some of its inputs by itself look at the training part."""
    own = getattr(model, "standardise", None)
    if own is not None:
        own(train)


def _name_constants(train: Events, task: FitTask) -> None:
    """Say which features tell boosted trees nothing; networks refuse them when they are scaled."""
    for name, column in zip(train.feature_names, train.flat.T, strict=True):
        if bool((column == column[0]).all()):
            log.warning(
                "%s: feature %r is %g in all %d training entries: no tree can use it",
                task,
                name,
                float(column[0]),
                len(train),
            )


def parts_of(
    dataset: Dataset, task: FitTask, model: Network | Trees
) -> tuple[Events, Events, Scaling | None]:
    """Return the training and the validation part as the model takes them, and their scaling."""
    dataset = dataset.of_fold(task.fold)
    events = dataset.arranged(model.inputs)
    train = dataset.training_events(events, "train")
    validation = dataset.training_events(events, "validation")
    if not model.inputs.scaled:
        standardise(model, train)
        return train, validation, None
    scaling = Scaling.fit(train, model.inputs)
    train = scaling.apply(train)
    standardise(model, train)
    return train, scaling.apply(validation), scaling


def is_network(config: AnalysisConfig, name: str) -> bool:
    """Whether a model is a network, which all ranks train together, or boosted trees."""
    part = parts.part("models", config.models[name].model, where=f"models.{name}.model")
    return isinstance(part, type) and issubclass(part, nn.Module)


def build_model(config: AnalysisConfig, task: FitTask) -> Network | Trees:
    """Return the untrained model of a fit; its parameters are those of the seed."""
    description = config.models[task.name]
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        model: Network | Trees = parts.build(
            "models",
            description.model,
            description.options,
            where=f"models.{task.name}.options",
        )
    return model


def _card(config: AnalysisConfig, task: FitTask, result: FitResult) -> dict[str, Any]:
    """Return what is saved beside the parameters."""
    description = config.models[task.name]
    return {
        "model": description.model,
        "options": description.options,
        "train": config.train_of(task.name).model_dump(mode="json"),
        "decorrelation": config.decorrelation_of(task.name).model_dump(mode="json"),
        "calibration": config.calibration_of(task.name).model_dump(),
        "auxiliary": {key: head.model_dump() for key, head in description.auxiliary.items()},
        "seed": task.seed,
        "fold": task.fold,
        "best_epoch": result.best_epoch,
        "best_validation_auc": result.best_validation_auc,
        "fit_seconds": result.fit_seconds,
        "events_per_second": result.events_per_second,
        "n_parameters": result.n_parameters,
        "stopped_early": result.stopped_early,
        "configuration": content_hash(config.as_dict()),
    }


def _run_loop(
    work: Work,
    task: FitTask,
    model: Network | Trees,
    train: Events | EventSource,
    validation: Events,
) -> tuple[FitResult, Diagnosis | None]:
    """Hand the fit to its loop: the trees' own, or the one that the configuration names.

    Returns:
        The result, and on the first rank what was seen of a network on the way.
    """
    config = work.analysis.config
    settings = config.train_of(task.name)
    penalty = config.decorrelation_of(task.name)
    options = TrainOptions(**settings.model_dump(exclude={"loop", "seeds"}), seed=task.seed)
    checkpoint = CheckpointFolder(work.folder.checkpoint(task.name, task.seed, task.fold))
    suffix = "" if len(settings.seeds) == 1 else f"_seed{task.seed}"
    suffix += "" if task.fold is None else f"_fold{task.fold}"
    total = settings.epochs if isinstance(model, nn.Module) else getattr(model, "n_rounds", 1)
    with progress(str(task), total, is_shown=work.ranks.is_first) as advance:

        def record(values: dict[str, float], step: int) -> None:
            work.recorder.metrics(
                {f"{key}{suffix}": value for key, value in values.items()}, step, model=task.name
            )

        def observe(values: dict[str, float], step: int) -> None:
            record(values, step)
            advance(text=f"validation AUC {values.get('validation_auc', float('nan')):.4f}")

        if not isinstance(model, nn.Module):
            grown = boosted.fit(
                cast("Trees", model),
                cast("Events", train),
                validation,
                options=options,
                observe=observe,
                checkpoint=checkpoint,
                resume=work.resume,
                stop=work.stop,
                decorrelation=build_decorrelation(penalty),
            )
            return grown, None
        network = cast("Network", cast("nn.Module", model).to(work.device))
        loop = parts.part("loops", settings.loop, where=f"models.{task.name}.train.loop")
        if loop is not supervised.fit:
            log.info("%s: loop %s", task.name, settings.loop)
        heads = build_auxiliary(config.models[task.name], seed=task.seed)
        diagnosis = None
        if work.ranks.is_first:
            units = units_of(work.analysis.schema)
            kept = checkpoint.path / FILE_NAME
            diagnosis = Diagnosis(str(task), options, units, heads, path=kept, record=record)
            diagnosis.begin(network, train, resume=work.resume)
        result: FitResult = loop(
            network,
            train,
            validation,
            options=options,
            loss=cast("Loss", BinaryCrossEntropy()),
            decorrelation=build_decorrelation(penalty),
            auxiliary=heads,
            ranks=work.ranks,
            observe=observe,
            hooks=() if diagnosis is None else diagnosis.hooks,
            checkpoint=checkpoint,
            resume=work.resume,
            stop=work.stop,
        )
        return result, diagnosis


def _calibrate(
    work: Work, task: FitTask, model: Network | Trees, validation: Events
) -> Calibration | None:
    """Fit the map from scores to probabilities to the validation part, if one is wanted."""
    method = work.analysis.config.calibration_of(task.name).method
    if method == "none":
        return None
    kind = parts.module("calibrations", method, where="calibration.method")
    fitted: Calibration = getattr(kind, kind.__all__[0]).fit(
        predict_scores(model, validation),
        validation.label.cpu().numpy(),
        validation.event_weight.cpu().numpy(),
    )
    return fitted
