"""A trained model behind MLflow's ``pyfunc`` interface: a pandas table in, scores out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.pipeline.mapped import MappedTagger
from hepdl.pipeline.saved import is_map, load_card
from hepdl.pipeline.tagger import Tagger, load_model
from hepdl.schema import Schema

__all__ = ["ServedModel"]


class ServedModel:
    """What ``mlflow.pyfunc.load_model`` hands out.

    Args:
        tagger: The trained model, or a map of the scores of some.
    """

    def __init__(self, tagger: Tagger | MappedTagger) -> None:
        self.tagger = tagger

    def predict(
        self, table: Any, params: Mapping[str, Any] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the score of each row.

        Args:
            table: A pandas table, one row an entry, with the columns of the model's signature:
                flat features, and ``collection.field`` with a list in each row; in GeV and rad.
            params: Not used; MLflow passes it.

        Raises:
            DataError: The model has folds, and the table no event numbers.
        """
        if self.tagger.folds:
            _check_event_number(table, self.tagger)
        return self.tagger.predict(_as_records(table, self.tagger.schema))


def _load_pyfunc(path: str) -> ServedModel:
    """Load an MLflow model; MLflow finds this function by its name.

    Args:
        path: A folder laid out like the output folder of a run, with one model in it, or with one
            map of scores and its members.
    """
    folders = sorted((Path(path) / "models").iterdir())
    maps = [folder for folder in folders if is_map(load_card(folder))]
    (folder,) = maps or folders
    return ServedModel(load_model(path, folder.name))


def _check_event_number(table: Any, tagger: Tagger | MappedTagger) -> None:
    """Folds go by the event number: one that is made up would pick a model that saw the event."""
    name = tagger.schema.event_number
    if name not in table.columns:
        message = (
            f"model {tagger.name} has {len(tagger.folds)} folds and picks one by the event number: "
            f"the table needs the column {name!r}, it has {', '.join(map(str, table.columns))}"
        )
        raise DataError(message)
    if table[name].dtype.kind not in "iu":
        message = (
            f"column {name!r} is {table[name].dtype}: event numbers must be whole numbers (int64), "
            "floating point would lose their last digits"
        )
        raise DataError(message)


def _as_records(table: Any, schema: Schema) -> ak.Array:
    """Return a pandas table as records of the schema.

    Fields that are no columns play no part in the prediction; they are filled with what any
    schema accepts.
    """
    flat: dict[str, Any] = {name: np.zeros(len(table)) for name in schema.flat_fields}
    if schema.label is not None:
        classes = schema.branches[schema.label].classes or {"background": 0}
        flat[schema.label] += next(iter(classes.values()))
    nested: dict[str, dict[str, Any]] = {name: {} for name in schema.collections}
    for column in map(str, table.columns):
        collection, _, field = column.rpartition(".")
        if collection:
            nested[collection][field] = _jagged(table[column])
        else:
            flat[column] = table[column].to_numpy()
    nothing = _jagged([()] * len(table))
    collections = {
        name: ak.zip(fields or dict.fromkeys(schema.collections[name].branches, nothing))
        for name, fields in nested.items()
    }
    return ak.zip({**flat, **collections}, depth_limit=1)


def _jagged(rows: Iterable[Sequence[float]]) -> ak.Array:
    """Return lists of numbers as one array; awkward alone cannot tell the type of empty lists."""
    lists = [np.asarray(row, dtype=np.float64) for row in rows]
    values = np.concatenate([np.zeros(0), *lists])
    return ak.unflatten(values, [len(row) for row in lists])
