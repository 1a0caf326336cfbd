"""A trained model for scripts and notebooks: one line to load, one line to apply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import torch

from hepdl.events.split import fold_of
from hepdl.events.table import from_awkward
from hepdl.io import iterate
from hepdl.pipeline.dataset import arrange
from hepdl.pipeline.fold_models import load_folds
from hepdl.pipeline.mapped import MappedTagger, load_maps, member_folders
from hepdl.pipeline.saved import SavedModel, is_map, load_card
from hepdl.pipeline.scoring import score_arranged, score_by_fold
from hepdl.schema import Schema, complete
from hepdl.train import choose_device

__all__ = ["Tagger", "load_model"]

# Entries that are arranged at once: a jet of 60 constituents takes about 5 kB as a tree.
ENTRIES_AT_ONCE = 50_000


@dataclass(frozen=True)
class Tagger:
    """A trained model of a run.

    With folds it holds a model for each, and scores every entry by the one that has not seen the
    entry's fold, ``event_number % k``.

    Attributes:
        saved: The model, its scaling and what it was trained on; with folds that of the first.
        device: Where a network computes.
        folds: The models of all folds, or nothing without folds.
        common: What is saved for all folds together, or None without folds.
    """

    saved: SavedModel
    device: torch.device
    folds: tuple[SavedModel, ...] = ()
    common: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The key of the model in the configuration."""
        return self.saved.name

    @cached_property
    def schema(self) -> Schema:
        """What the files must hold: that of the training without truth, which data do not have.

        Raises:
            SchemaError: The selection of the training uses truth.
        """
        return self.saved.schema.without_truth()

    @cached_property
    def in_memory(self) -> Schema:
        """What a table must hold: as `schema`, and its entries are selected."""
        return self.saved.schema.without_truth(selects=False)

    @property
    def card(self) -> dict[str, Any]:
        """Options, seed, best epoch and numbers of the fit; with folds what they have in common."""
        return self.saved.card if self.common is None else self.common

    def predict(self, events: ak.Array | str | Path | Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the score of each entry, in [0, 1], large for signal.

        Args:
            events: What ``hepdl.read`` or a generator returned, or files; of files, the selected
                entries. Derived and computed fields that a table lacks are added.

        Shapes:
            ``(n_entries,)``, in the order of the entries.

        Raises:
            SchemaError: A field that the model needs is not there.
        """
        if isinstance(events, ak.Array):
            chunks: Iterator[ak.Array] = iter([events])
        else:
            chunks = iterate(events, self.schema)
        found = [
            self._score(chunk[start : start + ENTRIES_AT_ONCE])
            for chunk in chunks
            for start in range(0, len(chunk), ENTRIES_AT_ONCE)
        ]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)

    def _score(self, table: ak.Array) -> npt.NDArray[np.float32]:
        # The label plays no part in prediction.
        events = from_awkward(
            complete(table, self.in_memory),
            self.in_memory,
            label="background",
            process="",
            process_names=("",),
        )
        if not self.folds:
            arranged = arrange(events, self.saved.inputs, self.saved.reconstruction)
            return score_arranged(self.saved, arranged, device=self.device)
        return score_by_fold(
            self.folds,
            events,
            fold_of(events.event_number.numpy(), len(self.folds)),
            device=self.device,
        )


def load_model(
    run: Path | str, name: str | None = None, *, device: str = "auto"
) -> Tagger | MappedTagger:
    """Return a trained model of a run, or a map of scores with its members.

    Args:
        run: The output folder of the run; without a name, the folder of one model.
        name: The key of the model under ``models:``, ``combinations:`` or ``posthoc:``.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: There is no such model, or a member of a map is not there.
        DataError: A member is not the one that the map was fitted to.
    """
    folder = Path(run) if name is None else Path(run) / "models" / name
    card = load_card(folder)
    if is_map(card):
        members = [_load(path, device) for path in member_folders(folder, card)]
        return MappedTagger(tuple(members), load_maps(folder), card)
    return _load(folder, device)


def _load(folder: Path, device: str) -> Tagger:
    found = load_folds(folder)
    card = load_card(folder)
    if "folds" not in card:
        return Tagger(found[0], choose_device(device))
    return Tagger(found[0], choose_device(device), found, card)
