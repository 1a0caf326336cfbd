"""A saved model as an MLflow model with a signature, loadable with ``mlflow.pyfunc``.

No pickle and no traced graph: the MLflow model holds a copy of the model's own files, and MLflow
is told to let this module read them. Whoever loads it needs hepdl installed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ServedModel", "log_model"]


def log_model(client: Any, experiment: str, record: str, folder: Path, line: dict[str, Any]) -> str:
    """Give the record in MLflow its model; return MLflow's identifier of the model.

    Args:
        client: An ``MlflowClient``.
        experiment: Identifier of the experiment.
        record: Identifier of the model's record.
        folder: Output folder of the run.
        line: The ``model`` line of ``record.jsonl``.
    """
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    model = _entry(client, experiment, record, line["model"])
    described = Model(
        artifact_path=model.artifact_location,
        model_uuid=model.model_id,
        run_id=record,
        model_id=model.model_id,
    )
    with tempfile.TemporaryDirectory() as scratch:
        mlflow.pyfunc.save_model(
            f"{scratch}/model",
            loader_module=__name__,
            data_path=str(_copy(folder / line["path"], Path(scratch) / "run", line["model"])),
            mlflow_model=described,
            signature=_signature(line["inputs"], line["output"]),
            pip_requirements=["hepdl"],
        )
        client.log_model_artifacts(model.model_id, f"{scratch}/model")
    client.log_outputs(record, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


class ServedModel:
    """What ``mlflow.pyfunc.load_model`` hands out.

    Args:
        model: A model as ``hepdl.load_model`` gives it.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, table: Any, params: Mapping[str, Any] | None = None) -> npt.NDArray[Any]:
        """Return the score of each row.

        Args:
            table: A pandas table, one row an entry; columns are the flat features and
                ``collection.field`` for jagged ones, which hold a list in each row.
            params: Not used; MLflow passes it.
        """
        return np.asarray(self.model.predict(_as_records(table)))


def _load_pyfunc(path: str) -> ServedModel:
    """Load what ``_copy`` laid out; MLflow finds this function by its name."""
    import hepdl

    (folder,) = (Path(path) / "models").iterdir()
    return ServedModel(hepdl.load_model(path, folder.name))


def _copy(source: Path, run: Path, name: str) -> Path:
    """Lay out the files of one model, without its other seeds, as in an output folder."""
    target = run / "models" / name
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file():
            shutil.copyfile(path, target / path.name)
    return run


def _as_records(table: Any) -> Any:
    """Return a pandas table as an awkward array of records with nested collections."""
    import awkward as ak

    flat: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name in table.columns:
        collection, _, field = str(name).rpartition(".")
        values = table[name]
        if collection:
            rows = ak.from_iter((list(row) for row in values), highlevel=True)
            nested.setdefault(collection, {})[field] = rows
        else:
            flat[str(name)] = values.to_numpy()
    zipped = {name: ak.zip(fields) for name, fields in nested.items()}
    return ak.zip({**flat, **zipped}, depth_limit=1)


def _entry(client: Any, experiment: str, record: str, name: str) -> Any:
    """Return MLflow's entry for the model: the one of an earlier visit, else a new one."""
    query = f"source_run_id = '{record}' AND name = '{name}'"
    found = client.search_logged_models([experiment], query)
    return found[0] if found else client.create_logged_model(experiment, name, source_run_id=record)


def _signature(inputs: Mapping[str, str], output: str) -> Any:
    """Return the signature: input columns (``float`` or ``array`` of it) → one score."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    kinds: dict[str, Any] = {"float": DataType.float, "array": Array(DataType.float)}
    columns: list[Any] = [ColSpec(kinds[kind], name) for name, kind in inputs.items()]
    return ModelSignature(Schema(columns), Schema([ColSpec(DataType.float, output)]))
