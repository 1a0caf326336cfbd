"""A run that was recorded in its own folder, brought to MLflow, and its models taken from there."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pandas as pd

import hepdl
from hepdl.pipeline.run import Run
from hepdl.track import sync, table
from hepdl.track.store import connect


def _as_pandas(jets: ak.Array, columns: list[str]) -> pd.DataFrame:
    found = {}
    for column in columns:
        collection, _, field = column.rpartition(".")
        if collection:
            found[column] = [np.asarray(row, dtype=np.float32) for row in jets[collection][field]]
        else:
            found[column] = np.asarray(jets[column], dtype=np.float32)
    return pd.DataFrame(found)


def test_a_model_from_mlflow_scores_like_the_model_of_the_run(
    small_run: Run, small_data: Path, w_jets_schema: Path, mlflow_store: str
) -> None:
    (sent,) = sync([small_run.folder])

    # MLflow warns about itself while it is imported; `sync` has kept that from us by now.
    import mlflow.pyfunc

    client = connect(mlflow_store)
    run = client.get_run(sent.record)
    assert run.info.status == "FINISHED"
    assert run.data.tags["data_fingerprint"]
    assert run.data.params["train.epochs"] == "2"
    artefacts = {item.path for item in client.list_artifacts(sent.record)}
    pages = {"report.html", "metrics.json", "config.yaml", "environment.json"}
    assert {"figures", *pages} <= artefacts

    files = str(small_data / "simulated" / "w-*" / "*.root")
    jets = hepdl.read(files, hepdl.load_schema(w_jets_schema))[:30]
    models = client.search_logged_models([run.info.experiment_id])
    assert {model.name for model in models} == set(small_run.metrics["models"])
    for model in models:
        served = mlflow.pyfunc.load_model(model.artifact_location)
        columns = served.metadata.signature.inputs.input_names()
        expected = small_run.load_model(model.name).predict(jets)
        np.testing.assert_array_equal(served.predict(_as_pandas(jets, columns)), expected)

    for record in client.search_runs([run.info.experiment_id], "tags.`hepdl.model` != ''"):
        # `recnn` and `boosted_trees` are also the names of their parts.
        assert record.data.params["model"] == record.info.run_name
        assert record.data.params["seed"] == "0"
    for row in table():
        number = small_run.metrics["models"][row["model"]]["auc"]
        assert (row["auc"], row["auc_low"], row["auc_high"]) == (
            number["value"],
            number["low"],
            number["high"],
        )
