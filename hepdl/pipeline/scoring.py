"""Scores of saved models for events in memory: one place for evaluation and prediction."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hepdl.events import Events
from hepdl.pipeline.saved import SavedModel
from hepdl.train.state.scoring import predict_scores

__all__ = ["score_arranged"]


def score_arranged(
    saved: SavedModel, events: Events, *, device: torch.device
) -> npt.NDArray[np.float32]:
    """Return the scores of events that already carry what the model's inputs ask for.

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
    return predict_scores(saved.model, events)
