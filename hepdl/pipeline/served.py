"""A trained model behind MLflow's ``pyfunc`` interface: a pandas table in, scores out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.events import Inputs
from hepdl.pipeline.tagger import Tagger, load_model
from hepdl.schema import Schema

__all__ = ["ServedModel", "input_columns"]


class ServedModel:
    """What ``mlflow.pyfunc.load_model`` hands out.

    Args:
        tagger: The trained model.
    """

    def __init__(self, tagger: Tagger) -> None:
        self.tagger = tagger

    def predict(
        self, table: Any, params: Mapping[str, Any] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the score of each row.

        Args:
            table: A pandas table, one row an entry, with the columns of ``input_columns``; those
                of a collection hold a list in each row.
            params: Not used; MLflow passes it.
        """
        return self.tagger.predict(_as_records(table))


def input_columns(inputs: Inputs, schema: Schema) -> dict[str, str]:
    """Return the columns that a model needs: ``float``, or ``array`` for those of a collection.

    Energies are in GeV, angles in rad, whatever the files of the training had.
    """
    columns = dict.fromkeys(inputs.features, "float")
    if inputs.trees is not None:
        name = inputs.trees.collection
        fields = schema.collections[name].four_vector or ()
        columns |= {f"{name}.{field}": "array" for field in fields}
    return columns


def _load_pyfunc(path: str) -> ServedModel:
    """Load an MLflow model; MLflow finds this function by its name.

    Args:
        path: A folder laid out like the output folder of a run, with one model in it.
    """
    (folder,) = (Path(path) / "models").iterdir()
    return ServedModel(load_model(path, folder.name))


def _as_records(table: Any) -> ak.Array:
    """Return a pandas table as records with one level of collections."""
    flat: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for column in map(str, table.columns):
        collection, _, field = column.rpartition(".")
        if collection:
            nested.setdefault(collection, {})[field] = ak.Array(
                [list(row) for row in table[column]]
            )
        else:
            flat[column] = table[column].to_numpy()
    collections = {name: ak.zip(fields) for name, fields in nested.items()}
    return ak.zip({**flat, **collections}, depth_limit=1)
