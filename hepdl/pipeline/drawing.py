"""Which figures a run gets: its events, scores and numbers, handed to the drawing functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from hepdl.evaluate.calibration import reliability_curve
from hepdl.evaluate.efficiency import efficiencies_at
from hepdl.evaluate.roc import RocCurve, roc_curve
from hepdl.evaluate.spectra import Spectrum, score_spectra, spectrum
from hepdl.events import TreeInputs
from hepdl.events.trees import attach_trees
from hepdl.kinematics import NODE_FEATURES
from hepdl.pipeline.assignment_report import (
    draw_assigned_events,
    draw_assignments,
    drawable,
)
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.dataset import Dataset, evaluation_weights
from hepdl.pipeline.dependence_report import bin_edges, dependence_figures
from hepdl.pipeline.families import shown_models
from hepdl.pipeline.fitting import fit_tasks
from hepdl.pipeline.flow_report import flow_figures
from hepdl.pipeline.fold_models import load_folds
from hepdl.pipeline.saved import load_card, load_history
from hepdl.pipeline.scores import Scores
from hepdl.pipeline.sensitivity_report import draw_scans, draw_varied_scores
from hepdl.pipeline.shifted import draw_ams
from hepdl.pipeline.stages.evaluate import selected_test
from hepdl.pipeline.stages.prepare import load_dataset
from hepdl.pipeline.work import Work
from hepdl.report.calibration import draw_reliability
from hepdl.report.comparison import draw_comparison
from hepdl.report.cost import draw_cost
from hepdl.report.efficiency import draw_efficiencies
from hepdl.report.jet_tree import DrawnTree, draw_jet_trees
from hepdl.report.roc import draw_roc
from hepdl.report.scores import draw_scores
from hepdl.report.spectra import draw_features, draw_flattening
from hepdl.report.training import draw_training

__all__ = ["Drawing", "caption_of", "figures_of"]

Floats = npt.NDArray[np.float64]
Draw = Callable[[], Figure]

N_BINS = 40
WORKING_POINT = 0.5
CLASSES = {"signal": 1, "background": 0}

CAPTIONS = {
    "comparison": "Area under the ROC curve and background rejection of each model on the test "
    "part, with 68 % intervals; open circles are single seeds.",
    "roc": "Background rejection against signal efficiency on the test part; further up is better.",
    "roc_window": "The same inside the window {window}, its spectra flattened anew.",
    "cost": "Area under the ROC curve against what it costs: parameters, time and speed of the "
    "training (boosted trees: nodes, and entries times rounds per second; a map of scores costs what "
    "its members cost).",
    "scores": "Scores of signal and background: filled, the training part; points, the test part. "
    "Where the two differ, the model has learnt its training events by heart.",
    "scores_log": "The same on a logarithmic axis.",
    "training": "What each training saw, a line for each seed and fold. The marked epoch has the "
    "best weighted validation AUC, and its parameters were kept.",
    "sculpting": "Spectrum of the background before and after cuts on the score. A cut that only "
    "follows {nuisance} shapes the background like the signal.{shown}",
    "decorrelation": "Independence of {nuisance} against background rejection, both at half of the signal: further "
    "up the cut shapes the background less, further right it rejects more. Lines join models that differ in the strength of their "
    "penalty alone (printed beside the points). In the shaded range samples of this size cannot tell a flat score from a better one.",
    "background_efficiency": "Share of the background that passes cuts on the score, against {nuisance}; a score that does "
    "not depend on it has flat lines.{shown}",
    "frontier": "Area under the ROC curve against the largest distance between the distributions of the score in two variations of the same events: "
    "left is independent, up is better. Below the shaded edge the distance is no larger than noise.",
    "efficiency": "Share of signal and background that passes the cut which keeps half of the "
    "signal.",
    "reliability": "Share of signal among the test entries of each score, both classes weighted "
    "alike. On the diagonal the score is a probability.",
    "jet_trees": "A signal and a background jet of the test part: the clustering tree, and its "
    "constituents.",
    "flow_untrained": "Each network before its first step, layer by layer, on the first minibatch: the "
    "spread of the values that the next layer gets, the norm of the gradient, and how much one step "
    "changes the weights. Lines that fall or rise by orders of magnitude mean layers that do not "
    "learn. A triangle on the lower edge is zero.",
    "flow_trained": "The same after the training, with the parameters that were kept.",
    "assignments": "How often the best assignment of a signal event has each particle right, among the "
    "events in which truth can tell, with 68 % intervals. Short lines: a right one is among the candidates.",
    "events": "Two test events: objects in the plane of η and φ, coloured by what the best assignment makes "
    "of them, and the decay with the masses that follow.",
    "significance": "Expected significance of the test events, at {luminosity:g} /fb, against the cut, with the "
    "error of the Monte-Carlo sample, and the background entries that are left to know it.",
    "ams": "Approximate median significance of the test events against the cut, the background known to the distance "
    "between its two values of {ams}; points are the cuts that the validation events chose.",
    "variations": "Scores of the test events and of their variations, and the ratio of the two; events are "
    "shared, so that the ratio is known better than each of them.",
    "flattening": "The spectra that only reflect how the samples were made, before and after the "
    "weights: afterwards both classes are alike, and no model can win by them.",
    "features": "The flat fields of the test part for each class, as read, without flattening.",
}


@dataclass(frozen=True)
class Drawing:
    """What is drawn.

    Attributes:
        work: The run.
        metrics: The content of ``metrics.json``.
        scores: Scores of all events by model.
        index: Positions of the test events.
        weight: Their evaluation weights.

    Shapes:
        index, weight: ``(n_test,)``.
    """

    work: Work
    metrics: Mapping[str, Any]
    scores: Scores
    index: npt.NDArray[np.int64]
    weight: Floats

    @property
    def dataset(self) -> Dataset:
        """All events of the run."""
        return load_dataset(self.work)

    @property
    def config(self) -> AnalysisConfig:
        """The resolved configuration."""
        return self.work.analysis.config

    @property
    def label(self) -> npt.NDArray[np.int64]:
        """1 for signal, 0 for background, of the test events."""
        return self.dataset.label[self.index]

    def chosen(self, name: str) -> npt.NDArray[np.float32]:
        """Return the scores of all events of the seed that the validation part chose."""
        return self.scores[name].chosen

    def units(self, names: tuple[str, ...]) -> dict[str, str]:
        """Return the unit of each field, empty for pure numbers."""
        schema = self.work.analysis.schema
        known = {*schema.flat_fields}
        units = {name: schema.unit_in_memory(name) if name in known else "1" for name in names}
        return {name: "" if unit == "1" else unit for name, unit in units.items()}


def figures_of(drawing: Drawing) -> Iterator[tuple[str, str, Draw]]:
    """Yield section of the page, name of the file and how to draw it."""
    config = drawing.config
    yield "Comparison", "comparison", partial(draw_comparison, drawing.metrics["models"])
    yield "Comparison", "roc", partial(_roc, drawing, drawing.index, drawing.weight, "")
    if config.evaluate.window is not None:
        yield "Comparison", "roc_window", partial(_roc_window, drawing)
    if len(config.contenders) > 2:
        yield "Comparison", "cost", partial(draw_cost, drawing.metrics["models"])
    yield "Scores and calibration", "scores", partial(_scores, drawing, log=False)
    yield "Scores and calibration", "scores_log", partial(_scores, drawing, log=True)
    yield "Scores and calibration", "reliability", partial(_reliability, drawing)
    if config.evaluate.luminosity is not None:
        yield "Significance", "significance", partial(draw_scans, drawing.work)
    if config.evaluate.ams is not None:
        numbers = drawing.metrics["models"]
        draw = partial(draw_ams, drawing.dataset, drawing.scores, config, numbers)
        yield "Significance", "ams", draw
    if config.systematics.ttrees:
        yield "Systematics", "variations", partial(draw_varied_scores, drawing.work)
    yield from dependence_figures(drawing)
    if config.evaluate.efficiency_variables:
        yield "Dependence", "efficiency", partial(_efficiencies, drawing)
    yield "Training", "training", partial(_training, drawing)
    yield from flow_figures(drawing.work)
    if config.weights.evaluation.flatten:
        yield "Data", "flattening", partial(_flattening, drawing)
    yield "Data", "features", partial(_features, drawing)
    if "assignments" in drawing.metrics:
        numbers = drawing.metrics["assignments"]
        yield "Reconstruction", "assignments", partial(draw_assignments, numbers)
    if config.reconstruction is not None and drawable(drawing.dataset):
        yield "Reconstruction", "events", partial(draw_assigned_events, drawing.dataset)
    if config.report.example_trees and _tree_inputs(drawing) is not None:
        yield "Data", "jet_trees", partial(_jet_trees, drawing)


def caption_of(name: str, drawing: Drawing) -> str:
    """Return the caption of a figure, in a physicist's words."""
    kind = next(key for key in sorted(CAPTIONS, key=len, reverse=True) if name.startswith(key))
    nuisance = name.removeprefix(f"{kind}_")
    wanted = drawing.config.evaluate
    ams = "" if wanted.ams is None else wanted.ams.nuisance
    n_models, n_shown = len(drawing.scores), len(shown_models(drawing.config, drawing.scores))
    shown = "" if n_shown == n_models else f" Shown are {n_shown} of {n_models} models."
    return CAPTIONS[kind].format(
        window=wanted.window, nuisance=nuisance, luminosity=wanted.luminosity, shown=shown, ams=ams
    )


