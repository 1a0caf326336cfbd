"""The prepared events of a run with their parts and weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from hepdl.errors import DataError
from hepdl.events import (
    AssignedEvents,
    AssignmentInputs,
    Events,
    Inputs,
    Jagged,
    JetTrees,
    ParticleInputs,
    TreeInputs,
)
from hepdl.events.features import select_features
from hepdl.events.particles import attach_particles
from hepdl.events.split import PARTS, fold_of, in_validation, split_by_hash, split_by_value
from hepdl.events.trees import attach_trees
from hepdl.models.reconstruction.fitted import Reconstruction
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.reconstruction import (
    Reconstructor,
    assign,
    covers,
    needs_of,
    union,
    with_assignments,
)
from hepdl.pipeline.weighting import CLASSES, TrainingWeigher, balanced_weights, check_part
from hepdl.schema import Schema

__all__ = [
    "Dataset",
    "Folds",
    "arrange",
    "build_dataset",
    "evaluation_weights",
    "identity_of",
    "split_events",
]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Folds:
    """Events dealt out to folds: each one is tested by a model that was trained on the others.

    Attributes:
        n: Number of folds.
        fold: The fold of each event, ``(n_events,)``.
        validation: The events that choose wherever they do not test, ``(n_events,)``.
        weigher: Makes the training weights of each fold.
    """

    n: int
    fold: npt.NDArray[np.int32]
    validation: npt.NDArray[np.bool_]
    weigher: TrainingWeigher

    def part(self, fold: int) -> npt.NDArray[np.int8]:
        """Return the part of each event for the model that leaves ``fold`` out."""
        part = np.where(self.validation, PARTS.index("validation"), PARTS.index("train"))
        return np.where(self.fold == fold, PARTS.index("test"), part).astype(np.int8)


@dataclass(frozen=True)
class Dataset:
    """Events, the part that each belongs to, and the weights.

    With folds every event is in the test part, and what a fit needs comes from `of_fold`.

    Attributes:
        events: All parts together; ``event_weight`` is the physical weight.
        part: Index into ``PARTS`` of each event, ``(n_events,)``.
        training_weight: What the loss and the boosted trees use, ``(n_events,)``; with folds nan.
        folds: How the events are dealt out to folds, or None.
        reconstructor: Makes the reconstruction of the events, or None.
    """

    events: Events
    part: npt.NDArray[np.int8]
    training_weight: Array
    folds: Folds | None = None
    reconstructor: Reconstructor | None = None
    _of_fold: dict[int, Dataset] = field(default_factory=dict, repr=False)
    _trees: dict[TreeInputs, JetTrees] = field(default_factory=dict, repr=False)
    _particles: dict[ParticleInputs, Jagged] = field(default_factory=dict, repr=False)
    _assigned: dict[str, AssignedEvents] = field(default_factory=dict, repr=False)
    _fitted: list[Reconstruction] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.events)

    @property
    def label(self) -> npt.NDArray[np.int64]:
        """1 for signal, 0 for background, ``(n_events,)``."""
        return np.asarray(self.events.label.numpy())

    def reconstruction(self, inputs: Inputs) -> Reconstruction | None:
        """Return what assigns objects for a model, fitted on our training part, once.

        Args:
            inputs: Of the model; for one that takes no assignments there is none.

        Raises:
            DataError: The training part cannot teach it.
        """
        if self.reconstructor is None or needs_of(inputs, self.events.observers) is None:
            return None
        if not self._fitted:
            made = self.reconstructor.unfitted()
            train = self.events.take(torch.from_numpy(self.index("train")))
            made.fit(train, seed=self.reconstructor.seed)
            self._fitted.append(made)
        return self._fitted[0]

    def assigned(self, reconstruction: Reconstruction, needed: AssignmentInputs) -> AssignedEvents:
        """Return the assignments of all events, made once for all models."""
        key = reconstruction.key
        found = self._assigned.get(key)
        if found is None or not covers(found, needed):
            if self.reconstructor is not None:
                needed = union(needed, self.reconstructor.needs)
            found = self._assigned[key] = assign(self.events, reconstruction, needed)
        return found

    def arranged(self, inputs: Inputs, reconstruction: Reconstruction | None = None) -> Events:
        """Return all events with what a model needs; each recipe is followed once.

        Args:
            inputs: Of the model.
            reconstruction: That the model was trained with; without it, our own.
        """
        events = self.events
        needed = needs_of(inputs, events.observers)
        if needed is not None:
            made = reconstruction or self.reconstruction(inputs)
            found = assign(events, made, needed) if made is None else self.assigned(made, needed)
            events = with_assignments(events, inputs, found)
        events = select_features(events, inputs.features)
        if inputs.trees is not None:
            if inputs.trees not in self._trees:
                trees = attach_trees(self.events, inputs.trees).jet_trees
                assert trees is not None
                self._trees[inputs.trees] = trees
            events = replace(events, jet_trees=self._trees[inputs.trees])
        if inputs.particles is not None:
            if inputs.particles not in self._particles:
                particles = attach_particles(self.events, inputs.particles).particles
                assert particles is not None
                self._particles[inputs.particles] = particles
            events = replace(events, particles=self._particles[inputs.particles])
        return replace(events, collections={})

    def index(self, part: str) -> npt.NDArray[np.int64]:
        """Return the positions of the events of one part."""
        return np.flatnonzero(self.part == PARTS.index(part))

    def trained_index(self) -> npt.NDArray[np.int64]:
        """Return the positions of the events that a model was trained on.

        With folds: those that the model of the next fold was trained on, so each one at most once.
        """
        if self.folds is None:
            return self.index("train")
        return np.flatnonzero(~self.folds.validation)

    def rows_of_fold(self, fold: int | None) -> npt.NDArray[np.int64]:
        """Return the positions of the events of a fold; of all events without folds."""
        if fold is None or self.folds is None:
            return np.arange(len(self))
        return np.flatnonzero(self.folds.fold == fold)

    def of_fold(self, fold: int | None) -> Dataset:
        """Return the same events with the parts and training weights of one fold.

        Args:
            fold: The fold that is left out for testing; None without folds.
        """
        if fold is None or self.folds is None:
            return self
        if fold not in self._of_fold:
            part = self.folds.part(fold)
            try:
                weight = self.folds.weigher.weights(part)
            except DataError as error:
                message = f"fold {fold} of {self.folds.n}: {error}"
                raise DataError(message) from error
            self._of_fold[fold] = replace(
                self, part=part, training_weight=weight, folds=None, _of_fold={}, _fitted=[]
            )
        return self._of_fold[fold]

    def training_events(self, events: Events, part: str) -> Events:
        """Return one part of ``events`` (the same rows as ours) with its training weight."""
        if self.folds is not None:
            message = f"these events have {self.folds.n} folds: take the parts of `of_fold(fold)`"
            raise DataError(message)
        index = self.index(part)
        chosen = events.take(torch.from_numpy(index))
        weight = torch.from_numpy(self.training_weight[index])
        return chosen.with_event_weight(weight)

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """Return one flat field of every event, ``(n_events,)``."""
        return np.asarray(self.events.observers[name].numpy(), dtype=np.float64)

    def columns(self, names: tuple[str, ...]) -> dict[str, Array]:
        """Return several flat fields by name."""
        return {name: self.column(name) for name in names}

    def groups(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return what names the collision of each entry: process, run and event number.

        Shapes:
            index ``(n_taken,)`` → ``(n_taken, 3)``.
        """
        columns = (self.events.process, self.events.run_number, self.events.event_number)
        return np.stack([column.numpy()[index] for column in columns], axis=1)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of signal and background entries of each part.

        With folds every entry is tested; the other parts are means over the folds.
        """
        if self.folds is None:
            return _counts(self.label, self.part)
        by_fold = list(self.fold_counts().values())
        means = {
            part: {
                name: round(sum(counts[part][name] for counts in by_fold) / self.folds.n)
                for name in CLASSES
            }
            for part in PARTS
        }
        return means | {"test": _counts(self.label, self.part)["test"]}

    def fold_counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the counts of the parts of each fold; empty without folds."""
        if self.folds is None:
            return {}
        return {str(f): _counts(self.label, self.folds.part(f)) for f in range(self.folds.n)}


