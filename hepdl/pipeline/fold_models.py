"""A model with folds on disk: one model for each fold, and a card that says which is whose.

``models/NAME/folds/F/`` holds the model that has not seen the events of fold ``F``, and
``models/NAME/model.json`` what they have in common.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hepdl.pipeline.folders import write_json
from hepdl.pipeline.saved import FORMAT_VERSION, SavedModel, load_card, load_saved

__all__ = ["load_folds", "mean_card", "save_folds"]

# Sums and means over the folds; the card of one model has the same keys.
_MEANS = ("best_validation_auc", "events_per_second")
_WHOLE_MEANS = ("best_epoch", "n_parameters")
# What belongs to the model of one fold alone.
_OF_ONE = ("scaling", "calibration", "stopped_early", "seed", "fold", "map", "trained")
# Documents of the first fold that stand for the whole model in the report.
_SHOWN = ("history.json", "diagnostics.json")


def load_folds(folder: Path) -> tuple[SavedModel, ...]:
    """Return the models of all folds in their order; the one model if there are no folds.

    Raises:
        ConfigError: There is no model in the folder, or a map of the scores of others.
        DataError: A model was written by a newer hepdl, or its files do not fit together.
    """
    card = load_card(folder)
    if "folds" not in card:
        return (load_saved(folder),)
    return tuple(load_saved(folder / "folds" / str(fold)) for fold in range(card["folds"]["n"]))


def mean_card(cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one card for the models of all folds: means, but all of the time.

    Args:
        cards: Of the folds in their order; at least one.
    """
    return {
        **cards[0],
        "fit_seconds": sum(float(card["fit_seconds"]) for card in cards),
        **{key: _mean(cards, key) for key in _MEANS},
        **{key: None if (m := _mean(cards, key)) is None else round(m) for key in _WHOLE_MEANS},
    }


def _mean(cards: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Return a mean; None if the models have no such number, as maps of scores have no epoch."""
    values = [card[key] for card in cards]
    return None if None in values else float(np.mean(values))


def save_folds(folder: Path, n_folds: int) -> list[Path]:
    """Write the card over the models of all folds, last, and return every file of the model.

    Args:
        folder: ``models/NAME``; the chosen model of each fold lies in ``folds/F``.
        n_folds: How many there are.
    """
    folders = [folder / "folds" / str(fold) for fold in range(n_folds)]
    cards = [load_card(path) for path in folders]
    card = {key: value for key, value in mean_card(cards).items() if key not in _OF_ONE}
    card |= {
        "format_version": max(FORMAT_VERSION, card["format_version"]),
        "folds": {
            "n": n_folds,
            "by": f"event_number % {n_folds}",
            "seeds": [found["seed"] for found in cards],
        },
    }
    for name in _SHOWN:
        if (folders[0] / name).is_file():
            shutil.copyfile(folders[0] / name, folder / name)
    write_json(folder / "model.json", card)
    files = [path for place in (folder, *folders) for path in place.iterdir() if path.is_file()]
    return sorted(files)
