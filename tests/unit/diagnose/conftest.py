"""Plain networks of torch, and events of Gaussian features."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hepdl.events import Events, Inputs


class Plain(nn.Module):
    """Takes the flat features as they are; returns what the layers make of them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.inputs = Inputs(features=("a", "b"))
        self.layers = nn.Sequential(*layers)

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        return (events.flat,)

    def forward(self, *tensors: Tensor) -> Tensor:
        logits: Tensor = self.layers(tensors[0])
        return logits.squeeze(1) if logits.shape[1] == 1 else logits


@pytest.fixture(scope="session")
def plain() -> type[Plain]:
    return Plain


@pytest.fixture(scope="session")
def gaussian_events() -> Callable[..., Events]:
    """Return events of ``n_features`` standard normal features; signal is shifted by ``shift``."""

    def make(n: int, n_features: int = 2, *, seed: int = 0, shift: float = 0.0) -> Events:
        generator = torch.Generator().manual_seed(seed)
        label = torch.arange(n) % 2
        flat = torch.randn(n, n_features, generator=generator) + shift * label[:, None]
        return Events(
            event_number=torch.arange(n),
            run_number=torch.ones(n, dtype=torch.int64),
            process=label,
            label=label,
            event_weight=torch.ones(n),
            flat=flat,
            feature_names=tuple(f"x{k}" for k in range(n_features)),
            nuisance=torch.zeros(n, 0),
        )

    return make
