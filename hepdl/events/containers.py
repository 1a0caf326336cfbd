"""Events in memory: flat tensors with offsets, never padded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hepdl.events.assigned import AssignedEvents

if TYPE_CHECKING:
    from torch_geometric.data import Batch

__all__ = ["Events", "Jagged", "JetTrees", "gather_rows"]

# The tensors of `Events` with one row per event.
_COLUMNS = ("event_number", "run_number", "process", "label", "event_weight", "flat", "nuisance")
# Slices that are made together.
_GROUP = 256


def gather_rows(offsets: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of the chosen entries of a jagged array, and their new offsets.

    Args:
        offsets: First row of each entry, and the number of rows at the end.
        index: The entries wanted, in the order wanted.

    Shapes:
        offsets ``(n_events + 1,)``, index ``(n_taken,)`` → rows ``(n_rows_taken,)``,
        new offsets ``(n_taken + 1,)``; all int64, on one device.

    >>> rows, new = gather_rows(torch.tensor([0, 2, 2, 5]), torch.tensor([2, 0]))
    >>> rows.tolist(), new.tolist()
    ([2, 3, 4, 0, 1], [0, 3, 5])
    """
    starts = offsets[index]
    counts = offsets[index + 1] - starts
    new_offsets = torch.zeros(len(index) + 1, dtype=torch.int64, device=offsets.device)
    torch.cumsum(counts, 0, out=new_offsets[1:])
    shift = torch.repeat_interleave(starts - new_offsets[:-1], counts)
    return torch.arange(len(shift), device=offsets.device) + shift, new_offsets


class _SlicedColumns(Mapping[str, Tensor]):
    """Columns of which a range of rows is looked at when it is asked for, not before.

    A minibatch of training rarely looks at its observers, and there may be dozens.
    """

    def __init__(self, columns: Mapping[str, Tensor], first: int, end: int) -> None:
        self._columns, self._first, self._end = columns, first, end

    def __getitem__(self, name: str) -> Tensor:
        return self._columns[name][self._first : self._end]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return repr(dict(self))


@dataclass(frozen=True)
class Jagged:
    """A collection with a varying number of rows per event.

    Attributes:
        values: All rows of all events, one after the other, ``(n_rows, n_columns)`` float32.
        offsets: First row of each event, ``(n_events + 1,)`` int64.
        columns: Name of each column.
    """

    values: Tensor
    offsets: Tensor
    columns: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Tensor:
        """Number of rows of each event, ``(n_events,)``."""
        return self.offsets.diff()

    def take(self, index: Tensor) -> Jagged:
        """Return the chosen events, in the order of ``index``."""
        rows, offsets = gather_rows(self.offsets, index)
        return Jagged(self.values.index_select(0, rows), offsets, self.columns)

    @cached_property
    def host_offsets(self) -> npt.NDArray[np.int64]:
        """The offsets in the memory of the host, ``(n_events + 1,)``.

        They are kept, and slices inherit them, so that minibatches on another device need not
        wait for it.
        """
        return np.asarray(self.offsets.cpu().numpy())

    def slice(self, first: int, end: int) -> Jagged:
        """Return the events ``first`` to ``end - 1``; their rows are looked at, not copied."""
        host = self.host_offsets[first : end + 1]
        rows = slice(host[0], host[-1])
        chosen = Jagged(self.values[rows], self.offsets[first : end + 1] - rows.start, self.columns)
        chosen.__dict__["host_offsets"] = host - host[0]
        return chosen

    def to(self, device: torch.device | str) -> Jagged:
        """Return the same collection on ``device``."""
        return Jagged(self.values.to(device), self.offsets.to(device), self.columns)


@dataclass(frozen=True)
class JetTrees:
    """The binary clustering history of each jet, nodes in breadth-first order.

    Within a jet the root comes first and each level follows the one above it: the children of
    the k-th inner node of a level are the nodes 2k and 2k + 1 of the next level, the one of larger
    transverse momentum first. So the order, ``depth`` and ``is_inner`` are the whole tree.

    Attributes:
        features: Features of each node, ``(n_nodes, n_features)`` float32.
        depth: Distance of each node from its root, ``(n_nodes,)`` int64.
        is_inner: True for nodes with two children, ``(n_nodes,)``.
        offsets: First node of each jet, ``(n_jets + 1,)`` int64.
    """

    features: Tensor
    depth: Tensor
    is_inner: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, index: Tensor) -> JetTrees:
        """Return the chosen jets, in the order of ``index``."""
        rows, offsets = gather_rows(self.offsets, index)
        return JetTrees(
            self.features.index_select(0, rows),
            self.depth.index_select(0, rows),
            self.is_inner.index_select(0, rows),
            offsets,
        )

    @cached_property
    def host_offsets(self) -> npt.NDArray[np.int64]:
        """The offsets in the memory of the host, ``(n_jets + 1,)``."""
        return np.asarray(self.offsets.cpu().numpy())

    def slice(self, first: int, end: int) -> JetTrees:
        """Return the jets ``first`` to ``end - 1``; their nodes are looked at, not copied."""
        rows = slice(self.host_offsets[first], self.host_offsets[end])
        offsets = self.offsets[first : end + 1] - rows.start
        return JetTrees(self.features[rows], self.depth[rows], self.is_inner[rows], offsets)

    def to(self, device: torch.device | str) -> JetTrees:
        """Return the same trees on ``device``."""
        return JetTrees(
            self.features.to(device),
            self.depth.to(device),
            self.is_inner.to(device),
            self.offsets.to(device),
        )


