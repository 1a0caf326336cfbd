"""Optimiser by name."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import Parameter

from hepdl.train.state.options import TrainOptions

__all__ = ["make_optimizer"]


def make_optimizer(parameters: Iterable[Parameter], options: TrainOptions) -> torch.optim.Optimizer:
    """Return the optimiser that the options ask for, one kernel for all parameters where it can be.

    Its learning rate is set before each step.
    """
    parameters = list(parameters)
    rate, decay = options.learning_rate, options.weight_decay
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    if options.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=rate,
            weight_decay=decay,
            momentum=options.momentum,
            nesterov=options.nesterov,
            fused=fused,
        )
    family = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    return family(parameters, lr=rate, weight_decay=decay, fused=fused)
