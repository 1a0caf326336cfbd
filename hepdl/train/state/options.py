"""The settings of a loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hepdl.errors import ConfigError, unknown_name

__all__ = ["OPTIMIZERS", "PRECISIONS", "SCHEDULES", "TrainOptions"]

OPTIMIZERS = ("adam", "adamw", "sgd")
PRECISIONS = ("none", "bfloat16", "float16")
SCHEDULES = ("constant", "cosine", "exponential", "one_cycle", "plateau")


@dataclass(frozen=True)
class TrainOptions:
    """How a network is fitted; all values are checked at once.

    Attributes:
        epochs: Passes over the training part.
        minibatch_size: Events per step; more than there are means one minibatch per epoch.
        learning_rate: Of the first epoch; of one_cycle the highest.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        weight_decay: L2 term (adam, sgd) or decoupled decay (adamw).
        momentum: Of sgd, otherwise not used.
        nesterov: Look ahead along the momentum; sgd only.
        schedule: Learning rate of the epochs: ``"constant"``, ``"exponential"`` (times ``decay``
            after each epoch), ``"cosine"`` (down to zero at the end), ``"plateau"`` (times
            ``decay`` after each two epochs without a lower validation loss), or ``"one_cycle"``
            (of the steps: up to ``learning_rate`` and down to nearly zero).
        decay: Of the exponential and the plateau schedule. 0.9 is the choice of arXiv:1702.00748.
        warm_up: Epochs, also a fraction of one, in which the learning rate rises linearly; with
            one_cycle its rising part (0: 30 % of the training).
        patience: Epochs without a better validation AUC before stopping early; None is never.
        clip_norm: Largest norm of the gradient of all parameters; None is no limit.
        ema: Decay per step of an exponential moving average of the parameters, e.g. 0.999. The
            average is what is validated, chosen and kept. None is no average.
        accumulate: Chunks that each minibatch is cut into, when a whole one does not fit into
            memory. It is still one step, with the same gradient (but for batch norm).
        autocast: ``"none"``, ``"bfloat16"`` or ``"float16"`` (with scaled gradients): precision of
            the matrix products; parameters, losses and sums stay in single precision.
        compile: Let ``torch.compile`` translate the network first; it is used as it is, with a
            warning, where that is not possible.
        sync_every: Steps after which the host waits for the device and looks at the losses.
        stream: Events held in memory at once, when all of them are too many: a quarter of them is
            learnt from, the next one is read and put in order meanwhile, and the last one may be
            looked at again. None holds all events.
        diagnose_every: Epochs between two looks at the flow of activations and gradients; 0 looks
            at the first minibatch of the fit alone. The loop does not use it.
        seed: Of the order of the events and of dropout.
        deterministic: Bit-for-bit reproducible on one device, slower: one thread, if ``n_threads``
            does not say otherwise, and only deterministic operations.
        evaluation_minibatch_size: Events per minibatch when nothing is learnt. Larger ones are slower
            on a CPU: the states of a recursive network no longer fit into its cache.
        n_threads: Threads of a CPU operation; None leaves the number as it is.
    """

    epochs: int = 25
    minibatch_size: int = 128
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    weight_decay: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    schedule: str = "exponential"
    decay: float = 0.9
    warm_up: float = 0.0
    patience: int | None = None
    clip_norm: float | None = None
    ema: float | None = None
    accumulate: int = 1
    autocast: str = "none"
    compile: bool = False
    sync_every: int = 50
    stream: int | None = None
    diagnose_every: int = 0
    seed: int = 0
    deterministic: bool = False
    evaluation_minibatch_size: int = 512
    n_threads: int | None = None

    def __post_init__(self) -> None:
        """Check all values.

        Raises:
            ConfigError: Names every value that cannot be used, with its key.
        """
        problems = [*self._bad_integers(), *self._bad_numbers(), *self._bad_combinations()]
        problems += [
            unknown_name(key, value, known, where=f"train.{key}")
            for key, value, known in (
                ("optimizer", self.optimizer, OPTIMIZERS),
                ("schedule", self.schedule, SCHEDULES),
                ("autocast", self.autocast, PRECISIONS),
            )
            if value not in known
        ]
        if problems:
            raise ConfigError("\n".join(problems))

    def _bad_integers(self) -> Iterator[str]:
        for key, value, least in (
            ("epochs", self.epochs, 1),
            ("minibatch_size", self.minibatch_size, 1),
            ("evaluation_minibatch_size", self.evaluation_minibatch_size, 1),
            ("seed", self.seed, 0),
            ("patience", self.patience, 1),
            ("n_threads", self.n_threads, 1),
            ("accumulate", self.accumulate, 1),
            ("sync_every", self.sync_every, 1),
            ("stream", self.stream, 1),
            ("diagnose_every", self.diagnose_every, 0),
        ):
            if value is None and key in ("patience", "n_threads", "stream"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                yield f"train.{key} must be a whole number >= {least}, got {value!r}"

    def _bad_numbers(self) -> Iterator[str]:
        for key, value, text, is_good in (
            ("learning_rate", self.learning_rate, "> 0", self.learning_rate > 0),
            ("weight_decay", self.weight_decay, ">= 0", self.weight_decay >= 0),
            ("momentum", self.momentum, "in [0, 1)", 0 <= self.momentum < 1),
            ("decay", self.decay, "in (0, 1]", 0 < self.decay <= 1),
            ("warm_up", self.warm_up, ">= 0", self.warm_up >= 0),
            ("clip_norm", self.clip_norm, "> 0", self.clip_norm is None or self.clip_norm > 0),
            ("ema", self.ema, "in (0, 1)", self.ema is None or 0 < self.ema < 1),
        ):
            if not is_good or (value is not None and not math.isfinite(value)):
                yield f"train.{key} must be a number {text}, got {value!r}"

    def _bad_combinations(self) -> Iterator[str]:
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            yield (
                f"train.nesterov needs optimizer sgd with a momentum > 0, got {self.optimizer} with "
                f"momentum {self.momentum}"
            )
        if self.warm_up >= self.epochs:
            yield f"train.warm_up must be shorter than the {self.epochs} epochs, got {self.warm_up}"
        if self.stream is not None and self.stream < 4 * self.minibatch_size:
            yield (
                f"train.stream is {self.stream}: it must hold four minibatches of "
                f"{self.minibatch_size} at least"
            )
