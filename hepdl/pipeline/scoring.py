"""Scores of saved models for events in memory: one place for evaluation and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hepdl.events import Events
from hepdl.pipeline.dataset import arrange
from hepdl.pipeline.saved import SavedModel
from hepdl.train.state.scoring import predict_scores

__all__ = ["score_arranged", "score_by_fold"]


def score_arranged(
    saved: SavedModel, events: Events, *, device: torch.device
) -> npt.NDArray[np.float32]:
    """Return the scores of events that already carry what the model's inputs ask for, calibrated.

    Args:
        saved: The trained model.
        events: From ``arrange`` with the model's inputs; not scaled.
        device: Where a network computes.

    Shapes:
        ``(n_events,)``.
    """
    if saved.scaling is not None:
        events = saved.scaling.apply(events)
    if isinstance(saved.model, nn.Module):
        cast("nn.Module", saved.model).to(device)
    scores = predict_scores(saved.model, events)
    if saved.calibration is None:
        return scores
    return np.asarray(saved.calibration.transform(scores), dtype=np.float32)


def score_by_fold(
    models: Sequence[SavedModel],
    events: Events,
    fold: npt.NDArray[np.integer],
    *,
    device: torch.device,
) -> npt.NDArray[np.float32]:
    """Return the score of each event by the model of its fold.

    Args:
        models: One for each fold.
        events: Not arranged.
        fold: The fold of each event.
        device: Where a network computes.

    Shapes:
        fold ``(n_events,)`` → ``(n_events,)``.
    """
    scores = np.zeros(len(events), dtype=np.float32)
    for number, saved in enumerate(models):
        index = np.flatnonzero(fold == number)
        if len(index):
            chosen = events.take(torch.from_numpy(index))
            arranged = arrange(chosen, saved.inputs, saved.reconstruction)
            scores[index] = score_arranged(saved, arranged, device=device)
    return scores
