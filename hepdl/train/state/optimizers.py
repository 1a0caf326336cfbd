"""Optimiser and learning-rate schedule by name."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import Parameter
from torch.optim import lr_scheduler

from hepdl.train.state.options import TrainOptions

__all__ = ["make_optimizer", "make_schedule"]


def make_optimizer(parameters: Iterable[Parameter], options: TrainOptions) -> torch.optim.Optimizer:
    """Return the optimiser that the options ask for."""
    rate, decay = options.learning_rate, options.weight_decay
    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, momentum=options.momentum)
    if options.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)


def make_schedule(
    optimizer: torch.optim.Optimizer, options: TrainOptions
) -> lr_scheduler.LRScheduler:
    """Return the schedule that the options ask for, to be stepped after each epoch."""
    if options.schedule == "exponential":
        return lr_scheduler.ExponentialLR(optimizer, gamma=options.decay)
    if options.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.epochs)
    return lr_scheduler.ExponentialLR(optimizer, gamma=1.0)
