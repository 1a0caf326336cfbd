from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hepdl.events import Events, Inputs


class Tiny(nn.Module):
    inputs = Inputs(features=("a", "b"))

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.stack = nn.Sequential(*(layers or (nn.Linear(2, 1),)))

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        return (events.flat,)

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.stack(tensors[0])[:, 0]


@pytest.fixture
def tiny() -> Callable[..., Tiny]:
    """Return a network of the given layers, by default linear, always with the same parameters."""

    def make(*layers: nn.Module) -> Tiny:
        network = Tiny(*layers)
        generator = torch.Generator().manual_seed(11)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        return network

    return make


@pytest.fixture
def events() -> Callable[..., Events]:
    """Return events of two Gaussian classes, one unit apart in each of two features."""

    def make(n: int, seed: int = 0) -> Events:
        generator = torch.Generator().manual_seed(seed)
        label = torch.arange(n) % 2
        flat = torch.randn(n, 2, generator=generator) + label[:, None]
        return Events(
            event_number=torch.arange(n),
            run_number=torch.ones(n, dtype=torch.int64),
            process=label,
            label=label,
            event_weight=torch.ones(n),
            flat=flat,
            feature_names=("a", "b"),
            nuisance=flat[:, :1].clone(),
            nuisance_names=("mass",),
        )

    return make
