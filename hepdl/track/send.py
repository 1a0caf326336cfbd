"""From ``record.jsonl`` to MLflow: one parent record for the run, a nested one for each model.

Sending is idempotent: the records in MLflow carry the identity of the run and the number of lines
sent, points keep the time of their line, and whatever a broken connection left half done is found
again. So a run can send as it goes, and ``hepdl track sync`` can do it again later.
"""

from __future__ import annotations

import fcntl
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hepdl.errors import EnvironmentFailure, HepdlError
from hepdl.track.lines import FILE_NAME, Content, Line, Owner, fold, read
from hepdl.track.models import log_model
from hepdl.track.store import artifact_location, connect, quiet, resolve_uri

__all__ = ["Sent", "send", "sync"]

log = logging.getLogger(__name__)

RECORD_TAG = "hepdl.record_id"
MODEL_TAG = "hepdl.model"
LINES_TAG = "hepdl.lines_sent"
FOLDER_TAG = "hepdl.folder"

# MLflow's limits for one call of log_batch; parameters share theirs with tags.
METRICS_A_CALL, PARAMS_A_CALL, KEY_LENGTH, TAG_LENGTH = 1000, 100, 250, 5000
PARAM_LENGTH = 500  # what a table can show; the whole value stands in config.yaml


@dataclass(frozen=True)
class Sent:
    """What one call of ``send`` did.

    Attributes:
        folder: The output folder of the run.
        uri: Where its record went.
        record: MLflow's identifier of the parent record.
        n_lines: Lines of ``record.jsonl`` that were new to the store.
    """

    folder: Path
    uri: str
    record: str
    n_lines: int

    def __str__(self) -> str:
        if self.n_lines == 0:
            return f"nothing new for {self.uri}, record {self.record}"
        return f"{self.n_lines} lines sent to {self.uri}, record {self.record}"


def send(folder: Path, uri: str) -> Sent:
    """Bring everything new in the record of ``folder`` to the MLflow store at ``uri``.

    Raises:
        DataError: ``folder`` holds no readable record.
        EnvironmentFailure: The store cannot be reached or refuses the record.
    """
    read(folder)  # say so before anything is opened or created
    try:
        with _alone(folder / FILE_NAME), quiet():
            return _Sender(folder, uri).send(read(folder))
    except HepdlError:
        raise
    except Exception as error:
        message = f"the tracking store {uri} refused the record of {folder}: {error}"
        raise EnvironmentFailure(message) from error


def sync(runs: Sequence[Path], uri: str | None = None) -> list[Sent]:
    """Send the records of finished or running runs; what the store already has is not sent again.

    Args:
        runs: Output folders.
        uri: The store; by default as ``hepdl run`` chooses it.
    """
    target = resolve_uri(uri)
    for folder in runs:
        read(folder)  # all folders are looked at before the first one is sent
    return [send(folder, target) for folder in runs] if target is not None else []


