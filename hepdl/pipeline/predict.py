"""``hepdl predict``: the scores of a run's models for new files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, unknown_name
from hepdl.io import Accounting, iterate, write_table
from hepdl.pipeline.mapped import MappedTagger, Member
from hepdl.pipeline.tagger import Tagger, load_model

__all__ = ["predict_files"]

log = logging.getLogger(__name__)

TTREE = "scores"
# What an entry that fails the selection has in a friend: outside of [0, 1].
FILL = -1.0


def predict_files(
    run_folder: Path,
    files: Sequence[str],
    *,
    output: Path,
    mode: str = "new",
    models: Sequence[str] = (),
    device: str = "auto",
) -> str:
    """Write the scores of the models of a run, and return what the command line prints.

    Args:
        run_folder: The output folder of a run.
        files: Files of the run's schema; globs and ``file.root:ttree``.
        output: The ROOT file to write.
        mode: ``new``: the selected entries; ``friend``: one row per entry of the input, in its
            order, with ``hepdl_selected`` and a score of -1 for entries that fail the selection.
        models: Names of models and of maps of their scores; empty for all of the run.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: A model does not exist, or the output does.
    """
    names = _names(run_folder, models)
    if output.exists():
        message = f"--output {output} exists: remove it, or name another file"
        raise ConfigError(message)
    taggers = {name: load_model(run_folder, name, device=device) for name in names}
    table, accounting = _score(files, taggers)
    if mode == "friend":
        table = _aligned(table, accounting.read)
    n_rows = len(table.pop("hepdl_entry"))
    write_table(table, output, ttree=TTREE)
    return (
        f"{output}: ttree {TTREE}, {n_rows} rows, "
        f"{', '.join(f'score_{name}' for name in names)}\n"
        f"entries read {accounting.read}, rejected {sum(accounting.rejected.values())}, "
        f"selected {accounting.selected}"
    )


def _names(run_folder: Path, models: Sequence[str]) -> list[str]:
    found = sorted(p.parent.name for p in (run_folder / "models").glob("*/model.json"))
    if not found:
        message = f"{run_folder} holds no trained models: give the output folder of a finished run"
        raise ConfigError(message)
    for name in models:
        if name not in found:
            raise ConfigError(unknown_name("model", name, found, where=f"models of {run_folder}"))
    return list(models) or found


def _score(
    files: Sequence[str], taggers: dict[str, Tagger | MappedTagger]
) -> tuple[dict[str, npt.NDArray[Any]], Accounting]:
    schema = next(iter(taggers.values())).schema
    # Under the names of scores.root, whatever the schema calls them.
    identity = {
        "event_number": schema.event_number,
        "run_number": schema.run_number,
        "hepdl_entry": "hepdl_entry",
    }
    single = _single(taggers)
    accounting = Accounting()
    columns: dict[str, list[npt.NDArray[Any]]] = {}
    for chunk in iterate(files, schema, accounting=accounting, with_entry=True):
        for name, own in identity.items():
            if own is not None:
                columns.setdefault(name, []).append(np.asarray(chunk[own]))
        scores = {name: model.predict(chunk) for name, model in single.items()}
        for name, tagger in taggers.items():
            if isinstance(tagger, MappedTagger):
                scores[name] = tagger.apply(scores, chunk)
            columns.setdefault(f"score_{name}", []).append(scores[name])
    return {name: np.concatenate(values) for name, values in columns.items()}, accounting


def _single(taggers: dict[str, Tagger | MappedTagger]) -> dict[str, Member]:
    """Return every model that computes: those wanted and members of maps, each once."""
    found: dict[str, Member] = {}
    for tagger in taggers.values():
        members = tagger.members if isinstance(tagger, MappedTagger) else (tagger,)
        for member in members:
            found.setdefault(member.name, member)
    return found


def _aligned(table: dict[str, npt.NDArray[Any]], n_entries: int) -> dict[str, npt.NDArray[Any]]:
    """Return one row per entry of the input."""
    entry = table["hepdl_entry"]
    selected = np.zeros(n_entries, dtype=bool)
    selected[entry] = True
    aligned: dict[str, npt.NDArray[Any]] = {"hepdl_selected": selected}
    for name, values in table.items():
        fill = FILL if name.startswith("score_") else -1
        column = np.full(n_entries, fill, dtype=values.dtype)
        column[entry] = values
        aligned[name] = column
    return aligned
