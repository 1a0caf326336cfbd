"""A map of the scores of models on disk and in scripts: a map, and the members beside it.

``models/NAME/model.json`` says ``"kind": "combination"`` (of several models) or ``"posthoc"`` (of one, against
nuisances), names the members and nuisances and holds the map; the members are the folders of these names
beside it. With folds each one has its own map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, DataError, SchemaError, unknown_name
from hepdl.events.split import fold_of
from hepdl.io import iterate
from hepdl.pipeline import parts
from hepdl.pipeline.dataset import Dataset
from hepdl.pipeline.folders import file_hash
from hepdl.pipeline.saved import load_card
from hepdl.posthoc import Combination, Flattening
from hepdl.schema import Schema, complete

__all__ = [
    "MappedTagger",
    "Member",
    "ScoreMap",
    "card_hash",
    "load_maps",
    "member_folders",
    "nuisances_of",
    "transformed",
]

Scores = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
ScoreMap = Combination | Flattening
# How a card names its kind, and what parts of this kind are called.
PARTS_OF = {"combination": "combinations", "posthoc": "posthoc"}


class Member(Protocol):
    """What a map needs of a trained model."""

    @property
    def name(self) -> str:
        """Its key in the configuration."""

    @property
    def schema(self) -> Schema:
        """What the files must hold."""

    @property
    def in_memory(self) -> Schema:
        """What a table must hold; its entries are selected."""

    def predict(self, events: ak.Array) -> Scores:
        """Return the score of each entry."""


@dataclass(frozen=True)
class MappedTagger:
    """A map of the scores of trained models of a run; it is used like a `hepdl.Tagger`.

    Attributes:
        members: The models, in the order of the map.
        maps: From their scores to one; with folds one for each.
        card: Names of members and nuisances, method, validation AUC; sums over the members.
    """

    members: tuple[Member, ...]
    maps: tuple[ScoreMap, ...]
    card: dict[str, Any]

    @property
    def name(self) -> str:
        """The key of the map in the configuration."""
        return str(self.card["name"])

    @property
    def schema(self) -> Schema:
        """What the files must hold."""
        return self.members[0].schema

    @property
    def folds(self) -> tuple[ScoreMap, ...]:
        """The maps of all folds, or nothing without folds."""
        return self.maps if "folds" in self.card else ()

    def predict(self, events: ak.Array | str | Path | Sequence[str]) -> Scores:
        """Return the score of each entry, in [0, 1], large for signal.

        Args:
            events: What ``hepdl.read`` returned, or files; of files, the selected entries.

        Shapes:
            ``(n_entries,)``, in the order of the entries.

        Raises:
            SchemaError: A field that a member or the map needs is not there.
        """
        chunks = [events] if isinstance(events, ak.Array) else iterate(events, self.schema)
        found = [
            self.apply({member.name: member.predict(chunk) for member in self.members}, chunk)
            for chunk in chunks
        ]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)

    def apply(self, scores: Mapping[str, Scores], table: ak.Array) -> Scores:
        """Return the mapped scores of entries that the members have scored.

        Args:
            scores: Of each member by name.
            table: The entries: their nuisances, and with folds the event number, which says whose map is theirs.

        Shapes:
            scores: ``(n_entries,)`` each → ``(n_entries,)``.

        Raises:
            SchemaError: A nuisance is not there.
        """
        columns = np.column_stack([scores[member.name] for member in self.members])
        nuisance = self._nuisances(table)
        if not self.folds:
            return transformed(self.maps[0], columns, nuisance)
        fold = fold_of(np.asarray(table[self.members[0].in_memory.event_number]), len(self.maps))
        found = np.zeros(len(columns), dtype=np.float32)
        for number, fitted in enumerate(self.maps):
            inside = fold == number
            found[inside] = transformed(fitted, columns[inside], nuisance[inside])
        return found

    def _nuisances(self, table: ak.Array) -> Floats:
        """Return the nuisances of entries; derived and computed fields are added if need be."""
        names = [str(name) for name in self.card.get("nuisances", ())]
        if not set(names) <= set(table.fields):
            table = complete(table, self.members[0].in_memory)
        for name in names:
            if name not in table.fields:
                where = f"nuisances of {self.name}"
                raise SchemaError(unknown_name("field", name, table.fields, where=where))
        columns = [np.asarray(table[name], dtype=np.float64) for name in names]
        return np.stack(columns, axis=1) if columns else np.zeros((len(table), 0))


def transformed(fitted: ScoreMap, columns: npt.NDArray[np.float32], nuisance: Floats) -> Scores:
    """Return mapped scores as they are stored.

    Args:
        fitted: A combination, or a map of one model against nuisances.
        columns: The scores of the members.
        nuisance: Their nuisances; no columns for a combination.

    Shapes:
        columns ``(n_events, n_members)``, nuisance ``(n_events, n_nuisances)`` → ``(n_events,)``.
    """
    if isinstance(fitted, Flattening):
        found = fitted.transform(columns[:, 0], nuisance)
    else:
        found = fitted.transform(columns)
    return np.asarray(found, dtype=np.float32)


def nuisances_of(dataset: Dataset, names: Sequence[str], rows: npt.NDArray[np.int64]) -> Floats:
    """Return the nuisances of some events, ``(n_rows, n_nuisances)``; no columns without names."""
    columns = [dataset.column(name)[rows] for name in names]
    return np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0))


def member_folders(folder: Path, card: Mapping[str, Any]) -> tuple[Path, ...]:
    """Return the folders of the members of a map, in its order.

    Args:
        folder: ``models/NAME`` of the map.
        card: Its content.

    Raises:
        ConfigError: One of them is not there.
    """
    members = [str(member) for member in card["members"]]
    missing = [m for m in members if not (folder.parent / m / "model.json").is_file()]
    if missing:
        message = (
            f"{folder} is the {card['method']} of {', '.join(members)}, and {folder.parent} has no "
            f"model {', '.join(missing)}: put the members back beside it (the whole folder of the "
            "run is enough), or continue the run with --resume"
        )
        raise ConfigError(message)
    return tuple(folder.parent / member for member in members)


def load_maps(folder: Path) -> tuple[ScoreMap, ...]:
    """Return the maps of all folds in their order; the one map if there are no folds.

    Args:
        folder: ``models/NAME`` of a combination or posthoc map.

    Raises:
        ConfigError: There is none, or a member is not there.
        DataError: A member is not the one whose scores the map was fitted to.
    """
    card = load_card(folder)
    n_folds = card["folds"]["n"] if "folds" in card else None
    folds = [None] if n_folds is None else list(range(n_folds))
    return tuple(_load_map(folder, member_folders(folder, card), fold) for fold in folds)


def _load_map(folder: Path, members: Sequence[Path], fold: int | None) -> ScoreMap:
    place = folder if fold is None else folder / "folds" / str(fold)
    card = load_card(place)
    for member in members:
        if card["trained"][member.name]["card"] != card_hash(member, fold):
            message = (
                f"{place} was fitted to the scores of another training of {member.name} than the one "
                f"in {member}: put that one back, or continue the run with --resume"
            )
            raise DataError(message)
    where = str(place / "model.json")
    made: Any = parts.part(PARTS_OF[card["kind"]], card["method"], where=where)
    found: ScoreMap = made.from_dict(card["map"])
    return found


def card_hash(member: Path, fold: int | None) -> str:
    """Return the SHA-256 of what is saved with the chosen model of a member: it names the training.

    Args:
        member: ``models/NAME``.
        fold: Whose model; None without folds.
    """
    place = member if fold is None else member / "folds" / str(fold)
    return file_hash(place / "model.json")