def _curves(
    drawing: Drawing, index: npt.NDArray[np.int64], weight: Floats
) -> dict[str, list[RocCurve]]:
    label = drawing.dataset.label[index]
    return {
        name: [roc_curve(label, values[index], weight) for values in found.trainings]
        for name, found in drawing.scores.items()
    }


def _roc(
    drawing: Drawing, index: npt.NDArray[np.int64], weight: Floats, note: str, key: str = ""
) -> Figure:
    models = drawing.metrics["models"]
    return draw_roc(
        _curves(drawing, index, weight),
        auc={name: (entry[key] if key else entry)["auc"] for name, entry in models.items()},
        signal_efficiencies=drawing.config.evaluate.signal_efficiencies,
        reference=drawing.config.evaluate.reference,
        note=note,
    )


def _roc_window(drawing: Drawing) -> Figure:
    window = drawing.config.evaluate.window
    index, weight = selected_test(drawing.dataset, drawing.work, window)
    return _roc(drawing, index, weight, window or "", key="window")


def _scores(drawing: Drawing, *, log: bool) -> Figure:
    dataset = drawing.dataset
    train = dataset.trained_index()
    train_weight = evaluation_weights(dataset, train, drawing.config.weights.evaluation.flatten)
    edges = np.linspace(0.0, 1.0, N_BINS + 1)
    models = {}
    for name, found in drawing.scores.items():
        seen = found.chosen if found.seen is None else found.seen
        models[name] = score_spectra(
            (dataset.label[train], seen[train], train_weight),
            (drawing.label, found.chosen[drawing.index], drawing.weight),
            edges=edges,
        )
    return draw_scores(models, log=log)


