"""Against a real MLflow store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hepdl.errors import ConfigError, DataError, EnvironmentFailure
from hepdl.track import Recorder, flatten, send, sync, table
from hepdl.track.lines import FILE_NAME, append
from hepdl.track.store import connect

ENTRY = {
    "auc": {"value": 0.9, "low": 0.88, "high": 0.92},
    "background_rejection": {"0.5": {"value": 20.0, "low": 18.0, "high": 22.0}},
    "n_parameters": 12,
    "selection": "all",
}


def _a_run(folder: Path, *, epochs: int = 3, finish: bool = True) -> Recorder:
    """Write a record of two models without sending it."""
    record = Recorder(folder, analysis="w_tagging", uri="none")
    record.params({"train": {"epochs": epochs}, "long": "x" * 700})
    record.tags({"git_commit": "abc"})
    for model in ("recnn", "boosted_trees"):
        for epoch in range(epochs):
            record.metrics({"train_loss": 1.0 / (1 + epoch)}, epoch, model=model)
        record.metrics(flatten(ENTRY), epochs, model=model)
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "roc.png").write_bytes(b"png")
    (folder / "report.html").write_text("<html/>")
    record.artifact(folder / "figures")
    record.artifact(folder / "report.html")
    saved = folder / "models" / "recnn"
    (saved / "seeds" / "0").mkdir(parents=True, exist_ok=True)
    (saved / "seeds" / "0" / "parameters.npy").write_bytes(b"other")
    (saved / "parameters.npy").write_bytes(b"mine")
    inputs = {"jet_pt": "float", "constituents.pt": "array"}
    record.model(saved, name="recnn", inputs=inputs, loader="a_loader_of_models")
    if finish:
        record.finish()
    return record


def _records(uri: str) -> dict[str | None, Any]:
    """Return the runs of MLflow by model; the parent under None. Fails on a duplicate."""
    client = connect(uri)
    experiment = client.get_experiment_by_name("w_tagging")
    found: dict[str | None, Any] = {}
    for run in client.search_runs([experiment.experiment_id]):
        model = run.data.tags.get("hepdl.model")
        assert model not in found, f"two records for {model}"
        found[model] = run
    return found


def _points(uri: str, record: str, key: str) -> list[tuple[int, float]]:
    return sorted((p.step, p.value) for p in connect(uri).get_metric_history(record, key))


def test_a_run_becomes_one_parent_and_one_nested_record_a_model(
    tmp_path: Path, mlflow_store: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "one"
    _a_run(folder)
    first = send(folder, mlflow_store)
    records = _records(mlflow_store)
    parent, recnn = records[None], records["recnn"]
    assert set(records) == {None, "recnn", "boosted_trees"}
    assert first.record == parent.info.run_id
    assert recnn.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (parent.info.run_name, parent.info.status) == ("one", "FINISHED")
    assert parent.data.params["train.epochs"] == "3"
    assert len(parent.data.params["long"]) == 500
    assert parent.data.params["long"].endswith("(700 characters, see config.yaml)")
    assert parent.data.tags["git_commit"] == "abc"
    assert _points(mlflow_store, recnn.info.run_id, "train_loss") == [(0, 1), (1, 0.5), (2, 1 / 3)]
    assert recnn.data.metrics["background_rejection_0.5_low"] == 18.0

    client = connect(mlflow_store)
    paths = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert paths == {"figures", "report.html"}
    assert (tmp_path / "store" / "mlruns" / "w_tagging").is_dir()  # beside the store
    assert not Path("mlruns").exists()

    again = send(folder, mlflow_store)
    assert (again.record, again.n_lines) == (first.record, 0)
    assert str(first).startswith(f"{first.n_lines} lines sent to sqlite:///")
    assert str(again).startswith("nothing new for sqlite:///")
    assert set(_records(mlflow_store)) == set(records)
    out, err = capfd.readouterr()
    assert (out, err) == ("", ""), "MLflow's chatter"


def test_the_model_of_a_record_loads_as_an_mlflow_model_with_its_signature(
    tmp_path: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "one"
    _a_run(folder)
    send(folder, mlflow_store)

    # MLflow warns about itself while it is imported; `send` has kept that from us by now.
    import mlflow.pyfunc

    client = connect(mlflow_store)
    (model,) = client.search_logged_models(
        [client.get_experiment_by_name("w_tagging").experiment_id]
    )
    assert (model.name, model.status.value) == ("recnn", "READY")

    class Loaded:
        def __init__(self, path: str) -> None:
            self.files = sorted(p.name for p in (Path(path) / "models" / "recnn").iterdir())

        def predict(self, rows: pd.DataFrame) -> Any:
            return rows["jet_pt"] / 1000 + rows["constituents.pt"].map(np.sum)

    loader = types.ModuleType("a_loader_of_models")
    loader._load_pyfunc = Loaded  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, loader.__name__, loader)
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: mlflow_store)
    loaded = mlflow.pyfunc.load_model(model.artifact_location)
    assert loaded._model_impl.files == ["parameters.npy"]  # and not those of the other seeds
    assert loaded.metadata.signature.inputs.input_names() == ["jet_pt", "constituents.pt"]
    columns = {
        "jet_pt": np.array([250.0, 300.0], dtype=np.float32),
        "constituents.pt": [np.array([1.0, 2.0], np.float32), np.array([], np.float32)],
    }
    np.testing.assert_allclose(loaded.predict(pd.DataFrame(columns)), [3.25, 0.3], rtol=1e-6)


def test_a_run_sent_as_it_grows_equals_a_run_sent_at_its_end(
    tmp_path: Path, mlflow_store: str
) -> None:
    grown = _a_run(tmp_path / "one", finish=False)
    send(tmp_path / "one", mlflow_store)
    assert _records(mlflow_store)[None].info.status == "RUNNING"
    grown.metrics({"train_loss": 0.25}, 3, model="recnn")
    assert send(tmp_path / "one", mlflow_store).n_lines == 1
    grown.finish("stopped")
    (tmp_path / "one" / "report.html").unlink()
    resumed = Recorder(tmp_path / "one", analysis="w_tagging", uri=mlflow_store)
    resumed.metrics({"train_loss": 0.25}, 3, model="recnn")  # the same epoch once more
    resumed.metrics({"train_loss": 0.2}, 4, model="recnn")
    assert resumed.finish() is None
    records = _records(mlflow_store)
    assert records[None].info.status == "FINISHED"
    expected = [(0, 1.0), (1, 0.5), (2, 1 / 3), (3, 0.25), (4, 0.2)]
    assert _points(mlflow_store, records["recnn"].info.run_id, "train_loss") == expected


def test_an_epoch_that_came_out_differently_after_a_resume_replaces_what_was_sent(
    tmp_path: Path, mlflow_store: str
) -> None:
    folder = tmp_path / "one"
    _a_run(folder)
    send(folder, mlflow_store)
    values = {"train_loss": 0.4}
    append(folder, {"what": "metrics", "model": "recnn", "step": 2, "values": values})
    send(folder, mlflow_store)
    records = _records(mlflow_store)
    expected = [(0, 1.0), (1, 0.5), (2, 0.4)]
    assert _points(mlflow_store, records["recnn"].info.run_id, "train_loss") == expected
    client = connect(mlflow_store)
    experiment = client.get_experiment_by_name("w_tagging").experiment_id
    assert len(client.search_logged_models([experiment])) == 1


def test_sending_that_broke_half_way_leaves_no_duplicates(
    tmp_path: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hepdl.track import send as module

    folder = tmp_path / "one"
    _a_run(folder)

    def broken(*arguments: object) -> None:
        message = "connection lost"
        raise ConnectionError(message)

    sender = sys.modules["hepdl.track.send"]
    assert module is send
    with monkeypatch.context() as patch:
        patch.setattr(sender, "log_model", broken)
        with pytest.raises(EnvironmentFailure, match=r"refused the record of .*connection lost"):
            send(folder, mlflow_store)
    send(folder, mlflow_store)
    records = _records(mlflow_store)
    assert len(_points(mlflow_store, records["recnn"].info.run_id, "train_loss")) == 3


def test_sync_names_a_folder_that_is_no_run_before_it_sends_any(
    tmp_path: Path, mlflow_store: str
) -> None:
    _a_run(tmp_path / "one")
    (tmp_path / "two").mkdir()
    with pytest.raises(DataError, match=r"two holds no record\.jsonl"):
        sync([tmp_path / "one", tmp_path / "two"])
    assert not (tmp_path / "store").exists()
    (sent,) = sync([tmp_path / "one"])
    assert sent.uri == mlflow_store


def test_a_server_that_is_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    _a_run(tmp_path / "one")
    uri = "http://127.0.0.1:9"  # the discard port: nobody listens
    with pytest.raises(EnvironmentFailure, match=r"tracking store http://127\.0\.0\.1:9"):
        send(tmp_path / "one", uri)


def test_a_damaged_store_is_named_and_left_alone(tmp_path: Path) -> None:
    _a_run(tmp_path / "one")
    (tmp_path / "mlflow.db").write_text("not a database, and longer than a header of one\n" * 99)
    before = (tmp_path / "mlflow.db").read_bytes()
    with pytest.raises(EnvironmentFailure, match=r"tracking store sqlite:///.*mlflow\.db"):
        send(tmp_path / "one", f"sqlite:///{tmp_path}/mlflow.db")
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_the_table_from_the_store_equals_the_table_from_the_folders(
    tmp_path: Path, mlflow_store: str
) -> None:
    for name in ("one", "two"):
        _a_run(tmp_path / name)
        models = {"recnn": ENTRY, "boosted_trees": ENTRY}
        results = {"format_version": 1, "analysis": "w_tagging", "models": models}
        (tmp_path / name / "metrics.json").write_text(json.dumps(results))
        send(tmp_path / name, mlflow_store)

    def kept(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        keys = ["analysis", "run", "model", "started", "status", *flatten(ENTRY)]
        return sorted(tuple(row[key] for key in keys) for row in rows)

    from_folders = table([tmp_path / "one", tmp_path / "two"], uri="none")
    assert len(from_folders) == 4
    assert kept(table()) == kept(from_folders)
    assert kept(table(["two"])) == kept(table([tmp_path / "two"]))
    assert kept(table(experiment="w_tagging")) == kept(from_folders)
    with pytest.raises(ConfigError, match=r"unknown run 'tow'.*did you mean 'two'"):
        table(["tow"])
    with pytest.raises(ConfigError, match=r"unknown analysis 'w_taging'.*did you mean 'w_tagging'"):
        table(experiment="w_taging")


def test_a_table_without_a_store_says_where_one_would_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no tracking store at .*nothing\.db yet"):
        table(uri=f"sqlite:///{tmp_path}/nothing.db")


def test_an_unfinished_run_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = {"format_version": 1, "analysis": "w_tagging", "models": {"recnn": ENTRY}}
    for name in ("one", "two"):
        _a_run(tmp_path / name)
    (tmp_path / "one" / "metrics.json").write_text(json.dumps(results))
    rows = table([tmp_path / "one", tmp_path / "two"], uri="none")
    assert [row["run"] for row in rows] == ["one"]
    assert "two has no metrics.json yet and is left out" in caplog.text
    assert table([tmp_path / "two"], uri="none") == []


def test_damaged_results_are_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"models": {')
    with pytest.raises(DataError, match=r"metrics\.json cannot be read as the results"):
        table([tmp_path])


@pytest.mark.parametrize(
    "cache",
    [
        pytest.param("shared", id="template_in_the_cache"),
        # These two wait for MLflow's migrations once more.
        pytest.param("empty", id="no_template_yet", marks=pytest.mark.slow),
        pytest.param("/dev/null", id="no_cache", marks=pytest.mark.slow),
    ],
)
def test_four_processes_may_begin_on_a_fresh_store_at_once(
    cache: str, tmp_path: Path, user_cache: Path, mlflow_store: str
) -> None:
    """Without the lock and the template nearly all of them die in MLflow's migrations."""
    code = (
        "import sys; from pathlib import Path; from hepdl.track import Recorder\n"
        "record = Recorder(Path(sys.argv[1]), analysis='w_tagging')\n"
        "record.metrics({'auc': 0.5}, model='mlp')\n"
        "sys.exit(record.finish())"
    )
    place = user_cache if cache == "shared" else tmp_path / cache
    environment = {**os.environ, "XDG_CACHE_HOME": str(place)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / str(number))],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    ends = [(process.communicate(timeout=240)[1], process.returncode) for process in started]
    assert ends == [("", 0)] * 4
    assert sorted(row["run"] for row in table()) == ["0", "1", "2", "3"]
    assert len((tmp_path / "0" / FILE_NAME).read_text().splitlines()) == 3


def test_a_combination_brings_its_members_and_is_left_out_without_them(
    tmp_path: Path, mlflow_store: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "combined"
    record = _a_run(folder, finish=False)
    models = folder / "models"
    (models / "stack").mkdir()
    (models / "stack" / "model.json").write_text("{}")
    members = [models / "recnn", models / "gone"]
    inputs = {"jet_pt": "float"}
    for name, chosen in (("whole", members[:1]), ("torn", members)):
        record.model(
            models / "stack", name=name, inputs=inputs, loader="a_loader_of_models", members=chosen
        )
    record.finish()
    sent = send(folder, mlflow_store)
    client = connect(mlflow_store)
    experiment = client.get_run(sent.record).info.experiment_id
    found = {m.name: m for m in client.search_logged_models([experiment])}
    assert set(found) == {"recnn", "whole"}
    assert f"{models / 'gone'} is gone, so the model torn is missing" in caplog.text
    files = Path(found["whole"].artifact_location.removeprefix("file://")).rglob("*.npy")
    assert [path.parent.name for path in files] == ["recnn"]  # without its other seeds
