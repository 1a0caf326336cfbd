"""``ams`` of each model: the significance with a background that a nuisance of two values moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.shifted_significance import ShiftedScan, shifted_significance_scan
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.dataset import Dataset
from hepdl.pipeline.scores import Scores
from hepdl.report.shifted import draw_shifted_significance

__all__ = ["draw_ams", "shifted_numbers"]


def shifted_numbers(
    dataset: Dataset, scores: Scores, config: AnalysisConfig
) -> dict[str, dict[str, Any]]:
    """Return the numbers of each model: validation events choose the cut, test events are measured.

    Args:
        dataset: All events.
        scores: Of all events.
        config: With ``evaluate.ams``.
    """
    return {name: _numbers(dataset, found.chosen, config) for name, found in scores.items()}


def _numbers(
    dataset: Dataset, scores: npt.NDArray[np.float32], config: AnalysisConfig
) -> dict[str, Any]:
    try:
        chosen = _scan(dataset, scores, config, part="validation", n_replicas=2)
        best = int(np.nanargmax(chosen.value))
        cut = float(chosen.thresholds[best])
        test = _scan(dataset, scores, config, part="test", thresholds=np.array([cut]))
    except (DataError, ValueError) as error:
        return {"note": str(error)}
    measured = Interval.from_replicas(float(test.value[0]), test.replicas[:, 0])
    return {
        **measured.as_dict(),
        "cut": cut,
        "signal": float(test.signal[0]),
        "background": float(test.background[0]),
        "shift": float(test.shift[0]),
        "signal_efficiency": float(test.signal_efficiency[0]),
    }


def draw_ams(
    dataset: Dataset, scores: Scores, config: AnalysisConfig, numbers: Mapping[str, Any]
) -> Figure:
    """Draw the significance of the test events against the cut.

    Args:
        dataset: All events.
        scores: Of all events.
        config: With ``evaluate.ams``.
        numbers: ``models`` of metrics.json.
    """
    scans = {
        name: _scan(dataset, found.chosen, config, part="test")
        for name, found in scores.items()
        if "note" not in numbers[name]["ams"]
    }
    return draw_shifted_significance(scans, numbers={n: numbers[n]["ams"] for n in scans})


def _scan(
    dataset: Dataset,
    scores: npt.NDArray[np.float32],
    config: AnalysisConfig,
    *,
    part: str,
    thresholds: npt.NDArray[np.float64] | None = None,
    n_replicas: int | None = None,
) -> ShiftedScan:
    wanted = config.evaluate.ams
    assert wanted is not None
    index = dataset.index(part)
    nuisance = dataset.column(wanted.nuisance)[index]
    values = np.unique(nuisance)
    if len(values) != 2:
        message = f"evaluate.ams.nuisance: {wanted.nuisance} has {len(values)} values in the {part} part, not 2"
        raise DataError(message)
    return shifted_significance_scan(
        dataset.label[index],
        scores[index],
        nuisance == values[1],
        dataset.events.event_weight.numpy()[index],
        bootstrap=Bootstrap(
            dataset.groups(index), n_replicas=n_replicas or config.evaluate.bootstrap_replicas
        ),
        signal=wanted.signal,
        background=wanted.background,
        thresholds=thresholds,
    )
