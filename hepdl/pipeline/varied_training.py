"""Training against a variation of the events: every version of them in the training part of a fit.

With the nuisance ``systematic`` in a decorrelation, the training part holds the varied events beside the nominal
ones. Each version has the same sum of weights in each class, and all of them together have that of the nominal
events alone. Whatever chooses and tests stays nominal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from hepdl.errors import DataError
from hepdl.events import Events, Inputs
from hepdl.events.split import PARTS
from hepdl.events.table import concatenate
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.dataset import Dataset
from hepdl.pipeline.stages.prepare import load_varied
from hepdl.pipeline.systematics import SYSTEMATIC, varied_dataset
from hepdl.pipeline.weighting import TrainingWeigher
from hepdl.pipeline.work import Work
from hepdl.schema import Schema

__all__ = ["load_varied_training", "with_varied_training"]

Floats = npt.NDArray[np.float64]
Parts = npt.NDArray[np.int8]

# The data set of the last fold, for all models and seeds of the fold.
CACHED = "varied training"


def load_varied_training(work: Work, nominal: Dataset, fold: int | None, inputs: Inputs) -> Dataset:
    """Return what a model that is trained against the variations is fitted with.

    Args:
        work: The run.
        nominal: All nominal events.
        fold: The fold that is left out; None without folds.
        inputs: Of the model.

    Raises:
        DataError: The events of a variation cannot be used.
    """
    # Fitted on nominal events, and shared by what is made from them.
    nominal.of_fold(fold).reconstruction(inputs)
    cached = work.cache.get(CACHED)
    if cached is None or cached[0] != fold:
        config, schema = work.analysis.config, work.analysis.schema
        variations = {
            name: varied_dataset(load_varied(work.folder, name), nominal, config, schema)
            for name in config.systematics.ttrees
        }
        made = with_varied_training(nominal, variations, fold, config, schema)
        cached = work.cache[CACHED] = (fold, made)
    found: Dataset = cached[1]
    return found


def with_varied_training(
    nominal: Dataset,
    variations: Mapping[str, Dataset],
    fold: int | None,
    config: AnalysisConfig,
    schema: Schema,
) -> Dataset:
    """Return the data set of one fold whose training part holds every version of the events.

    The observer ``systematic`` is 0 for nominal events. Validation and test part stay nominal, and so does the
    reconstruction.

    Args:
        nominal: All nominal events.
        variations: The varied events by ttree.
        fold: The fold that is left out; None without folds.
        config: The resolved configuration.
        schema: Names the features that mean weights depend on.

    Raises:
        DataError: A variation has no training event of a class, or weights that do not sum to something positive.
    """
    base = nominal.of_fold(fold)
    train = PARTS.index("train")
    n_versions = 1 + len(variations)
    weight = base.training_weight.copy()
    weight[base.part == train] /= n_versions
    versions, parts, weights = [_marked(base.events, 0.0)], [base.part], [weight]
    for name, varied in variations.items():
        part = varied.part if varied.folds is None or fold is None else varied.folds.part(fold)
        chosen = np.flatnonzero(part == train)
        own = _weights(base, varied, part, config, schema, where=f"variation {name}")
        some = varied.events.take(torch.from_numpy(chosen))
        versions.append(_marked(some, config.systematics.nuisance[name]))
        parts.append(part[chosen])
        weights.append(own[chosen] / n_versions)
    return replace(
        base,
        events=concatenate(versions),
        part=np.concatenate(parts),
        training_weight=np.concatenate(weights),
        _trees={},
        _particles={},
        _assigned={},
    )


def _weights(
    base: Dataset,
    varied: Dataset,
    part: Parts,
    config: AnalysisConfig,
    schema: Schema,
    *,
    where: str,
) -> Floats:
    """Return training weights of varied events; each class has the sum of the nominal training events."""
    wanted = config.weights.training
    weigher = TrainingWeigher(varied.events, wanted, wanted.reweight_features or schema.features)
    try:
        weight = weigher.weights(part)
    except DataError as error:
        message = f"{where}: {error}"
        raise DataError(message) from error
    train = PARTS.index("train")
    for code, kind in enumerate(("background", "signal")):
        inside = (part == train) & (varied.label == code)
        nominal = base.training_weight[(base.part == train) & (base.label == code)].sum()
        total = weight[inside].sum()
        if not total > 0:
            message = (
                f"{where}: the training weights of its {int(inside.sum())} {kind} entries sum to "
                f"{total:g}, which must be positive: more events are needed"
            )
            raise DataError(message)
        weight[inside] *= nominal / total
    return weight


def _marked(events: Events, value: float) -> Events:
    """Return events with the nuisance as an observer."""
    column = torch.full((len(events),), value, dtype=torch.float64)
    return replace(events, observers={**events.observers, SYSTEMATIC: column})
