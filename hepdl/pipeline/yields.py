"""From weights to numbers of events at a luminosity.

The physical weight of an event is ``w * cross_section * k_factor * filter_efficiency * luminosity /
sum_of_weights``, with cross-sections in pb and the luminosity in 1/fb. The weights of a part (of the test
part, for example) are scaled to those of all events of the process, so that their sum is the whole yield.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.events import Events
from hepdl.events.split import PARTS
from hepdl.io import sum_branch
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.data_config import ProcessConfig
from hepdl.schema import Schema

__all__ = ["Normalisation", "measure_yields", "sums_of_weights", "yield_problems"]

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Parts = npt.NDArray[np.int8]

FB_PER_PB = 1000.0


@dataclass(frozen=True)
class Normalisation:
    """What a weight of 1 is worth, for each process and part.

    Attributes:
        per_weight: Events a weight of 1, by process, in the order of ``process_names``.
        whole: Sum of weights of all events over that of the part; 0 where a process is not in a part.

    Shapes:
        per_weight ``(n_processes,)``, whole ``(n_processes, n_parts)``.
    """

    per_weight: Floats
    whole: Floats = field(repr=False)

    @classmethod
    def of(
        cls, events: Events, part: Parts, config: AnalysisConfig, sums: Mapping[str, float]
    ) -> Normalisation:
        """Return that of the nominal events.

        Args:
            events: All selected events of all processes.
            part: Index into ``PARTS`` of each event.
            config: The resolved configuration, with a luminosity.
            sums: Sum of weights of the generated events of each process.

        Shapes:
            part ``(n_events,)``.

        Raises:
            DataError: A process has no test event, or weights in a part that do not sum to something positive.
        """
        assert config.evaluate.luminosity is not None
        names = events.process_names
        worth = [
            _events_per_weight(config.processes[name], config.evaluate.luminosity, sums[name])
            for name in names
        ]
        weight = events.event_weight.numpy().astype(np.float64)
        process = events.process.numpy()
        flat = process * len(PARTS) + part
        shape = (len(names), len(PARTS))
        size = len(names) * len(PARTS)
        sums_inside = np.bincount(flat, weights=weight, minlength=size)
        inside = np.asarray(sums_inside.reshape(shape), dtype=np.float64)
        counts = np.bincount(flat, minlength=size).reshape(shape)
        _check_parts(names, inside, counts)
        whole = np.divide(
            inside.sum(axis=1, keepdims=True), inside, out=np.zeros(shape), where=counts > 0
        )
        return cls(np.array(worth), whole)

    def weights(self, events: Events, part: Parts) -> Floats:
        """Return the physical weight of each event; over one part they sum to the whole yield.

        Args:
            events: The nominal events, some of them, or a variation of them.
            part: Index into ``PARTS`` of each event.

        Shapes:
            part ``(n_events,)`` → ``(n_events,)``.
        """
        process = events.process.numpy()
        weight = events.event_weight.numpy().astype(np.float64)
        return np.asarray(weight * self.per_weight[process] * self.whole[process, part])


def measure_yields(
    events: Events, physical: Floats, chosen: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """Return the yield of each process, as ``yields`` in ``metrics.json``, and log it.

    Args:
        events: All events.
        physical: Their physical weights.
        chosen: Positions of the test events.

    Shapes:
        physical ``(n_events,)``, chosen ``(n_chosen,)``.
    """
    found = {}
    for code, name in enumerate(events.process_names):
        weight = physical[chosen[events.process.numpy()[chosen] == code]]
        value, squares = float(weight.sum()), float(np.square(weight).sum())
        found[name] = {
            "value": value,
            "statistical_error": math.sqrt(squares),
            "n_entries": len(weight),
            "n_effective": value**2 / squares if squares > 0 else 0.0,
        }
    words = ", ".join(
        f"{name} {entry['value']:.4g} +- {entry['statistical_error']:.2g}"
        for name, entry in found.items()
    )
    log.info("yields: %s", words)
    return found


def sums_of_weights(
    files: Mapping[str, list[str]], config: AnalysisConfig, schema: Schema, *, skip_bad_files: bool
) -> dict[str, float]:
    """Return the sum of weights of all generated events of each process; nothing without a luminosity.

    Args:
        files: Those of each process.
        config: The resolved configuration.
        schema: Knows what a field is called in the files.
        skip_bad_files: Whether files that cannot be opened are left out.

    Raises:
        SchemaError: There is no such branch.
        DataError: A sum is not above 0.
    """
    if config.evaluate.luminosity is None:
        return {}
    sums = {}
    for name, process in config.processes.items():
        if name in config.unlabelled:
            continue
        wanted = process.sum_of_weights
        if isinstance(wanted, float):
            sums[name] = wanted
            continue
        assert wanted is not None
        known = schema.branches.get(wanted)
        branch = wanted if known is None else known.branch
        total = sum_branch(files[name], branch, ttree=schema.ttree, skip_bad_files=skip_bad_files)
        if not total > 0:
            message = (
                f"processes.{name}.sum_of_weights: {wanted} sums to {total:g} over all entries, which must be "
                "above 0; name the branch with the weights of all generated events, or give their sum"
            )
            raise DataError(message)
        log.info("%s: the weights of all generated events sum to %.6g (%s)", name, total, wanted)
        sums[name] = total
    return sums


def yield_problems(config: AnalysisConfig, *, file: str) -> list[str]:
    """Return what is missing for yields; an empty list if nothing is.

    Args:
        config: The resolved configuration.
        file: Its name, for messages.
    """
    wanted = config.evaluate
    if wanted.luminosity is None:
        if wanted.background_uncertainty > 0:
            message = (
                f"evaluate.background_uncertainty in {file}: an uncertainty of "
                f"{wanted.background_uncertainty:g} needs a luminosity, "
                "e.g. `luminosity: 140.0` [1/fb] below evaluate"
            )
            return [message]
        return []
    why = f"evaluate.luminosity is {wanted.luminosity:g} /fb"
    problems = []
    for name, process in config.processes.items():
        if name in config.unlabelled:
            continue
        if process.cross_section is None:
            problems.append(
                f"processes.{name}.cross_section in {file}: this key is required, since {why}; in pb"
            )
        if process.sum_of_weights is None:
            problems.append(
                f"processes.{name}.sum_of_weights in {file}: this key is required, since {why}; the sum of the "
                "weights of all generated events, or the branch that holds them, never that of the selected ones"
            )
    return problems


def _events_per_weight(process: ProcessConfig, luminosity: float, sum_of_weights: float) -> float:
    """Return how many events a weight of 1 stands for."""
    assert process.cross_section is not None
    effective = process.cross_section * process.k_factor * process.filter_efficiency
    return effective * FB_PER_PB * luminosity / sum_of_weights


def _check_parts(
    names: tuple[str, ...], inside: Floats, counts: npt.NDArray[np.integer[Any]]
) -> None:
    problems = []
    for name, sums, numbers in zip(names, inside, counts, strict=True):
        if not numbers[PARTS.index("test")]:
            problems.append(
                f"process {name}: none of its {numbers.sum()} selected entries is in the test part, and its "
                "yield would be missing: more events are needed, or another split"
            )
        problems += [
            f"process {name}: the event weights of its {number} entries in the {part} part sum to {total:g}, "
            "which must be positive for a yield: more events are needed, or another split"
            for part, total, number in zip(PARTS, sums, numbers, strict=True)
            if number and not total > 0
        ]
    if problems:
        raise DataError("\n".join(problems))
