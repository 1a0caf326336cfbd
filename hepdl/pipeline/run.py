"""A whole run: the stages one after the other, each one skipped if it is done."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hepdl.errors import ConfigError, StoppedError
from hepdl.pipeline import logs
from hepdl.pipeline.environment import describe_environment
from hepdl.pipeline.folders import (
    STAGES,
    RunFolder,
    choose_folder,
    content_hash,
    data_folder,
    write_json,
    write_text,
)
from hepdl.pipeline.launch import launch
from hepdl.pipeline.load import Analysis, load_analysis
from hepdl.pipeline.mapped import MappedTagger
from hepdl.pipeline.processes.followers import Followers
from hepdl.pipeline.request import Request
from hepdl.pipeline.stages.evaluate import evaluate
from hepdl.pipeline.stages.fit import fit
from hepdl.pipeline.stages.prepare import check_sources, prepare
from hepdl.pipeline.stages.report import report
from hepdl.pipeline.stages.simulate import simulate
from hepdl.pipeline.tagger import Tagger, load_model
from hepdl.pipeline.work import Stage, Work
from hepdl.report.tables import comparison_table
from hepdl.track import Recorder
from hepdl.train import StopRequest, choose_device
from hepdl.train.state.ranks import Ranks

__all__ = ["Run", "run", "run_alone", "run_here"]

log = logging.getLogger(__name__)

_STAGES: dict[str, Stage] = {
    "simulate": simulate,
    "prepare": prepare,
    "fit": fit,
    "evaluate": evaluate,
    "report": report,
}


@dataclass(frozen=True)
class Run:
    """The output folder of a run, for scripts and notebooks.

    Attributes:
        folder: Everything that the run left.
        record: Where its record went, in words.
    """

    folder: Path
    record: str = ""

    @property
    def metrics(self) -> dict[str, Any]:
        """Every number of the report, as in ``metrics.json``."""
        content: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text())
        return content

    def table(self, style: str = "text") -> str:
        """Return the comparison as ``text``, ``markdown``, ``latex``, ``csv`` or ``html``."""
        return comparison_table(self.metrics, style=style)

    def load_model(self, name: str) -> Tagger | MappedTagger:
        """Return a trained model of this run, or a map of the scores of some."""
        return load_model(self.folder, name)


def run(
    analysis: Path | str,
    *,
    output: Path | str | None = None,
    set: Mapping[str, Any] | Iterable[str] = (),
    device: str = "auto",
    resume: bool = False,
    data_dir: Path | str | None = None,
    tracking_uri: str | None = None,
    skip_bad_files: bool = False,
    nproc: int | None = None,
    last_stage: str | None = None,
) -> Run:
    """Run an analysis; the same as ``hepdl run``.

    Args:
        analysis: A folder with ``analysis.yaml``, or a YAML file.
        output: Output folder; default ``runs/<analysis>/<UTC time>``.
        set: Overrides, e.g. ``{"train.epochs": 3}``.
        device: ``auto``, ``cpu`` or ``cuda``.
        resume: Continue a run that was stopped.
        data_dir: Where simulated and prepared data live and are reused.
        tracking_uri: MLflow store or server.
        skip_bad_files: Leave unreadable files out, and name them.
        nproc: Processes that train each network together, and that simulate; by default one
            process trains and all cores simulate.
        last_stage: Stop after this stage; it works on the folder that earlier stages left.

    Raises:
        HepdlError: The input, the environment or the training failed; ``exit_status`` says which.
    """
    request = Request(
        analysis=analysis,
        output=output,
        overrides=dict(set) if isinstance(set, Mapping) else tuple(set),
        device=device,
        resume=resume,
        data_dir=data_dir,
        tracking_uri=tracking_uri,
        skip_bad_files=skip_bad_files,
        nproc=nproc,
        last_stage=last_stage,
    )
    if request.n_ranks == 1:
        return run_alone(request)
    done = launch(request)
    return Run(Path(done["folder"]), done["record"])


def run_alone(request: Request) -> Run:
    """Run in this process; see `run`."""
    with StopRequest() as stop:
        return run_here(request, stop=stop, ranks=Ranks.alone())


def run_here(request: Request, *, stop: StopRequest, ranks: Ranks) -> Run:
    """Run in this process, which is the first or the only one.

    Args:
        request: What is asked for.
        stop: Whether SIGTERM or SIGUSR1 has arrived.
        ranks: Who trains together; the others wait in `hepdl.pipeline.processes.follow`.

    Raises:
        HepdlError: As ``run``.
    """
    checked = load_analysis(request.analysis, request.overrides)
    single = request.last_stage is not None
    folder = choose_folder(
        checked.name,
        output=None if request.output is None else Path(request.output),
        resume=request.resume,
        may_exist=single,
    )
    chosen = ranks.device(choose_device(request.device))
    followers = Followers(ranks)
    with folder.lock(), logs.to_file(folder.path / "log.txt"):
        _write_or_compare_config(checked, folder)
        environment = _write_environment(checked, folder, chosen.type)
        recorder = Recorder(
            folder.path, analysis=checked.name, root=folder.root, uri=request.tracking_uri
        )
        recorder.tags(_git_tags(environment))
        work = Work(
            analysis=checked,
            folder=folder,
            data=data_folder(folder, None if request.data_dir is None else Path(request.data_dir)),
            device=chosen,
            recorder=recorder,
            stop=stop,
            resume=request.resume or single,
            skip_bad_files=request.skip_bad_files,
            n_processes=request.nproc,
            followers=followers,
        )
        try:
            _run_stages(work, request.last_stage or STAGES[-1])
        except BaseException as error:
            recorder.finish("stopped" if _was_stopped(error) else "failed")
            raise
        finally:
            followers.dismiss()
        later = recorder.finish()
    return Run(folder.path, _where_recorded(recorder.uri, later))


def _where_recorded(uri: str | None, later: str | None) -> str:
    if uri is None:
        return "record.jsonl only"
    return f"MLflow at {uri}" if later is None else f"record.jsonl; send it later: {later}"


def _was_stopped(error: BaseException) -> bool:
    return isinstance(error, StoppedError | KeyboardInterrupt)


def _run_stages(work: Work, last_stage: str) -> None:
    work.recorder.params(work.analysis.config.as_dict())
    check_sources(work)
    before = content_hash(
        {"config": work.analysis.config.as_dict(), "schema": work.analysis.schema.fingerprint()}
    )
    for name in STAGES[: STAGES.index(last_stage) + 1]:
        inputs = content_hash([name, before])
        if work.folder.has_finished(name, inputs):
            log.info("stage %s: already done", name)
        else:
            log.info("stage %s", name)
            if work.stop.is_requested:
                message = f"stopped by {work.stop.reason} before stage {name}; run with --resume"
                raise StoppedError(message)
            outcome = _STAGES[name](work)
            work.folder.mark(name, inputs, outputs=outcome.outputs, notes=outcome.notes)
        before = inputs


def _write_or_compare_config(analysis: Analysis, folder: RunFolder) -> None:
    path = folder.path / "config.yaml"
    now = analysis.config.as_dict()
    if not path.exists():
        write_text(path, yaml.safe_dump(now, sort_keys=False, allow_unicode=True))
        return
    try:
        then = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        message = f"{path}: cannot be read ({error}); name another --output"
        raise ConfigError(message) from error
    differences = _differences(then, now)
    if differences:
        message = (
            f"{folder.path} was made with another configuration:\n  "
            + "\n  ".join(differences)
            + "\nuse the same one, or name another --output"
        )
        raise ConfigError(message)


def _differences(then: Any, now: Any, key: str = "") -> list[str]:
    """Return ``key: then → now`` for everything that differs."""
    if isinstance(then, dict) and isinstance(now, dict):
        found = []
        for name in [*then, *(n for n in now if n not in then)]:
            inner = f"{key}.{name}" if key else str(name)
            found += _differences(then.get(name, "(absent)"), now.get(name, "(absent)"), inner)
        return found
    return [] if then == now else [f"{key}: then {then!r}, now {now!r}"]


def _write_environment(analysis: Analysis, folder: RunFolder, device: str) -> dict[str, Any]:
    path = folder.path / "environment.json"
    now = describe_environment(
        analysis=analysis.folder, device=device, seeds=analysis.config.train.seeds
    )
    if path.exists():
        try:
            then = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            then = {}
        changed = _differences(then.get("versions", {}), now["versions"])
        if changed:
            log.warning("the environment changed since the run began: %s", "; ".join(changed))
        now["resumed"] = [*then.get("resumed", []), {"command": now["command"]}]
    write_json(path, now)
    return now


def _git_tags(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return the commit of hepdl and of the analysis, and whether files had changed since."""
    return {
        f"git_commit_{where}": state["commit"] + ("" if state["clean"] else " (modified)")
        for where, state in environment["git"].items()
        if state
    }
