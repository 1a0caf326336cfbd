"""Stage ``fit``: train every model with every seed, choose by the validation part."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from hepdl.events import Events
from hepdl.events.scaling import Scaling
from hepdl.losses import Loss, Penalty
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models import Network, Trees
from hepdl.pipeline import parts
from hepdl.pipeline.config import DecorrelationConfig, TrainConfig
from hepdl.pipeline.dataset import Dataset
from hepdl.pipeline.folders import content_hash
from hepdl.pipeline.progress import progress
from hepdl.pipeline.saved import SavedModel, load_card, load_saved, save_model
from hepdl.pipeline.stages.prepare import load_dataset
from hepdl.pipeline.work import Outcome, Work
from hepdl.train import CheckpointFolder, FitResult, TrainOptions, boosted, supervised

__all__ = ["fit"]

log = logging.getLogger(__name__)


def fit(work: Work) -> Outcome:
    """Train what is not trained yet, and copy the chosen seed of each model to its folder."""
    dataset = load_dataset(work)
    config = work.analysis.config
    outputs: list[Path] = []
    for name in config.models:
        settings = config.train_of(name)
        for seed in settings.seeds:
            folder = work.folder.model(name, seed)
            if (folder / "model.json").is_file():
                log.info("%s, seed %d: already trained", name, seed)
            else:
                _fit_one(work, dataset, name, settings, seed)
        chosen = _choose(work, name, settings.seeds)
        outputs += sorted(p for p in chosen.iterdir() if p.is_file())
        saved = load_saved(chosen)
        settled = ("model", "options", "train", "decorrelation", "seed")
        work.recorder.params({key: saved.card[key] for key in settled}, model=name)
        work.recorder.model(chosen, name=name, inputs=_signature(saved))
    shutil.rmtree(work.folder.path / "checkpoints", ignore_errors=True)
    return Outcome(outputs)


def _fit_one(work: Work, dataset: Dataset, name: str, settings: TrainConfig, seed: int) -> None:
    config = work.analysis.config
    description = config.models[name]
    penalty = config.decorrelation_of(name)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Network | Trees = parts.build(
            "models", description.model, description.options, where=f"models.{name}.options"
        )
    start = time.monotonic()
    events = dataset.arranged(model.inputs)
    train = dataset.training_events(events, "train")
    validation = dataset.training_events(events, "validation")
    scaling = Scaling.fit(train, model.inputs) if model.inputs.scaled else None
    if scaling is not None:
        train, validation = scaling.apply(train), scaling.apply(validation)
    log.info(
        "%s, seed %d: %d entries to train, %d to choose, prepared in %.1f s",
        name,
        seed,
        len(train),
        len(validation),
        time.monotonic() - start,
    )
    result = _run_loop(work, model, train, validation, settings, seed, name=name, penalty=penalty)
    card: dict[str, Any] = {
        "model": description.model,
        "options": description.options,
        "train": settings.model_dump(mode="json"),
        "decorrelation": penalty.model_dump(mode="json"),
        "seed": seed,
        "fold": None,
        "best_epoch": result.best_epoch,
        "best_validation_auc": result.best_validation_auc,
        "fit_seconds": result.fit_seconds,
        "events_per_second": result.events_per_second,
        "n_parameters": result.n_parameters,
        "stopped_early": result.stopped_early,
        "configuration": content_hash(config.as_dict()),
    }
    folder = work.folder.model(name, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    saved = SavedModel(name, model, scaling, work.analysis.schema, card)
    save_model(saved, folder, history=result.history)
    log.info(
        "%s, seed %d: validation AUC %.4f at epoch %d, %.0f s, %.0f entries/s",
        name,
        seed,
        result.best_validation_auc,
        result.best_epoch,
        result.fit_seconds,
        result.events_per_second,
    )


def _run_loop(
    work: Work,
    model: Network | Trees,
    train: Events,
    validation: Events,
    settings: TrainConfig,
    seed: int,
    *,
    name: str,
    penalty: DecorrelationConfig,
) -> FitResult:
    options = TrainOptions(**settings.model_dump(exclude={"loop", "seeds"}), seed=seed)
    checkpoint = CheckpointFolder(work.folder.checkpoint(name, seed))
    suffix = "" if len(settings.seeds) == 1 else f"_seed{seed}"
    is_network = isinstance(model, nn.Module)
    total = settings.epochs if is_network else getattr(model, "n_rounds", 1)
    with progress(f"{name}, seed {seed}", total) as advance:

        def observe(values: dict[str, float], step: int) -> None:
            work.recorder.metrics(
                {f"{key}{suffix}": value for key, value in values.items()}, step, model=name
            )
            advance(text=f"validation AUC {values.get('validation_auc', float('nan')):.4f}")

        if not is_network:
            return boosted.fit(
                cast("Trees", model),
                train,
                validation,
                options=options,
                observe=observe,
                checkpoint=checkpoint,
                resume=work.resume,
                stop=work.stop,
            )
        network = cast("Network", cast("nn.Module", model).to(work.device))
        loop = parts.part("loops", settings.loop, where=f"models.{name}.train.loop")
        if loop is not supervised.fit:
            log.info("%s: loop %s", name, settings.loop)
        train, validation = _with_nuisances(train, penalty), _with_nuisances(validation, penalty)
        result: FitResult = loop(
            network,
            train,
            validation,
            options=options,
            loss=cast("Loss", BinaryCrossEntropy()),
            decorrelation=_build_penalty(penalty),
            observe=observe,
            checkpoint=checkpoint,
            resume=work.resume,
            stop=work.stop,
        )
        return result


def _with_nuisances(events: Events, penalty: DecorrelationConfig) -> Events:
    """Take the nuisances that the configuration names, whatever their role in the schema."""
    if not penalty.nuisances:
        return events
    columns = [events.observers[name].to(torch.float32) for name in penalty.nuisances]
    return replace(
        events, nuisance=torch.stack(columns, dim=1), nuisance_names=tuple(penalty.nuisances)
    )


def _build_penalty(penalty: DecorrelationConfig) -> Penalty | None:
    if penalty.loss is None:
        return None
    options = {"strength": penalty.strength, "nuisances": penalty.nuisances, **penalty.options}
    built: Penalty = parts.build("losses", penalty.loss, options, where="decorrelation")
    return built


def _signature(saved: SavedModel) -> dict[str, str]:
    """Return the kind of each input column, for the record; in GeV and rad."""
    columns = dict.fromkeys(saved.inputs.features, "float")
    if saved.inputs.trees is not None:
        name = saved.inputs.trees.collection
        columns |= {
            f"{name}.{field}": "array" for field in saved.schema.collections[name].four_vector or ()
        }
    return columns


def _choose(work: Work, name: str, seeds: tuple[int, ...]) -> Path:
    """Copy the seed with the best validation AUC to the folder of the model."""
    cards = {seed: load_card(work.folder.model(name, seed)) for seed in seeds}
    best = max(seeds, key=lambda seed: float(cards[seed]["best_validation_auc"]))
    folder = work.folder.model(name)
    for path in sorted(work.folder.model(name, best).iterdir()):
        temporary = folder / f".{path.name}.tmp"
        shutil.copyfile(path, temporary)
        temporary.replace(folder / path.name)
    if len(seeds) > 1:
        log.info("%s: seed %d has the best validation AUC", name, best)
    return folder