class _Sender:
    """One visit of one record to one store."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder = folder
        self.uri = uri
        self.client = connect(uri)
        self.experiment = ""
        self.records: dict[Owner, str] = {}

    def send(self, lines: Sequence[Line]) -> Sent:
        """Send what the store does not have yet."""
        head, content = lines[0], fold(lines)
        self.experiment = self._experiment(str(head["analysis"]))
        n_sent = self._find(head)
        before = fold(lines[:n_sent])
        if n_sent > len(lines) or _contradicts(before, content):
            self._forget()
            n_sent, before = 0, Content()
        if n_sent < len(lines):
            self._create(None, head)
            for owner in _owners(content):
                self._create(owner, head)
                self._values(owner, before, content)
            self._files(fold(lines[n_sent:]))
            self._status(content)
            self.client.set_tag(self.records[None], LINES_TAG, str(len(lines)))
        return Sent(self.folder, self.uri, self.records[None], len(lines) - n_sent)

    def _experiment(self, name: str) -> str:
        """Return the experiment of the analysis; create or restore it where needed."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                location = artifact_location(self.uri, name)
                return str(self.client.create_experiment(name, artifact_location=location))
            except MlflowException:  # another process was faster
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _find(self, head: Line) -> int:
        """Look up the records of this run; return how many lines the store has seen."""
        query = f"tags.`{RECORD_TAG}` = '{head['id']}'"
        n_sent = 0
        # The oldest first: should two hosts ever have sent one run at once, the first one counts.
        for run in self.client.search_runs(
            [self.experiment], query, order_by=["attributes.start_time ASC"]
        ):
            owner = run.data.tags.get(MODEL_TAG)
            if owner not in self.records:
                self.records[owner] = run.info.run_id
                n_sent = int(run.data.tags.get(LINES_TAG, 0)) if owner is None else n_sent
        return n_sent if None in self.records else 0

    def _forget(self) -> None:
        """Delete what the store has of this run: MLflow cannot change a value that it holds."""
        log.info("%s was rewritten after it had been sent; sending it afresh", self.folder)
        for record in self.records.values():
            query = f"source_run_id = '{record}'"
            for model in self.client.search_logged_models([self.experiment], query):
                self.client.delete_logged_model(model.model_id)
            self.client.delete_run(record)
        self.records = {}

    def _create(self, owner: Owner, head: Line) -> None:
        """Create the record of the run, or of one model below it, unless it is there."""
        if owner in self.records:
            return
        tags = {RECORD_TAG: head["id"], FOLDER_TAG: str(self.folder.resolve())}
        if owner is not None:
            tags |= {MODEL_TAG: owner, "mlflow.parentRunId": self.records[None]}
        run = self.client.create_run(
            self.experiment,
            start_time=_milliseconds(head["time"]),
            tags=tags,
            run_name=owner if owner is not None else head["name"],
        )
        self.records[owner] = run.info.run_id

    def _values(self, owner: Owner, before: Content, now: Content) -> None:
        """Send the parameters, tags and points of one record that were not there before."""
        from mlflow.entities import Metric, Param, RunTag

        def new(old: Mapping[Any, Any], all_: Mapping[Any, Any]) -> dict[Any, Any]:
            return {k: v for k, v in all_.items() if k[0] == owner and k not in old}

        metrics = [
            Metric(_key(name), value, _milliseconds(at), step)
            for (_, name, step), (value, at) in new(before.metrics, now.metrics).items()
        ]
        params = [Param(_key(k), _shown(v)) for (_, k), v in new(before.params, now.params).items()]
        tags = [
            RunTag(_key(k), str(v)[:TAG_LENGTH]) for (o, k), v in now.tags.items() if o == owner
        ]
        record = self.records[owner]
        for chunk in _chunks(metrics, METRICS_A_CALL):
            self.client.log_batch(record, metrics=chunk)
        for chunk in _chunks(params, PARAMS_A_CALL):
            self.client.log_batch(record, params=chunk)
        for chunk in _chunks(tags, PARAMS_A_CALL):
            self.client.log_batch(record, tags=chunk)

    def _files(self, new: Content) -> None:
        """Send artefacts and models; one that is gone by now is named, and the rest goes on."""
        for owner, path in new.artifacts:
            source = self.folder / path
            if source.is_dir():
                self.client.log_artifacts(self.records[owner], str(source), path)
            elif source.is_file():
                parent = Path(path).parent.as_posix()
                self.client.log_artifact(
                    self.records[owner], str(source), None if parent == "." else parent
                )
            else:
                log.warning("%s is gone, so it is missing in the tracking store", source)
        for owner, line in new.models.items():
            places = [self.folder / path for path in (line["path"], *line.get("members", ()))]
            gone = [place for place in places if not place.is_dir()]
            if not gone:
                log_model(self.client, self.experiment, self.records[owner], self.folder, line)
            for place in gone:
                log.warning(
                    "%s is gone, so the model %s is missing in the tracking store", place, owner
                )

    def _status(self, content: Content) -> None:
        """Bring the status of all records of this run up to date."""
        for record in self.records.values():
            if content.ended is None:
                self.client.update_run(record, status=content.status)
            else:
                ended = _milliseconds(content.ended)
                self.client.set_terminated(record, content.status, ended)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let only one process at a time send this record."""
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _contradicts(before: Content, now: Content) -> bool:
    """Return whether a value that was sent has changed since, as an epoch run twice may do."""
    points = any(now.metrics[key][0] != value for key, (value, _) in before.metrics.items())
    return points or any(now.params[key] != value for key, value in before.params.items())


def _owners(content: Content) -> list[Owner]:
    """Return the run itself, then every model that a line speaks of."""
    named = [owner for owner, _ in (*content.params, *content.tags, *content.artifacts)]
    named += [owner for owner, _, _ in content.metrics]
    named += content.models
    models = dict.fromkeys(owner for owner in named if owner is not None)
    return [None, *models]


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _key(name: str) -> str:
    """Return ``name`` with the characters that MLflow allows in a key."""
    return re.sub(r"[^\w\-. /]", "_", name)[:KEY_LENGTH]


def _shown(value: Any) -> str:
    """Return a parameter as text, cut off where a table could not show it."""
    text = str(value)
    note = f"… ({len(text)} characters, see config.yaml)"
    return text if len(text) <= PARAM_LENGTH else text[: PARAM_LENGTH - len(note)] + note


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