def _reliability(drawing: Drawing) -> Figure:
    models = {
        name: reliability_curve(drawing.label, drawing.chosen(name)[drawing.index], drawing.weight)
        for name in drawing.scores
    }
    error = {n: e["expected_calibration_error"] for n, e in drawing.metrics["models"].items()}
    return draw_reliability(models, error=error)


def _efficiencies(drawing: Drawing) -> Figure:
    names = drawing.config.evaluate.efficiency_variables
    variables = {}
    for variable in names:
        values = drawing.dataset.column(variable)[drawing.index]
        edges = bin_edges(values, n_bins=16)
        variables[variable] = {
            name: efficiencies_at(
                drawing.label,
                drawing.chosen(name)[drawing.index],
                values,
                drawing.weight,
                edges=edges,
                signal_efficiency=WORKING_POINT,
            )
            for name in drawing.scores
        }
    return draw_efficiencies(variables, signal_efficiency=WORKING_POINT, units=drawing.units(names))


def _training(drawing: Drawing) -> Figure:
    histories: dict[str, dict[int, Any]] = {}
    best: dict[str, dict[int, int]] = {}
    for name in drawing.config.models:
        for line, task in enumerate(fit_tasks(drawing.config, name)):
            folder = drawing.work.folder.model(name, task.seed, task.fold)
            histories.setdefault(name, {})[line] = load_history(folder)
            best.setdefault(name, {})[line] = int(load_card(folder)["best_epoch"])
    rounds = {n: "Round" for n, m in drawing.config.models.items() if m.model == "boosted_trees"}
    return draw_training(histories, best_epochs=best, step_names=rounds)


