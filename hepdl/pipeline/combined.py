"""A combination of models on disk and in scripts: a map, and the members beside it.

``models/NAME/model.json`` says ``"kind": "combination"``, names the members and holds the map; the
members are the folders of these names beside it. With folds each one has its own map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, DataError
from hepdl.events.split import fold_of
from hepdl.io import iterate
from hepdl.pipeline import parts
from hepdl.pipeline.folders import file_hash
from hepdl.pipeline.saved import load_card
from hepdl.posthoc import Combination
from hepdl.schema import Schema

__all__ = [
    "CombinedTagger",
    "Member",
    "card_hash",
    "load_maps",
    "member_folders",
    "transformed",
]

Scores = npt.NDArray[np.float32]


class Member(Protocol):
    """What a combination needs of a trained model."""

    @property
    def name(self) -> str:
        """Its key in the configuration."""

    @property
    def schema(self) -> Schema:
        """What the files must hold."""

    def predict(self, events: ak.Array) -> Scores:
        """Return the score of each entry."""


@dataclass(frozen=True)
class CombinedTagger:
    """A combination of trained models of a run; it is used like a `hepdl.Tagger`.

    Attributes:
        members: The models, in the order of the map.
        maps: From their scores to one; with folds one for each.
        card: Names of the members, method, validation AUC; sums over the members.
    """

    members: tuple[Member, ...]
    maps: tuple[Combination, ...]
    card: dict[str, Any]

    @property
    def name(self) -> str:
        """The key of the combination in the configuration."""
        return str(self.card["name"])

    @property
    def schema(self) -> Schema:
        """What the files must hold."""
        return self.members[0].schema

    @property
    def folds(self) -> tuple[Combination, ...]:
        """The maps of all folds, or nothing without folds."""
        return self.maps if "folds" in self.card else ()

    def predict(self, events: ak.Array | str | Path | Sequence[str]) -> Scores:
        """Return the score of each entry, in [0, 1], large for signal.

        Args:
            events: What ``hepdl.read`` returned, or files; of files, the selected entries.

        Shapes:
            ``(n_entries,)``, in the order of the entries.

        Raises:
            SchemaError: A field that a member needs is not there.
        """
        chunks = [events] if isinstance(events, ak.Array) else iterate(events, self.schema)
        found = [
            self.combine({member.name: member.predict(chunk) for member in self.members}, chunk)
            for chunk in chunks
        ]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)

    def combine(self, scores: Mapping[str, Scores], table: ak.Array) -> Scores:
        """Return the combined scores of entries that the members have scored.

        Args:
            scores: Of each member by name.
            table: The entries; with folds their event number says which map is theirs.

        Shapes:
            scores: ``(n_entries,)`` each → ``(n_entries,)``.
        """
        columns = np.column_stack([scores[member.name] for member in self.members])
        if not self.folds:
            return transformed(self.maps[0], columns)
        fold = fold_of(np.asarray(table[self.schema.event_number]), len(self.maps))
        found = np.zeros(len(columns), dtype=np.float32)
        for number, fitted in enumerate(self.maps):
            found[fold == number] = transformed(fitted, columns[fold == number])
        return found


def transformed(fitted: Combination, columns: npt.NDArray[np.float32]) -> Scores:
    """Return combined scores as they are stored.

    Shapes:
        columns: ``(n_events, n_members)`` → ``(n_events,)``.
    """
    return np.asarray(fitted.transform(columns), dtype=np.float32)


def member_folders(folder: Path, card: Mapping[str, Any]) -> tuple[Path, ...]:
    """Return the folders of the members of a combination, in the order of the map.

    Args:
        folder: ``models/NAME`` of the combination.
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


def load_maps(folder: Path) -> tuple[Combination, ...]:
    """Return the maps of all folds in their order; the one map if there are no folds.

    Args:
        folder: ``models/NAME`` of a combination.

    Raises:
        ConfigError: There is none, or a member is not there.
        DataError: A member is not the one whose scores the map was fitted to.
    """
    card = load_card(folder)
    n_folds = card["folds"]["n"] if "folds" in card else None
    folds = [None] if n_folds is None else list(range(n_folds))
    return tuple(_load_map(folder, member_folders(folder, card), fold) for fold in folds)


def _load_map(folder: Path, members: Sequence[Path], fold: int | None) -> Combination:
    place = folder if fold is None else folder / "folds" / str(fold)
    card = load_card(place)
    for member in members:
        if card["trained"][member.name]["card"] != card_hash(member, fold):
            message = (
                f"{place} was fitted to the scores of another training of {member.name} than the one "
                f"in {member}: put that one back, or continue the run with --resume"
            )
            raise DataError(message)
    kind = parts.module("combinations", card["method"], where=str(place / "model.json"))
    found: Combination = getattr(kind, kind.__all__[0]).from_dict(card["map"])
    return found


def card_hash(member: Path, fold: int | None) -> str:
    """Return the SHA-256 of what is saved with the chosen model of a member: it names the training.

    Args:
        member: ``models/NAME``.
        fold: Whose model; None without folds.
    """
    place = member if fold is None else member / "folds" / str(fold)
    return file_hash(place / "model.json")
