"""Stage ``fit``: train every model with every seed, choose by the validation part."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from hepdl.events import ParticleInputs
from hepdl.kinematics import PARTICLE_FEATURES
from hepdl.pipeline.fitting import FitTask, fit_task, fit_tasks, is_network
from hepdl.pipeline.fold_models import load_folds, save_folds
from hepdl.pipeline.map_fits import fit_maps
from hepdl.pipeline.mapped import member_folders
from hepdl.pipeline.saved import SavedModel, load_card
from hepdl.pipeline.stages.prepare import load_dataset
from hepdl.pipeline.work import Outcome, Work

__all__ = ["FitTask", "fit", "fit_task"]

log = logging.getLogger(__name__)


def fit(work: Work) -> Outcome:
    """Train what is not trained yet, choose a seed of each model, and fit the maps of their scores."""
    dataset = load_dataset(work)
    config = work.analysis.config
    outputs: list[Path] = []
    for name in config.models:
        for task in fit_tasks(config, name):
            if (work.folder.model(name, task.seed, task.fold) / "model.json").is_file():
                log.info("%s: already trained", task)
            else:
                with _helpers(work, task):
                    fit_task(work, dataset, task)
        outputs += _settle(work, name)
    fit_maps(work, dataset)
    for name in config.maps:
        outputs += _settle_map(work, name)
    shutil.rmtree(work.folder.path / "checkpoints", ignore_errors=True)
    return Outcome(outputs)


def _settle(work: Work, name: str) -> list[Path]:
    """Choose among the seeds, record the model, and return its files."""
    config = work.analysis.config
    seeds = config.train_of(name).seeds
    for fold in config.split.fold_numbers:
        _choose(work, name, seeds, fold)
    folder = work.folder.model(name)
    if config.split.folds is None:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    else:
        files = save_folds(folder, config.split.folds)
    models = load_folds(folder)
    card = models[0].card
    settled = {key: card[key] for key in ("model", "options", "train", "decorrelation")}
    settled["calibration"] = card["calibration"]["method"]
    chosen = dict.fromkeys(int(saved.card["seed"]) for saved in models)
    settled["seed"] = card["seed"] if len(chosen) == 1 else ", ".join(map(str, chosen))
    work.recorder.params(settled, model=name)
    work.recorder.model(folder, name=name, inputs=_signature(models))
    return files


def _settle_map(work: Work, name: str) -> list[Path]:
    """Record a map of scores, and return its files."""
    config = work.analysis.config
    folder = work.folder.model(name)
    files = [folder / "model.json"]
    if config.split.folds is not None:
        files = save_folds(folder, config.split.folds)
    members = member_folders(folder, load_card(folder))
    inputs: dict[str, str] = {}
    for member in members:
        inputs |= _signature(load_folds(member))
    inputs |= dict.fromkeys(config.maps[name].nuisances, "float")
    work.recorder.params(config.maps[name].model_dump(mode="json"), model=name)
    work.recorder.model(folder, name=name, inputs=inputs, members=members)
    return files


def _helpers(work: Work, task: FitTask) -> AbstractContextManager[None]:
    """Call the other ranks to the fit of a network; boosted trees are fitted by one process."""
    if not is_network(work.analysis.config, task.name):
        return nullcontext()
    return work.followers.join(
        {
            "folder": str(work.folder.path),
            "root": str(work.folder.root),
            "data": str(work.data),
            "resume": work.resume,
            "task": [task.name, task.seed, task.fold],
        }
    )


def _signature(models: Sequence[SavedModel]) -> dict[str, str]:
    """Return the kind of each input column, for the record; in GeV and rad."""
    saved = models[0]
    # Numbers of the best assignment are made from what the reconstruction reads.
    known = saved.schema.flat_fields
    columns = {name: "float" for name in saved.inputs.features if name in known}
    if saved.reconstruction is not None:
        recipe_of = saved.reconstruction.recipe
        columns |= dict.fromkeys(recipe_of.flat_fields, "float")
        for name, tags in recipe_of.collections.items():
            fields_of = (*(saved.schema.collections[name].four_vector or ()), *tags)
            columns |= {f"{name}.{field}": "array" for field in fields_of}
    if len(models) > 1 and saved.schema.event_number is not None:
        columns = {saved.schema.event_number: "long"} | columns
    for recipe in (saved.inputs.trees, saved.inputs.particles):
        if recipe is not None:
            collection = saved.schema.collections[recipe.collection]
            fields: list[str] = [*(collection.four_vector or ())]
            if isinstance(recipe, ParticleInputs):
                fields += [name for name in recipe.columns if name not in PARTICLE_FEATURES]
            columns |= {f"{recipe.collection}.{field}": "array" for field in fields}
    return columns


def _choose(work: Work, name: str, seeds: tuple[int, ...], fold: int | None) -> None:
    """Copy the seed with the best validation AUC to the folder of the model, or of its fold.

    Each fold chooses by its own validation part: that of another fold holds events of this one.
    """
    cards = {seed: load_card(work.folder.model(name, seed, fold)) for seed in seeds}
    best = max(seeds, key=lambda seed: float(cards[seed]["best_validation_auc"]))
    folder = work.folder.model(name, fold=fold)
    for path in sorted(work.folder.model(name, best, fold).iterdir()):
        temporary = folder / f".{path.name}.tmp"
        shutil.copyfile(path, temporary)
        temporary.replace(folder / path.name)
    if len(seeds) > 1:
        where = "" if fold is None else f" of fold {fold}"
        log.info("%s: seed %d has the best validation AUC%s", name, best, where)