def _counts(label: npt.NDArray[np.int64], part: npt.NDArray[np.int8]) -> dict[str, dict[str, int]]:
    return {
        name: {
            text: int(((part == code) & (label == value)).sum()) for text, value in CLASSES.items()
        }
        for code, name in enumerate(PARTS)
    }


def arrange(events: Events, inputs: Inputs, reconstruction: Reconstruction | None = None) -> Events:
    """Return events with what a model needs, and nothing else.

    Args:
        events: The events.
        inputs: Of the model: features, jet trees, particles, assignments.
        reconstruction: What assigns objects to a decay, if the model needs that.
    """
    needed = needs_of(inputs, events.observers)
    if needed is not None:
        events = with_assignments(events, inputs, assign(events, reconstruction, needed))
    arranged = select_features(events, inputs.features)
    if inputs.trees is not None:
        arranged = attach_trees(arranged, inputs.trees)
    if inputs.particles is not None:
        arranged = attach_particles(arranged, inputs.particles)
    return replace(arranged, collections={})


def build_dataset(events: Events, config: AnalysisConfig, schema: Schema) -> Dataset:
    """Split and weight prepared events.

    Args:
        events: All selected events of all processes.
        config: The resolved configuration.
        schema: For the expression of a split by expression, and the features of the events.

    Raises:
        DataError: A part (of a fold) lacks a class, or the weights of a class do not sum to
            something positive.
    """
    wanted = config.weights.training
    reconstructor = Reconstructor.of(config, schema)
    weigher = TrainingWeigher(events, wanted, wanted.reweight_features or schema.features)
    if config.split.folds is None:
        part = split_events(events, config, schema)
        _check_parts(events, part, wanted.negative, where="the")
        return Dataset(events, part, weigher.weights(part), reconstructor=reconstructor)
    folds = Folds(
        config.split.folds,
        fold_of(events.event_number.numpy(), config.split.folds),
        in_validation(*identity_of(events, config), fraction=config.split.validation_fraction),
        weigher,
    )
    # What is wrong with the events of a fold is found before it is missed in the others.
    for parts in (("test",), ("train", "validation")):
        for fold in range(folds.n):
            where = f"fold {fold} of {folds.n} (event_number % {folds.n} = {fold}): the"
            _check_parts(events, folds.part(fold), wanted.negative, where=where, parts=parts)
    everything = np.full(len(events), PARTS.index("test"), dtype=np.int8)
    return Dataset(events, everything, np.full(len(events), np.nan), folds, reconstructor)


