"""Maps of the scores of the fitted models of a run, fitted on the validation part."""

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
from hepdl.pipeline.config import MapConfig, PosthocConfig
from hepdl.pipeline.dataset import Dataset
from hepdl.pipeline.folders import content_hash, write_json
from hepdl.pipeline.mapped import PARTS_OF, ScoreMap, card_hash, nuisances_of, transformed
from hepdl.pipeline.saved import COMBINATION_VERSION, POSTHOC_VERSION, load_card
from hepdl.pipeline.scores import score_rows
from hepdl.pipeline.work import Work

__all__ = ["fit_maps"]

log = logging.getLogger(__name__)

Columns = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def fit_maps(work: Work, dataset: Dataset) -> None:
    """Fit every combination and posthoc map, of each fold; one that fits to its members is kept.

    The members' scores are those of their chosen seed, calibrated if they are, for the validation
    part of the fold: no member was trained on it. Event weights are those of the training. A posthoc map is
    fitted to the background alone.

    Args:
        work: The run; all models are fitted and chosen.
        dataset: All events of the run.

    Raises:
        DataError: The events of a fold cannot be used.
    """
    config = work.analysis.config
    for fold in config.split.fold_numbers:
        wanted = [name for name in config.maps if not _is_fitted(work, name, fold)]
        rows = dataset.of_fold(fold).index("validation") if wanted else np.zeros(0, np.int64)
        scores: dict[str, Columns] = {}
        for name in wanted:
            members = config.maps[name].members
            for member in members:
                if member not in scores:
                    folder = work.folder.model(member, fold=fold)
                    scores[member] = score_rows(work, dataset, folder, rows)
            columns = np.column_stack([scores[member] for member in members])
            _fit_map(work, dataset.of_fold(fold), name, fold, rows, columns)


def _is_fitted(work: Work, name: str, fold: int | None) -> bool:
    """Whether the map is there and was fitted to the members that are there."""
    folder = work.folder.model(name, fold=fold)
    if not (folder / "model.json").is_file():
        return False
    trained = {member: entry["card"] for member, entry in load_card(folder)["trained"].items()}
    now = {
        member: card_hash(work.folder.model(member), fold)
        for member in work.analysis.config.maps[name].members
    }
    if trained != now:
        return False
    done = "combined" if name in work.analysis.config.combinations else "flattened"
    log.info("%s%s: already %s", name, _of_fold(fold), done)
    return True


def _fit_map(
    work: Work, dataset: Dataset, name: str, fold: int | None, rows: Rows, columns: Columns
) -> None:
    """Fit one map and save it."""
    wanted = work.analysis.config.maps[name]
    label, weight = dataset.label[rows], dataset.training_weight[rows]
    nuisance = nuisances_of(dataset, wanted.nuisances, rows)
    made: Any = parts.part(PARTS_OF[wanted.kind], wanted.method, where=f"{name}.method")
    try:
        fitted: ScoreMap
        if isinstance(wanted, PosthocConfig):
            flat = label == 0
            fitted = made.fit(columns[flat, 0], nuisance[flat], weight[flat], **wanted.options)
        else:
            fitted = made.fit(columns, label, weight)
        area = auc(label, transformed(fitted, columns, nuisance), weight)
    except DataError as error:
        against = f" against {', '.join(wanted.nuisances)}" if wanted.nuisances else ""
        where = f"{wanted.kind} {name}{against}{_of_fold(fold)}, {len(rows)} validation entries"
        message = f"{where}: {error}"
        raise DataError(message) from error
    card = _card(work, name, fold) | {"map": fitted.as_dict(), "best_validation_auc": float(area)}
    write_json(work.folder.model(name, fold=fold) / "model.json", card)
    log.info(
        "%s%s: %s of %s on %d validation entries, validation AUC %.4f",
        name,
        _of_fold(fold),
        wanted.method,
        ", ".join(wanted.members),
        len(rows),
        area,
    )


def _card(work: Work, name: str, fold: int | None) -> dict[str, Any]:
    """Return what is saved beside the map; what only a single training has is None."""
    config, schema = work.analysis.config, work.analysis.schema
    wanted = config.maps[name]
    members: list[str] = list(wanted.members)
    folders: list[Path] = [work.folder.model(member, fold=fold) for member in members]
    cards = [load_card(folder) for folder in folders]
    return {
        "hepdl_version": __version__,
        "name": name,
        **_kind(wanted),
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


def _kind(wanted: MapConfig) -> dict[str, Any]:
    """Return what sort of map it is; one against nuisances needs a newer hepdl."""
    if not isinstance(wanted, PosthocConfig):
        found = {"format_version": COMBINATION_VERSION, "kind": wanted.kind}
        return {**found, "method": wanted.method}
    return {
        "format_version": POSTHOC_VERSION,
        "kind": wanted.kind,
        "method": wanted.method,
        "nuisances": list(wanted.nuisances),
        "options": wanted.options,
    }


def _of_fold(fold: int | None) -> str:
    return "" if fold is None else f", fold {fold}"