def _by_class(
    values: Floats, label: npt.NDArray[np.int64], weight: Floats, edges: Floats
) -> dict[str, Spectrum]:
    return {
        name: spectrum(values[label == code], weight[label == code], edges=edges)
        for name, code in CLASSES.items()
    }


def _flattening(drawing: Drawing) -> Figure:
    names = drawing.config.weights.evaluation.flatten
    before = drawing.dataset.events.event_weight.numpy()[drawing.index].astype(np.float64)
    variables = {}
    for name in names:
        values = drawing.dataset.column(name)[drawing.index]
        edges = bin_edges(values, n_bins=25)
        variables[name] = (
            _by_class(values, drawing.label, before, edges),
            _by_class(values, drawing.label, drawing.weight, edges),
        )
    return draw_flattening(variables, units=drawing.units(names))


def _features(drawing: Drawing) -> Figure:
    names = tuple(
        name
        for name in drawing.work.analysis.schema.features
        if name in drawing.dataset.events.observers
    )
    weight = drawing.dataset.events.event_weight.numpy()[drawing.index].astype(np.float64)
    features = {}
    for name in names:
        values = drawing.dataset.column(name)[drawing.index]
        features[name] = _by_class(values, drawing.label, weight, bin_edges(values))
    return draw_features(features, units=drawing.units(names))


def _tree_inputs(drawing: Drawing) -> TreeInputs | None:
    """Return the recipe of the first model that works on jet trees."""
    for name in drawing.config.models:
        trees = load_folds(drawing.work.folder.model(name))[0].inputs.trees
        if trees is not None:
            return trees
    return None


def _jet_trees(drawing: Drawing) -> Figure:
    """Draw the first test jets of each class as they are, not in the standard frame."""
    inputs = _tree_inputs(drawing)
    assert inputs is not None
    plain = TreeInputs(inputs.collection, inputs.topology, preprocess=False, seed=inputs.seed)
    jets = {}
    for name, code in CLASSES.items():
        chosen = drawing.index[drawing.label == code][: drawing.config.report.example_trees]
        events = attach_trees(drawing.dataset.events.take(torch.from_numpy(chosen)), plain)
        for k in range(len(chosen)):
            trees = events.take(torch.tensor([k])).jet_trees
            assert trees is not None
            columns = dict(zip(NODE_FEATURES, trees.features.numpy().astype(float).T, strict=True))
            title = f"{name} jet" if len(chosen) == 1 else f"{name} jet {k + 1}"
            jets[title] = DrawnTree(
                pt=columns["pt"],
                eta=columns["eta"],
                phi=columns["phi"],
                energy=columns["energy"],
                depth=trees.depth.numpy(),
                is_inner=trees.is_inner.numpy(),
            )
    return draw_jet_trees(jets, note=f"{inputs.topology} tree")
