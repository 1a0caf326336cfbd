from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from hepdl.errors import ConfigError, EnvironmentFailure
from hepdl.track import Recorder, recorder, resolve_uri
from hepdl.track.lines import fold, read


def test_without_a_store_every_word_is_in_the_lines_and_mlflow_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "send", lambda *_: pytest.fail("nothing is to be sent"))
    record = Recorder(tmp_path, analysis="a", uri="none")
    record.params({"train": {"epochs": 3, "seeds": [0]}, "empty": {}})
    record.metrics({"loss": 0.5}, 2, model="mlp")
    record.tags({"git_commit": "abc"})
    (tmp_path / "figures").mkdir()
    record.artifact(tmp_path / "figures")
    record.model(tmp_path / "models" / "mlp", name="mlp", inputs={"jet_pt": "float"})
    assert record.finish() is None
    content = fold(read(tmp_path))
    assert content.params == {
        (None, "train.epochs"): 3,
        (None, "train.seeds"): [0],
        (None, "empty"): {},
    }
    assert content.metrics["mlp", "loss", 2][0] == 0.5
    assert content.tags == {(None, "git_commit"): "abc"}
    assert list(content.artifacts) == [(None, "figures")]
    assert content.models["mlp"]["path"] == "models/mlp"
    assert content.status == "FINISHED"


def test_an_artefact_outside_the_output_folder_is_refused(tmp_path: Path) -> None:
    record = Recorder(tmp_path / "run", analysis="a", uri="none")
    with pytest.raises(ConfigError, match=r"elsewhere\.png lies outside the output folder"):
        record.artifact(tmp_path / "elsewhere.png")


def test_a_store_that_is_away_costs_a_warning_and_gives_the_command_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = []

    def away(folder: Path, uri: str) -> None:
        attempts.append(uri)
        message = f"cannot open the tracking store {uri}: refused"
        raise EnvironmentFailure(message)

    monkeypatch.setattr(recorder, "send", away)
    monkeypatch.setattr(recorder, "FIRST_SEND", 0.0)
    record = Recorder(tmp_path, analysis="a", uri="http://127.0.0.1:9")
    for epoch in range(5):
        time.sleep(0.001)
        record.metrics({"loss": 0.5}, epoch)
    assert attempts == ["http://127.0.0.1:9"]  # once live, and then not again before the end
    command = record.finish()
    assert command == f"hepdl track sync {tmp_path} --tracking-uri http://127.0.0.1:9"
    assert len(attempts) == 2
    assert "the run goes on, its record stays in" in caplog.text
    assert len(fold(read(tmp_path)).metrics) == 5


def test_sending_takes_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    spent = []

    def slow(folder: Path, uri: str) -> None:
        spent.append(2.0)
        now[0] += 2.0

    monkeypatch.setattr(recorder, "send", slow)
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now[0])
    record = Recorder(tmp_path, analysis="a", uri="http://127.0.0.1:9")
    for epoch in range(1000):
        now[0] += 1.0
        record.metrics({"loss": 0.5}, epoch)
        assert sum(spent) <= recorder.SHARE * now[0]
    # Nearly the whole share is used, so that a long run is seen to move.
    assert sum(spent) > 0.8 * recorder.SHARE * now[0]


def test_the_uri_is_the_argument_then_the_environment_then_the_store_beside_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://env:5000")
    assert resolve_uri("http://argument:5000") == "http://argument:5000"
    assert resolve_uri() == "http://env:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resolve_uri(root=tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)
    assert resolve_uri() == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert resolve_uri("none") is None


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns"])
def test_a_plain_folder_is_refused_before_the_run_starts(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"is a folder.*give sqlite:///PATH\.db"):
        Recorder(tmp_path, analysis="a", uri=uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert resolve_uri(uri) == uri


def test_importing_the_recorder_leaves_mlflow_alone() -> None:
    import subprocess

    code = "import hepdl.track, sys; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
