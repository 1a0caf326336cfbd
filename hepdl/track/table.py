"""The rows of ``hepdl compare``: one a model and run, from MLflow or from run folders."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hepdl.errors import ConfigError, DataError, EnvironmentFailure, HepdlError, unknown_name
from hepdl.track.lines import FILE_NAME, fold, read
from hepdl.track.send import FOLDER_TAG, MODEL_TAG, RECORD_TAG
from hepdl.track.store import connect, quiet, resolve_uri, sqlite_path

__all__ = ["flatten", "table"]

log = logging.getLogger(__name__)

Row = dict[str, Any]
RESULTS = "metrics.json"


def table(
    runs: Sequence[str | Path] | None = None,
    *,
    experiment: str | None = None,
    uri: str | None = None,
) -> list[Row]:
    """Return one row for each model of each run, oldest run first.

    A row has ``analysis``, ``run``, ``model``, ``started`` (UTC), ``status`` and ``folder``, then
    the model's numbers under the names of ``flatten``, e.g. ``auc``, ``auc_low``, ``auc_high``.

    Args:
        runs: Output folders, which are read directly, or names of runs in MLflow; all if None.
            Folders of runs without results yet are named in the log and left out.
        experiment: Name of the analysis; all if None.
        uri: Tracking store; by default as ``hepdl run`` chooses it.

    Raises:
        ConfigError: A run or the analysis is not there.
        EnvironmentFailure: The store cannot be reached.
    """
    wanted = [str(run) for run in runs or ()]
    unfinished = [run for run in wanted if _is_unfinished(Path(run))]
    for run in unfinished:
        log.warning("%s has no %s yet and is left out; finish it with --resume", run, RESULTS)
    if unfinished and len(unfinished) == len(wanted):
        return []
    wanted = [run for run in wanted if run not in unfinished]
    folders = [Path(run) for run in wanted if (Path(run) / RESULTS).is_file()]
    rows = [row for folder in folders for row in _rows_of_folder(folder)]
    if experiment is not None:
        rows = [row for row in rows if row["analysis"] == experiment]
    names = [run for run in wanted if Path(run) not in folders]
    if names or not wanted:
        stored = _rows_of_store(experiment, uri)
        known = {row["run"] for row in stored}
        for name in names:
            if name not in known:
                where = f"neither a folder with {RESULTS} nor a record in the tracking store"
                raise ConfigError(unknown_name("run", name, known, where=where))
        rows += [row for row in stored if not names or row["run"] in names]
    return rows


def flatten(result: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return a nested result as flat metric names; ``value`` itself adds nothing to the name.

    >>> flatten({"auc": {"value": 0.9, "low": 0.8}, "background_rejection": {"0.5": {"value": 20}}})
    {'auc': 0.9, 'auc_low': 0.8, 'background_rejection_0.5': 20.0}
    """
    flat: dict[str, float] = {}
    for key, value in result.items():
        name = prefix if key == "value" else f"{prefix}_{key}" if prefix else key
        if isinstance(value, Mapping):
            flat |= flatten(value, name)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            flat[name] = float(value)
    return flat


def _is_unfinished(folder: Path) -> bool:
    return (folder / FILE_NAME).is_file() and not (folder / RESULTS).is_file()


def _rows_of_folder(folder: Path) -> list[Row]:
    """Return the rows of one output folder from its own files."""
    path = folder / RESULTS
    try:
        results = json.loads(path.read_text())
        models: Mapping[str, Any] = results["models"]
        analysis = results["analysis"]
    except (ValueError, KeyError, TypeError) as error:
        message = (
            f"{path} cannot be read as the results of a run ({type(error).__name__}: {error}); "
            f"make it again with `hepdl evaluate`"
        )
        raise DataError(message) from error
    started, status = "", ""
    if (folder / FILE_NAME).is_file() and (lines := read(folder)):
        started, status = _utc(lines[0]["time"]), fold(lines).status
    head = {"analysis": analysis, "run": folder.resolve().name}
    tail = {"started": started, "status": status, "folder": str(folder)}
    return [{**head, "model": name, **tail, **flatten(entry)} for name, entry in models.items()]


def _rows_of_store(experiment: str | None, uri: str | None) -> list[Row]:
    """Return the rows of every run in the tracking store."""
    target = resolve_uri(uri)
    if target is None:
        return []
    path = sqlite_path(target)
    if path is not None and not path.exists():
        message = (
            f"there is no tracking store at {path} yet; it appears with the first `hepdl run`, "
            "or give --tracking-uri, or the output folders themselves"
        )
        raise ConfigError(message)
    client = connect(target)
    try:
        with quiet():
            known = {e.name: e.experiment_id for e in client.search_experiments()}
            if experiment is not None and experiment not in known:
                raise ConfigError(unknown_name("analysis", experiment, known, where=f"in {target}"))
            chosen = known if experiment is None else {experiment: known[experiment]}
            names = {identifier: name for name, identifier in chosen.items()}
            found = _all_runs(client, list(names))
    except HepdlError:
        raise
    except Exception as error:
        message = f"the tracking store {target} did not answer: {error}"
        raise EnvironmentFailure(message) from error
    parents = {run.info.run_id: run for run in found if MODEL_TAG not in run.data.tags}
    return [
        _row(run, parents[run.data.tags["mlflow.parentRunId"]], names[run.info.experiment_id])
        for run in found
        if run.data.tags.get("mlflow.parentRunId") in parents
    ]


def _all_runs(client: Any, experiments: list[str]) -> list[Any]:
    """Return every record that hepdl wrote, oldest first, page by page."""
    found: list[Any] = []
    token = None
    while experiments:
        page = client.search_runs(
            experiments,
            f"tags.`{RECORD_TAG}` != ''",
            max_results=1000,
            order_by=["attributes.start_time ASC", "attributes.run_name ASC"],
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            break
    return found


def _row(run: Any, parent: Any, analysis: str) -> Row:
    """Return the row of a model's record."""
    return {
        "analysis": analysis,
        "run": parent.info.run_name,
        "model": run.data.tags[MODEL_TAG],
        "started": _utc(parent.info.start_time / 1000),
        "status": parent.info.status,
        "folder": parent.data.tags.get(FOLDER_TAG, ""),
        **run.data.metrics,
    }


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
