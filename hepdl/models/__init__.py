"""Whole models, one file each: networks and boosted trees behind one protocol.

The file's name is the model's name in YAML; the model is the first name in the module's ``__all__``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from hepdl.events import Events, Inputs

__all__ = ["Network", "Trees"]

Observe = Callable[[dict[str, float], int], None]


@runtime_checkable
class Network(Protocol):
    """A network; every one is also a ``torch.nn.Module``.

    ``inputs`` says what it needs. ``prepare`` turns a minibatch (features already scaled) into
    tensors and does nothing that needs gradients; ``forward`` takes exactly these tensors and is
    all that capture, several processes and export ever call. Logits of one event do not depend
    on the other events of the minibatch (but for batch norm while training).
    """

    inputs: Inputs

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        """Return the tensors that ``forward`` takes."""

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the logits, ``(n_events,)``."""


@runtime_checkable
class Trees(Protocol):
    """Boosted trees; ``fit`` may continue from ``checkpoint`` and writes it as it goes."""

    inputs: Inputs

    def fit(
        self,
        train: Events,
        validation: Events,
        *,
        seed: int,
        observe: Observe,
        n_threads: int | None = None,
    ) -> None:
        """Fit on ``train``, stop early on ``validation``; both weighted by ``event_weight``."""

    def scores(self, events: Events) -> npt.NDArray[np.float32]:
        """Return the score of each event, ``(n_events,)``, in [0, 1]."""

    def save(self, folder: Path) -> None:
        """Write the fitted trees into ``folder``."""

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote."""
