"""Where records go: the tracking URI, the default SQLite store, and MLflow without its chatter."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from hepdl.errors import ConfigError, EnvironmentFailure

__all__ = ["artifact_location", "connect", "locked", "quiet", "resolve_uri"]

log = logging.getLogger(__name__)

# Read by MLflow when it is imported or at each request; what the user has set is kept. Without
# the last three a server that is away would hold up the end of a run for minutes.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
TABLES = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"


def resolve_uri(given: str | None = None, *, root: Path | None = None) -> str | None:
    """Return the tracking URI: ``given``, else ``MLFLOW_TRACKING_URI``, else ``runs/mlflow.db``.

    None means that the record stays in the output folder only, which is asked for with ``none``.

    Args:
        given: The value of ``--tracking-uri``.
        root: Folder of the default store, beside the output folders; default ``runs``.

    Raises:
        ConfigError: MLflow would refuse the store: it no longer writes plain folders.
    """
    default = (root or Path("runs")).resolve() / "mlflow.db"
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{default}"
    if uri == "none":
        return None
    is_folder = urlsplit(uri).scheme in ("", "file")
    if is_folder and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in ("1", "true"):
        message = (
            f"tracking URI {uri!r} is a folder, and MLflow no longer writes records into plain "
            "folders; give sqlite:///PATH.db, http://HOST:PORT, or none for no tracking "
            "(--tracking-uri or MLFLOW_TRACKING_URI)"
        )
        raise ConfigError(message)
    return uri


def connect(uri: str) -> Any:
    """Return an ``MlflowClient`` for ``uri``; an SQLite store is created if it is not there.

    Raises:
        EnvironmentFailure: The store cannot be opened or created.
    """
    path = sqlite_path(uri)
    try:
        with quiet():
            _prepare_mlflow()
            from mlflow import MlflowClient

            if path is not None:
                _ensure_sqlite(path)
            return MlflowClient(tracking_uri=uri)
    except Exception as error:
        message = f"cannot open the tracking store {uri}: {error}"
        raise EnvironmentFailure(message) from error


def sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite URI, or None for any other URI.

    >>> sqlite_path("sqlite:///runs/mlflow.db").as_posix()
    'runs/mlflow.db'
    >>> sqlite_path("http://localhost:5000") is None
    True
    """
    if not uri.startswith("sqlite:///"):
        return None
    name = unquote(uri.removeprefix("sqlite:///").partition("?")[0])
    return Path(name) if name and name != ":memory:" else None


def artifact_location(uri: str, experiment: str) -> str | None:
    """Return where the artefacts of an experiment go: beside a local store, else its own choice."""
    path = sqlite_path(uri)
    return (path.resolve().parent / "mlruns" / experiment).as_uri() if path is not None else None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings of MLflow about its own insides from the user while it works."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` alone among the processes of this host."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare_mlflow() -> None:
    """Import MLflow with telemetry off and without its lines on stdout and stderr."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    log.debug("MLflow %s", mlflow.__version__)


def _ensure_sqlite(path: Path) -> None:
    """Create the store at ``path`` unless it is there; safe when several processes do it at once.

    MLflow's own first opening takes seconds of migrations, and two of them at once break each
    other. So a migrated template is copied, under a lock, and appears under its name in one step.
    """
    if _is_migrated(path):
        return
    with locked(path.with_name(path.name + ".lock")):
        if _is_migrated(path):
            return
        if path.exists() and path.stat().st_size > 0:
            return  # not ours to replace; MLflow says what it thinks of it
        new = path.with_name(f"{path.name}.new{os.getpid()}")
        try:
            template = _template()
            if template is None:
                _migrate(new)
            else:
                shutil.copyfile(template, new)
            _place_default_experiment(new, (path.resolve().parent / "mlruns" / "0").as_uri())
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


def _template() -> Path | None:
    """Return a migrated store of this MLflow version from the user's cache, or None without one."""
    import mlflow

    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hepdl"
        path = cache / f"mlflow-{mlflow.__version__}.db"
        with locked(path.with_suffix(".lock")):
            if not _is_migrated(path):
                log.info("preparing the tracking store of MLflow %s, once", mlflow.__version__)
                with tempfile.TemporaryDirectory(dir=cache) as folder:
                    fresh = Path(folder) / path.name
                    _migrate(fresh)
                    fresh.replace(path)
    except (OSError, RuntimeError) as error:  # no home, or a cache that cannot be written
        log.debug("no cached template of the tracking store: %s", error)
        return None
    return path


def _migrate(path: Path) -> None:
    """Let MLflow create all its tables in a new file."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store: Any = SqlAlchemyStore  # it has no types
    store = store(f"sqlite:///{path.resolve()}", str(path.resolve().parent))
    store.engine.dispose()


def _is_migrated(path: Path) -> bool:
    """Return whether ``path`` is an SQLite file with MLflow's tables."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    connection = sqlite3.connect(path)
    try:
        return bool(connection.execute(TABLES).fetchone()[0])
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()


def _place_default_experiment(path: Path, location: str) -> None:
    """Point the default experiment of a copied template at the folder of its new store."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0", (location,)
            )
    finally:
        connection.close()
