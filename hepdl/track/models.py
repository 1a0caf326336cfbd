"""A saved model as an MLflow model with a signature, loadable with ``mlflow.pyfunc``.

No pickle and no traced graph: the MLflow model holds a copy of the model's own files, and the name
of the module of hepdl that reads them. Whoever loads it needs hepdl installed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["log_model"]


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
            loader_module=line["loader"],
            data_path=str(_copy(folder, line, Path(scratch) / "run")),
            mlflow_model=described,
            signature=_signature(line["inputs"], line["output"]),
            pip_requirements=["hepdl"],
        )
        client.log_model_artifacts(model.model_id, f"{scratch}/model")
    client.log_outputs(record, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _copy(folder: Path, line: Mapping[str, Any], run: Path) -> Path:
    """Lay out the files of one model and its members, without other seeds, as in an output folder."""
    places = {line["model"]: line["path"]}
    places |= {Path(member).name: member for member in line.get("members", ())}
    for name, path in places.items():
        target = run / "models" / name
        shutil.copytree(folder / path, target, ignore=shutil.ignore_patterns("seeds"))
    return run


def _entry(client: Any, experiment: str, record: str, name: str) -> Any:
    """Return MLflow's entry for the model: the one of an earlier visit, else a new one."""
    query = f"source_run_id = '{record}' AND name = '{name}'"
    found = client.search_logged_models([experiment], query)
    return found[0] if found else client.create_logged_model(experiment, name, source_run_id=record)


def _signature(inputs: Mapping[str, str], output: str) -> Any:
    """Return the signature: input columns (``float``, ``array`` of it, or ``long``) → one score."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    kinds: dict[str, Any] = {
        "float": DataType.float,
        "array": Array(DataType.float),
        "long": DataType.long,
    }
    columns: list[Any] = [ColSpec(kinds[kind], name) for name, kind in inputs.items()]
    return ModelSignature(Schema(columns), Schema([ColSpec(DataType.float, output)]))
