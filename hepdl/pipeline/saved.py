"""A trained model on disk: all that prediction needs, nothing that executes."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hepdl import __version__
from hepdl.errors import ConfigError, DataError
from hepdl.events import Inputs
from hepdl.events.scaling import Scaling
from hepdl.models import Network, Trees
from hepdl.models.reconstruction.fitted import FILE_NAME, Reconstruction
from hepdl.pipeline import parts
from hepdl.pipeline.folders import write_json
from hepdl.posthoc import Calibration
from hepdl.schema import Schema

__all__ = [
    "SavedModel",
    "is_map",
    "load_card",
    "load_history",
    "load_saved",
    "save_model",
]

# 2: with a calibration or with folds, which an older hepdl would leave out without a word.
FORMAT_VERSION = 2
# A combination: a map, and the names of its members.
COMBINATION_VERSION = 3
# A map against nuisances, with their names. The newest format that is read.
POSTHOC_VERSION = 4


@dataclass(frozen=True)
class SavedModel:
    """A trained model with what it was trained on.

    Attributes:
        name: Its key in the configuration.
        model: The network, in evaluation mode, or the boosted trees.
        scaling: The scaling fitted on the training part, or None for models that take none.
        schema: What the files hold.
        card: Everything else: options, seed, best epoch, numbers of the fit.
        calibration: The map from its scores to probabilities, or None.
        reconstruction: What assigned the objects that it was trained on, or None.
    """

    name: str
    model: Network | Trees
    scaling: Scaling | None
    schema: Schema
    card: dict[str, Any]
    calibration: Calibration | None = None
    reconstruction: Reconstruction | None = None

    @property
    def inputs(self) -> Inputs:
        """What the model needs from events."""
        return self.model.inputs


def save_model(
    saved: SavedModel,
    folder: Path,
    *,
    history: list[dict[str, float]],
    documents: Mapping[str, Any] | None = None,
) -> None:
    """Write a trained model and its training curves; the folder is whole or not there.

    Args:
        saved: The model.
        folder: Where it goes; replaced if it is there.
        history: What was observed in each epoch.
        documents: What else lies beside it: file name to JSON content.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        if isinstance(saved.model, nn.Module):
            buffer = io.BytesIO()
            state = {key: value.cpu() for key, value in saved.model.state_dict().items()}
            torch.save(state, buffer)
            (temporary / "parameters.pt").write_bytes(buffer.getvalue())
        elif isinstance(saved.model, Trees):
            saved.model.save(temporary)
        if saved.reconstruction is not None:
            saved.reconstruction.save(temporary)
        for name, content in {"history.json": history, **(documents or {})}.items():
            write_json(temporary / name, content)
        write_json(
            temporary / "model.json",
            {
                "format_version": 1 if saved.calibration is None else FORMAT_VERSION,
                "hepdl_version": __version__,
                "name": saved.name,
                **saved.card,
                "calibration": _calibration_as_dict(saved),
                "inputs": asdict(saved.inputs),
                "scaling": None if saved.scaling is None else saved.scaling.as_dict(),
                "schema_fingerprint": saved.schema.fingerprint(),
                "schema": saved.schema.as_dict(),
            },
        )
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_card(folder: Path) -> dict[str, Any]:
    """Return what was saved beside the parameters, without building the model.

    Raises:
        ConfigError: There is no model in the folder.
        DataError: The model was written by a newer hepdl.
    """
    path = folder / "model.json"
    if not path.is_file():
        known = sorted(p.name for p in folder.parent.glob("*") if (p / "model.json").is_file())
        message = (
            f"no trained model at {folder}; "
            f"models of this run: {', '.join(known) or '(none: has it finished fitting?)'}"
        )
        raise ConfigError(message)
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if card["format_version"] > POSTHOC_VERSION:
        message = (
            f"{path}: format {card['format_version']} is newer than {POSTHOC_VERSION}, which this "
            f"hepdl {__version__} reads: update hepdl"
        )
        raise DataError(message)
    return card


def is_map(card: Mapping[str, Any]) -> bool:
    """Whether what was saved maps scores of other models of the run, and has no parameters of its own."""
    return card.get("kind") in ("combination", "posthoc")


def load_saved(folder: Path) -> SavedModel:
    """Read what ``save_model`` wrote.

    Raises:
        ConfigError: There is no model in the folder, one for each fold, or a map of scores.
        DataError: The model was written by a newer hepdl, or its files do not fit together.
    """
    path = folder / "model.json"
    card = load_card(folder)
    if is_map(card):
        message = (
            f"{folder} is the {card['method']} of {_models(card['members'])} beside it, "
            "and has no parameters of its own; load it with hepdl.load_model"
        )
        raise ConfigError(message)
    if "folds" in card:
        message = (
            f"{folder} holds {card['folds']['n']} models, one for each fold, below folds/; "
            "load one of them, or all with hepdl.load_model"
        )
        raise ConfigError(message)
    schema = Schema.from_dict(card["schema"])
    if schema.fingerprint() != card["schema_fingerprint"]:
        message = (
            f"{path}: the schema has fingerprint {schema.fingerprint()[:12]}…, the model was "
            f"trained with {card['schema_fingerprint'][:12]}…: the file was edited"
        )
        raise DataError(message)
    model = parts.build("models", card["model"], card["options"], where=str(path))
    if isinstance(model, nn.Module):
        state = torch.load(folder / "parameters.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(state)
        model.eval()
    else:
        model.load(folder)
    scaling = None if card["scaling"] is None else Scaling.from_dict(card["scaling"])
    made = Reconstruction.load(folder) if (folder / FILE_NAME).is_file() else None
    return SavedModel(card["name"], model, scaling, schema, card, _calibration(card, path), made)


def _models(members: Sequence[str]) -> str:
    return f"the model{'s' if len(members) > 1 else ''} {', '.join(members)}"


def _calibration_as_dict(saved: SavedModel) -> dict[str, Any]:
    method = saved.card.get("calibration", {"method": "none"})["method"]
    return {"method": method, **({} if saved.calibration is None else saved.calibration.as_dict())}


def _calibration(card: Mapping[str, Any], path: Path) -> Calibration | None:
    content = card.get("calibration", {"method": "none"})
    if content["method"] == "none":
        return None
    kind = parts.module("calibrations", content["method"], where=str(path))
    found: Calibration = getattr(kind, kind.__all__[0]).from_dict(content)
    return found


def load_history(folder: Path) -> list[dict[str, float]]:
    """Return what was observed in each epoch (boosted trees: round) of a trained model."""
    history: list[dict[str, float]] = json.loads((folder / "history.json").read_text("utf-8"))
    return history
