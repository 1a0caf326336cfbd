"""Combinations of the fitted models of a run: their maps, fitted on the validation part."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl import __version__
from hepdl.errors import DataError
from hepdl.evaluate.roc import auc
from hepdl.pipeline import parts
from hepdl.pipeline.combined import card_hash, transformed
from hepdl.pipeline.dataset import Dataset
from hepdl.pipeline.folders import content_hash, write_json
from hepdl.pipeline.saved import COMBINATION_VERSION, load_card
from hepdl.pipeline.scores import score_rows
from hepdl.pipeline.work import Work
from hepdl.posthoc import Combination

__all__ = ["combine_models"]

log = logging.getLogger(__name__)

Columns = npt.NDArray[np.float32]


def combine_models(work: Work, dataset: Dataset) -> None:
    """Fit the map of every combination, of each fold; one that fits to its members is kept.

    The members' scores are those of their chosen seed, calibrated if they are, for the validation
    part of the fold: no member was trained on it. Event weights are those of the training.

    Args:
        work: The run; all models are fitted and chosen.
        dataset: All events of the run.

    Raises:
        DataError: The events of a fold cannot be used.
    """
    config = work.analysis.config
    for fold in config.split.fold_numbers:
        wanted = [name for name in config.combinations if not _is_fitted(work, name, fold)]
        rows = dataset.of_fold(fold).index("validation") if wanted else np.zeros(0, np.int64)
        scores: dict[str, Columns] = {}
        for name in wanted:
            for member in config.combinations[name].of:
                if member not in scores:
                    folder = work.folder.model(member, fold=fold)
                    scores[member] = score_rows(work, dataset, folder, rows)
            columns = np.column_stack([scores[m] for m in config.combinations[name].of])
            _combine(work, dataset.of_fold(fold), name, fold, rows, columns)


def _is_fitted(work: Work, name: str, fold: int | None) -> bool:
    """Whether the map is there and was fitted to the members that are there."""
    folder = work.folder.model(name, fold=fold)
    if not (folder / "model.json").is_file():
        return False
    trained = {member: entry["card"] for member, entry in load_card(folder)["trained"].items()}
    now = {
        member: card_hash(work.folder.model(member), fold)
        for member in work.analysis.config.combinations[name].of
    }
    if trained != now:
        return False
    log.info("%s%s: already combined", name, _of_fold(fold))
    return True


def _combine(
    work: Work,
    dataset: Dataset,
    name: str,
    fold: int | None,
    rows: npt.NDArray[np.int64],
    columns: Columns,
) -> None:
    """Fit one map and save it."""
    method = work.analysis.config.combinations[name].method
    label, weight = dataset.label[rows], dataset.training_weight[rows]
    kind = parts.module("combinations", method, where=f"combinations.{name}.method")
    try:
        fitted: Combination = getattr(kind, kind.__all__[0]).fit(columns, label, weight)
        area = auc(label, transformed(fitted, columns), weight)
    except DataError as error:
        message = f"combination {name}{_of_fold(fold)}, {len(rows)} validation entries: {error}"
        raise DataError(message) from error
    card = _card(work, name, fold) | {"map": fitted.as_dict(), "best_validation_auc": float(area)}
    write_json(work.folder.model(name, fold=fold) / "model.json", card)
    log.info(
        "%s%s: %s of %s on %d validation entries, validation AUC %.4f",
        name,
        _of_fold(fold),
        method,
        ", ".join(card["members"]),
        len(rows),
        area,
    )


def _card(work: Work, name: str, fold: int | None) -> dict[str, Any]:
    """Return what is saved beside the map; what only a single training has is None."""
    config, schema = work.analysis.config, work.analysis.schema
    members: list[str] = list(config.combinations[name].of)
    folders: list[Path] = [work.folder.model(member, fold=fold) for member in members]
    cards = [load_card(folder) for folder in folders]
    return {
        "format_version": COMBINATION_VERSION,
        "hepdl_version": __version__,
        "name": name,
        "kind": "combination",
        "method": config.combinations[name].method,
        "members": members,
        "trained": {
            member: {
                "seed": int(card["seed"]),
                "card": card_hash(work.folder.model(member), fold),
            }
            for member, card in zip(members, cards, strict=True)
        },
        "seed": None,
        "fold": fold,
        "best_epoch": None,
        "fit_seconds": sum(float(card["fit_seconds"]) for card in cards),
        "events_per_second": None,
        "n_parameters": sum(int(card["n_parameters"]) for card in cards),
        "configuration": content_hash(config.as_dict()),
        "schema_fingerprint": schema.fingerprint(),
        "schema": schema.as_dict(),
    }


def _of_fold(fold: int | None) -> str:
    return "" if fold is None else f", fold {fold}"
