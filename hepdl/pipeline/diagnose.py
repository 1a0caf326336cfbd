"""``hepdl diagnose``: look into the networks of an analysis without training them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from hepdl.diagnose import RateScan, find_learning_rate
from hepdl.errors import ConfigError, unknown_name
from hepdl.events import Events
from hepdl.models import Network
from hepdl.pipeline import logs
from hepdl.pipeline.auxiliary import build_auxiliary
from hepdl.pipeline.dataset import Dataset
from hepdl.pipeline.diagnosis import Diagnosis, first_minibatch
from hepdl.pipeline.fitting import FitTask, build_model, fit_tasks, is_network, parts_of
from hepdl.pipeline.folders import RunFolder, choose_folder, write_json
from hepdl.pipeline.load import Analysis, load_analysis
from hepdl.pipeline.looks import (
    FILE_NAME,
    LOSS,
    TRAINED,
    UNTRAINED,
    Look,
    look_into,
    units_of,
)
from hepdl.pipeline.progress import progress
from hepdl.pipeline.run import run
from hepdl.pipeline.saved import load_saved
from hepdl.pipeline.stages.prepare import read_dataset
from hepdl.report import style
from hepdl.report.diagnostics import draw_flow, draw_learning_rates, flow_table, verdict_table
from hepdl.report.html import Block, Page, Picture, Section, Text, write
from hepdl.report.layout import render_table
from hepdl.train import TrainOptions, choose_device

__all__ = ["Diagnoses", "diagnose", "diagnose_from_command_line"]

log = logging.getLogger(__name__)

FOLDER = "diagnostics"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Diagnoses:
    """What was found in the networks of an analysis.

    Attributes:
        folder: Where figures, page and numbers lie.
        looks: The looks into each network.
        scans: The short trainings of each network.
        order: Names of all models of the analysis.
    """

    folder: Path
    looks: Mapping[str, tuple[Look, ...]]
    scans: Mapping[str, RateScan]
    order: tuple[str, ...]

    @property
    def verdicts(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """The verdicts by network and moment."""
        return {name: {x.moment: x.verdict for x in found} for name, found in self.looks.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        models = {
            name: {
                "looks": [look.as_dict() for look in found],
                "learning_rate": self.scans[name].as_dict(),
            }
            for name, found in self.looks.items()
        }
        return {"format_version": FORMAT_VERSION, "models": models}

    def in_words(self) -> str:
        """Return tables and verdicts for a terminal."""
        lines = []
        for name, found in self.looks.items():
            for look in found:
                caption = f"{name}, {look.moment}"
                lines += [render_table(flow_table(look.flow, caption=caption), "text"), ""]
                lines += [f"  {sentence}" for sentence in look.verdict]
                lines.append("")
            lines += [f"  {self.scans[name].in_words()}", "", ""]
        return "\n".join([*lines, f"page: {self.folder / 'diagnostics.html'}"])


def diagnose_from_command_line(analysis: Path, overrides: tuple[str, ...], **options: Any) -> str:
    """Diagnose, and return what the command line prints at the end."""
    with logs.to_terminal():
        return diagnose(analysis, set=overrides, **options).in_words()


def diagnose(
    analysis: Path | str,
    *,
    models: Sequence[str] = (),
    output: Path | str | None = None,
    set: Mapping[str, Any] | Iterable[str] = (),
    device: str = "auto",
    data_dir: Path | str | None = None,
    skip_bad_files: bool = False,
) -> Diagnoses:
    """Look into the networks of an analysis, and try learning rates on copies of them.

    The data are prepared first, if they are not. Of several seeds and folds the first one is taken.

    Args:
        analysis: A folder with ``analysis.yaml``, or a YAML file.
        models: Names of networks; empty for all.
        output: Output folder of a run; networks that are trained there are looked into as well.
        set: Overrides of the configuration.
        device: ``auto``, ``cpu`` or ``cuda``.
        data_dir: Where simulated and prepared data live and are reused.
        skip_bad_files: Leave unreadable files out, and name them.

    Raises:
        ConfigError: A model is none of the analysis, or no network.
    """
    overrides = dict(set) if isinstance(set, Mapping) else tuple(set)
    checked = load_analysis(analysis, overrides)
    names = _networks(checked, models)
    prepared = run(
        analysis,
        output=output,
        set=overrides,
        device=device,
        data_dir=data_dir,
        tracking_uri="none",
        skip_bad_files=skip_bad_files,
        last_stage="prepare",
    )
    folder = choose_folder(checked.name, output=prepared.folder, resume=True)
    dataset = read_dataset(folder, checked)
    looks: dict[str, tuple[Look, ...]] = {}
    scans: dict[str, RateScan] = {}
    with folder.lock(), progress("diagnosing", len(names)) as advance:
        for name in names:
            task = fit_tasks(checked.config, name)[0]
            looks[name], scans[name] = _look_at(checked, folder, dataset, task, device=device)
            advance(text=name)
        found = Diagnoses(folder.path / FOLDER, looks, scans, tuple(checked.config.models))
        write_json(found.folder / FILE_NAME, found.as_dict())
        write(found.folder / "diagnostics.html", _page(checked, found))
    return found


def _networks(analysis: Analysis, models: Sequence[str]) -> list[str]:
    config = analysis.config
    for name in models:
        if name not in config.models:
            raise ConfigError(unknown_name("model", name, config.models, where="--model"))
    networks = [name for name in config.models if is_network(config, name)]
    trees = [name for name in models if name not in networks]
    if trees or not networks:
        message = (
            f"{', '.join(trees or config.models)}: boosted trees have no layers to look into; "
            f"networks of this analysis: {', '.join(networks) or '(none)'}"
        )
        raise ConfigError(message)
    return list(models) or networks


def _look_at(
    analysis: Analysis, folder: RunFolder, dataset: Dataset, task: FitTask, *, device: str
) -> tuple[tuple[Look, ...], RateScan]:
    """Look into one network, untrained and, if it is there, trained; try learning rates."""
    config = analysis.config
    settings = config.train_of(task.name)
    options = TrainOptions(**settings.model_dump(exclude={"loop", "seeds"}), seed=task.seed)
    model = build_model(config, task)
    train, _, _ = parts_of(dataset, task, model)
    network = cast("Network", cast("nn.Module", model).to(choose_device(device)))
    units = units_of(analysis.schema)
    diagnosis = Diagnosis(
        str(task),
        options,
        units,
        build_auxiliary(config.models[task.name], seed=task.seed),
        path=None,
        record=lambda values, epoch: None,
    )
    diagnosis.begin(network, train, resume=False)
    looks = list(diagnosis.looks)
    trained = folder.model(task.name, task.seed, task.fold)
    if (trained / "model.json").is_file():
        looks.append(_look_at_trained(trained, dataset, task, options, units, device=device))
    log.info("%s: trying learning rates", task)
    return tuple(looks), find_learning_rate(network, train, loss=LOSS, options=options)


def _look_at_trained(
    folder: Path,
    dataset: Dataset,
    task: FitTask,
    options: TrainOptions,
    units: Mapping[str, str],
    *,
    device: str,
) -> Look:
    saved = load_saved(folder)
    dataset = dataset.of_fold(task.fold)
    train: Events = dataset.training_events(
        dataset.arranged(saved.inputs, saved.reconstruction), "train"
    )
    minibatch = first_minibatch(train, options)
    if saved.scaling is not None:
        minibatch = saved.scaling.apply(minibatch)
    network = cast("Network", cast("nn.Module", saved.model).to(choose_device(device)))
    epochs = int(saved.card["best_epoch"]) + 1
    return look_into(network, minibatch, moment=TRAINED, epoch=epochs, units=units)


def _page(analysis: Analysis, found: Diagnoses) -> Page:
    """Draw the figures, and return the page around them."""
    pictures: list[Block] = []
    for moment, note in ((UNTRAINED, "before training"), (TRAINED, "after training")):
        flows = {
            name: look.flow
            for name, looks in found.looks.items()
            for look in looks
            if look.moment == moment
        }
        if flows:
            figure = draw_flow(flows, order=found.order, note=note)
            png, pdf = style.save(figure, found.folder, f"flow_{moment}")
            caption = f"Layer by layer, {note}, on the first minibatch. Triangles are zero."
            pictures.append(Picture(png, caption, others=(pdf,), is_wide=True))
    png, pdf = style.save(draw_learning_rates(found.scans), found.folder, "learning_rates")
    words = tuple(f"{name}: {scan.in_words()}" for name, scan in found.scans.items())
    caption = "Loss after short trainings from the same start, each with another learning rate."
    rates = Picture(png, caption, others=(pdf,), is_wide=len(found.scans) > 2)
    tables = [
        flow_table(look.flow, caption=f"{name}, {look.moment}")
        for name, looks in found.looks.items()
        for look in looks
    ]
    is_healthy = all(look.is_healthy for looks in found.looks.values() for look in looks)
    return Page(
        title=f"{analysis.name}: diagnosis of its networks",
        summary=(
            "Nothing bad was found."
            if is_healthy
            else "Some networks cannot learn as they should: see the verdicts.",
        ),
        sections=(
            Section("Verdicts", (verdict_table(found.verdicts), *pictures)),
            Section("Learning rates", (Text(words, as_list=True), rates)),
            Section("Layer by layer", tuple(tables)),
        ),
    )
