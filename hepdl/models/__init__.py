"""Whole models, one file each: networks and boosted trees behind one protocol.

The file's name is the model's name in YAML; the model is the first name in the module's ``__all__``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from hepdl.events import Events, Inputs
from hepdl.losses import Penalty

__all__ = ["Network", "Observe", "RoundCheckpoint", "Trees"]

Observe = Callable[[dict[str, float], int], None]


@runtime_checkable
class Network(Protocol):
    """A network; every one is also a ``torch.nn.Module``.

    ``inputs`` says what it needs. ``prepare`` turns a minibatch (features already scaled) into
    tensors and does nothing that needs gradients; ``forward`` takes exactly these tensors and is
    all that capture, several processes and export ever call. Logits of one event do not depend
    on the other events of the minibatch (but for batch norm while training).

    A network that scales some of its inputs by itself (``Events.assignments`` arrive in GeV) may
    also have ``standardise(train: Events) -> None``. It is called once before the training, with
    the training part as ``prepare`` will get it; events count with the magnitude of their weight. What
    it finds lies in buffers, so that it is kept with the parameters.
    """

    inputs: Inputs

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        """Return the tensors that ``forward`` takes."""

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the logits, ``(n_events,)``."""


class RoundCheckpoint(Protocol):
    """Keeps the last complete state of a fit: numbers, strings, lists, dicts and tensors."""

    def load(self) -> dict[str, Any] | None:
        """Return the last complete state, or None if there is none."""

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state, so that a crash leaves the old one or the new one, whole."""


@runtime_checkable
class Trees(Protocol):
    """Boosted trees: ``fit`` them, take their ``scores``, ``save`` and ``load`` them."""

    inputs: Inputs

    def fit(
        self,
        train: Events,
        validation: Events,
        *,
        seed: int,
        observe: Observe,
        n_threads: int | None = None,
        checkpoint: RoundCheckpoint | None = None,
        stop: Callable[[], bool] | None = None,
        penalty: Penalty | None = None,
    ) -> None:
        """Fit on ``train``, stop early on ``validation``; both weighted by ``event_weight``.

        Args:
            train: What the trees are grown on.
            validation: Chooses the number of trees.
            seed: Of everything that is random.
            observe: Called after each round with ``train_loss``, ``validation_loss`` and
                ``validation_auc``.
            n_threads: None for all cores.
            checkpoint: Written every few rounds; a fit that finds a state in it continues from
                there and ends in the same trees. Whether that state belongs to the same fit is
                for the caller to know.
            stop: Asked after each round; when True, the state is written and the fit ends.
            penalty: Against nuisances of the training part, without parameters of its own; the last
                round is then kept.

        Raises:
            StoppedError: ``stop`` asked for it.
        """

    @property
    def best_round(self) -> int:
        """The last round that ``scores`` uses."""

    @property
    def n_parameters(self) -> int:
        """Number of fitted numbers: a threshold for each split, a value for each leaf."""

    def scores(self, events: Events) -> npt.NDArray[np.float32]:
        """Return the score of each event, ``(n_events,)``, in [0, 1]."""

    def save(self, folder: Path) -> None:
        """Write the fitted trees into ``folder``."""

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote."""