def _check_parts(
    events: Events,
    part: npt.NDArray[np.int8],
    policy: str,
    *,
    where: str,
    parts: tuple[str, ...] = PARTS,
) -> None:
    for name in parts:
        # The test part is evaluated with the physical weight, whatever its sign.
        check_part(
            events,
            part == PARTS.index(name),
            "keep" if name == "test" else policy,
            where=f"{where} {name} part",
        )


def identity_of(
    events: Events, config: AnalysisConfig
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return process, run number and event number, without those that are not in the key."""
    key = config.split.key
    processes = np.asarray(events.process_names)[events.process.numpy()]
    if "process" not in key:
        processes = np.full_like(processes, "")
    run_number = events.run_number.numpy()
    if "run_number" not in key:
        run_number = np.zeros_like(run_number)
    return processes, run_number, events.event_number.numpy()


def split_events(events: Events, config: AnalysisConfig, schema: Schema) -> npt.NDArray[np.int8]:
    """Return the part of each event by the split of the configuration, which has no folds."""
    split = config.split
    identity = identity_of(events, config)
    if split.expression is None or split.parts is None:
        fractions = {str(name): share for name, share in split.fractions.items()}
        return split_by_hash(*identity, fractions)
    fields = {name: column.numpy() for name, column in events.observers.items()}
    fields |= {
        "event_number": events.event_number.numpy(),
        "run_number": events.run_number.numpy(),
    }
    values = schema.expression(split.expression, where="split.expression").evaluate(fields)
    return split_by_value(
        np.asarray(values),
        {str(name): members for name, members in split.parts.items()},
        *identity,
        validation_fraction=split.validation_fraction,
    )


def evaluation_weights(
    dataset: Dataset, index: npt.NDArray[np.int64], flatten: tuple[str, ...]
) -> Array:
    """Return the physical weights, flattened and with equal sums of both classes.

    The common spectrum is that of the evaluated events themselves, as in the paper: a map fitted on
    other events would leave their statistical fluctuations between the classes.

    Args:
        dataset: All events.
        index: Positions of the events to be evaluated.
        flatten: Fields whose spectra are made the same in both classes.
    """
    weight = np.asarray(dataset.events.event_weight.numpy()[index], dtype=np.float64)
    columns = {name: dataset.column(name)[index] for name in flatten}
    return balanced_weights(columns, dataset.label[index], weight)
