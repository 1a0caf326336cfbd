"""The prepared events of a run with their parts and weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from hepdl.errors import DataError
from hepdl.events import Events, Inputs, JetTrees, TreeInputs
from hepdl.events.features import select_features
from hepdl.events.split import PARTS, split_by_hash, split_by_value
from hepdl.events.trees import attach_trees
from hepdl.events.weights import Flattener, apply_negative_policy, balance
from hepdl.pipeline.config import AnalysisConfig
from hepdl.schema import Schema

__all__ = ["Dataset", "arrange", "build_dataset", "evaluation_weights"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dataset:
    """Events, the part that each belongs to, and the weights.

    Attributes:
        events: All parts together; ``event_weight`` is the physical weight.
        part: Index into ``PARTS`` of each event, ``(n_events,)``.
        training_weight: What the loss and the boosted trees use, ``(n_events,)``.
    """

    events: Events
    part: npt.NDArray[np.int8]
    training_weight: Array
    _trees: dict[TreeInputs, JetTrees] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.events)

    @property
    def label(self) -> npt.NDArray[np.int64]:
        """1 for signal, 0 for background, ``(n_events,)``."""
        return np.asarray(self.events.label.numpy())

    def arranged(self, inputs: Inputs) -> Events:
        """Return all events with what a model needs; jet trees are built once per recipe."""
        if inputs.trees is None:
            return arrange(self.events, inputs)
        if inputs.trees not in self._trees:
            built = attach_trees(self.events, inputs.trees).jet_trees
            assert built is not None
            self._trees[inputs.trees] = built
        events = select_features(self.events, inputs.features)
        return replace(events, jet_trees=self._trees[inputs.trees], collections={})

    def index(self, part: str) -> npt.NDArray[np.int64]:
        """Return the positions of the events of one part."""
        return np.flatnonzero(self.part == PARTS.index(part))

    def of_fold(self, fold: int | None) -> Dataset:
        """Return the same events with the parts and training weights of one fold."""
        assert fold is None
        return self

    def training_events(self, events: Events, part: str) -> Events:
        """Return one part of ``events`` (the same rows as ours) with its training weight."""
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
        """Return the number of signal and background entries of each part."""
        return {
            part: {
                "signal": int(self.label[self.index(part)].sum()),
                "background": int((1 - self.label[self.index(part)]).sum()),
            }
            for part in PARTS
        }


def arrange(events: Events, inputs: Inputs) -> Events:
    """Return events with what a model needs, and nothing else: its features, its jet trees."""
    arranged = select_features(events, inputs.features)
    if inputs.trees is not None:
        arranged = attach_trees(arranged, inputs.trees)
    return replace(arranged, collections={})


def build_dataset(events: Events, config: AnalysisConfig, schema: Schema) -> Dataset:
    """Split and weight prepared events.

    Args:
        events: All selected events of all processes.
        config: The resolved configuration.
        schema: For the expression of a split by expression.

    Raises:
        DataError: A part lacks a class, or the weights of a class do not sum to something positive.
    """
    part = _split(events, config, schema)
    label = np.asarray(events.label.numpy())
    for code, name in enumerate(PARTS):
        have = {int(value) for value in np.unique(label[part == code])}
        if have != {0, 1}:
            missing = [
                text for value, text in ((1, "signal"), (0, "background")) if value not in have
            ]
            message = (
                f"the {name} part has no {' and no '.join(missing)} entry "
                f"({int((part == code).sum())} of {len(part)} entries are in it): "
                "more events are needed, or another split"
            )
            raise DataError(message)
    return Dataset(events, part, _training_weights(events, part, config))


def _split(events: Events, config: AnalysisConfig, schema: Schema) -> npt.NDArray[np.int8]:
    split = config.split
    processes = np.asarray(events.process_names)[events.process.numpy()]
    if "process" not in split.key:
        processes = np.full_like(processes, "")
    run_number = events.run_number.numpy()
    if "run_number" not in split.key:
        run_number = np.zeros_like(run_number)
    event_number = events.event_number.numpy()
    if split.expression is None or split.parts is None:
        fractions = {str(name): share for name, share in split.fractions.items()}
        return split_by_hash(processes, run_number, event_number, fractions)
    fields = {name: column.numpy() for name, column in events.observers.items()}
    fields |= {"event_number": event_number, "run_number": events.run_number.numpy()}
    values = schema.expression(split.expression, where="split.expression").evaluate(fields)
    return split_by_value(
        np.asarray(values),
        {str(name): members for name, members in split.parts.items()},
        processes,
        run_number,
        event_number,
        validation_fraction=split.validation_fraction,
    )


def _training_weights(events: Events, part: npt.NDArray[np.int8], config: AnalysisConfig) -> Array:
    """Fit everything on the training part alone; balance each part in itself."""
    wanted = config.weights.training
    label = np.asarray(events.label.numpy())
    weight = apply_negative_policy(
        np.asarray(events.event_weight.numpy(), dtype=np.float64), wanted.negative
    )
    if wanted.flatten:
        columns = {name: events.observers[name].numpy() for name in wanted.flatten}
        train = part == PARTS.index("train")
        flattener = Flattener.fit(
            {name: column[train] for name, column in columns.items()}, label[train], weight[train]
        )
        weight = weight * flattener.weights(columns, label)
    if wanted.balance:
        weight = weight.copy()
        for code in range(len(PARTS)):
            inside = part == code
            weight[inside] = balance(label[inside], weight[inside])
    return weight


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
    label = dataset.label[index]
    weight = np.asarray(dataset.events.event_weight.numpy()[index], dtype=np.float64)
    if flatten:
        columns = {name: dataset.column(name)[index] for name in flatten}
        weight = weight * Flattener.fit(columns, label, weight).weights(columns, label)
    return balance(label, weight)