@dataclass(frozen=True)
class Events:
    """A table of entries (jets or events): what every model, loss and loop works on.

    Attributes:
        event_number: ``(n_events,)`` int64. Never goes through floating point.
        run_number: ``(n_events,)`` int64.
        process: Index into ``process_names``, ``(n_events,)`` int64.
        label: 1 for signal, 0 for background, ``(n_events,)`` int64.
        event_weight: The weight to be used with these events, ``(n_events,)`` float32; may be
            negative. Which weight it is (training or physical) is the caller's choice:
            see ``with_event_weight``.
        flat: One number per entry and feature, ``(n_events, n_features)`` float32.
        feature_names: Name of each column of ``flat``.
        nuisance: ``(n_events, n_nuisances)`` float32.
        nuisance_names: Name of each column of ``nuisance``.
        collections: Jagged collections by name, e.g. the constituents of the jets.
        observers: Columns that ride along for plots and working points, by name, ``(n_events,)``.
        jet_trees: The clustering history of each entry, or None.
        particles: The particles of each entry as a model takes them, by falling pT, or None.
        process_names: Name of each process.
        assignments: The best assignments of each entry to a decay, or None.
        truth_names: Observers, and columns of collections as ``collection.column``, that data do
            not have: no model may take them as an input.
    """

    event_number: Tensor
    run_number: Tensor
    process: Tensor
    label: Tensor
    event_weight: Tensor
    flat: Tensor
    feature_names: tuple[str, ...]
    nuisance: Tensor
    nuisance_names: tuple[str, ...] = ()
    collections: Mapping[str, Jagged] = field(default_factory=dict)
    observers: Mapping[str, Tensor] = field(default_factory=dict)
    jet_trees: JetTrees | None = None
    process_names: tuple[str, ...] = ()
    particles: Jagged | None = None
    assignments: AssignedEvents | None = None
    truth_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.event_number)

    @property
    def device(self) -> torch.device:
        """The device that holds the events."""
        return self.event_number.device

    def take(self, index: Tensor) -> Events:
        """Return the chosen events, in the order of ``index`` (int64 positions)."""
        # Several times as fast as indexing on a CPU.
        return replace(
            self,
            event_number=self.event_number.index_select(0, index),
            run_number=self.run_number.index_select(0, index),
            process=self.process.index_select(0, index),
            label=self.label.index_select(0, index),
            event_weight=self.event_weight.index_select(0, index),
            flat=self.flat.index_select(0, index),
            nuisance=self.nuisance.index_select(0, index),
            collections={name: rows.take(index) for name, rows in self.collections.items()},
            observers={
                name: column.index_select(0, index) for name, column in self.observers.items()
            },
            jet_trees=None if self.jet_trees is None else self.jet_trees.take(index),
            particles=None if self.particles is None else self.particles.take(index),
            assignments=None if self.assignments is None else self.assignments.take(index),
        )

    def slice(self, first: int, end: int) -> Events:
        """Return the events ``first`` to ``end - 1`` as views: no row is copied.

        Observers are looked at when they are asked for.

        Raises:
            IndexError: ``first`` and ``end`` are no range of these events.
        """
        if not 0 <= first <= end <= len(self):
            message = f"events {first} to {end} are no range of {len(self)} events"
            raise IndexError(message)
        rows = slice(first, end)
        return self._view(first, end, {name: getattr(self, name)[rows] for name in _COLUMNS})

    def split(self, sizes: Sequence[int]) -> Iterator[Events]:
        """Yield consecutive slices of the given sizes; at less cost than one by one.

        A loop does this for every minibatch: it takes a few microseconds each.
        """
        end = 0
        # In groups, so that millions of minibatches are no millions of tensors at once.
        for group in (sizes[i : i + _GROUP] for i in range(0, len(sizes), _GROUP)):
            whole = slice(end, end + sum(group))
            parts = [getattr(self, name)[whole].split(group) for name in _COLUMNS]
            for columns in zip(group, *parts, strict=True):
                first, end = end, end + columns[0]
                yield self._view(first, end, dict(zip(_COLUMNS, columns[1:], strict=True)))

    def _view(self, first: int, end: int, columns: dict[str, Tensor]) -> Events:
        # dataclasses.replace would look at each of the fields; this is a fifth of a step's budget.
        chosen = object.__new__(type(self))
        chosen.__dict__.update(
            self.__dict__,
            collections={n: part.slice(first, end) for n, part in self.collections.items()},
            observers=_SlicedColumns(self.observers, first, end),
            jet_trees=None if self.jet_trees is None else self.jet_trees.slice(first, end),
            particles=None if self.particles is None else self.particles.slice(first, end),
            assignments=None if self.assignments is None else self.assignments.slice(first, end),
            **columns,
        )
        return chosen

    def to(self, device: torch.device | str) -> Events:
        """Return the same events on ``device``."""
        return replace(
            self,
            event_number=self.event_number.to(device),
            run_number=self.run_number.to(device),
            process=self.process.to(device),
            label=self.label.to(device),
            event_weight=self.event_weight.to(device),
            flat=self.flat.to(device),
            nuisance=self.nuisance.to(device),
            collections={name: rows.to(device) for name, rows in self.collections.items()},
            observers={name: column.to(device) for name, column in self.observers.items()},
            jet_trees=None if self.jet_trees is None else self.jet_trees.to(device),
            particles=None if self.particles is None else self.particles.to(device),
            assignments=None if self.assignments is None else self.assignments.to(device),
        )

    def to_pyg(self, kind: str = "particles") -> Batch:
        """Return a torch-geometric graph for each event; see ``hepdl.events.graphs.to_pyg``.

        Args:
            kind: ``"particles"`` or ``"jet_trees"``.
        """
        from hepdl.events.graphs import to_pyg

        return to_pyg(self, kind)

    def with_event_weight(self, event_weight: Tensor) -> Events:
        """Return the same events with another weight, ``(n_events,)``."""
        return replace(self, event_weight=event_weight.to(torch.float32))
