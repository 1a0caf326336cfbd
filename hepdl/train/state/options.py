"""The settings of a loop."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hepdl.errors import ConfigError, unknown_name

__all__ = ["OPTIMIZERS", "SCHEDULES", "TrainOptions"]

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "exponential")


@dataclass(frozen=True)
class TrainOptions:
    """How a network is fitted; all values are checked at once.

    Attributes:
        epochs: Passes over the training part.
        minibatch_size: Events per step; more than there are means one minibatch per epoch.
        learning_rate: Of the first epoch.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        weight_decay: L2 term (adam, sgd) or decoupled decay (adamw).
        momentum: Of sgd, otherwise not used.
        schedule: Learning rate of the epochs: ``"constant"``, ``"exponential"`` (times ``decay``
            after each epoch) or ``"cosine"`` (down to zero at the end).
        decay: Of the exponential schedule. 0.9 is the choice of arXiv:1702.00748.
        patience: Epochs without a better validation AUC before stopping early; None is never.
        clip_norm: Largest norm of the gradient of all parameters; None is no limit.
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
    schedule: str = "exponential"
    decay: float = 0.9
    patience: int | None = None
    clip_norm: float | None = None
    seed: int = 0
    deterministic: bool = False
    evaluation_minibatch_size: int = 512
    n_threads: int | None = None

    def __post_init__(self) -> None:
        """Check all values.

        Raises:
            ConfigError: Names every value that cannot be used, with its key.
        """
        problems = [
            f"train.{key} must be a whole number >= {least}, got {value!r}"
            for key, value, least in (
                ("epochs", self.epochs, 1),
                ("minibatch_size", self.minibatch_size, 1),
                ("evaluation_minibatch_size", self.evaluation_minibatch_size, 1),
                ("seed", self.seed, 0),
                ("patience", self.patience, 1),
                ("n_threads", self.n_threads, 1),
            )
            if not (value is None and key in ("patience", "n_threads"))
            and (not isinstance(value, int) or isinstance(value, bool) or value < least)
        ]
        problems += [
            f"train.{key} must be a number {text}, got {value!r}"
            for key, value, text, is_good in (
                ("learning_rate", self.learning_rate, "> 0", self.learning_rate > 0),
                ("weight_decay", self.weight_decay, ">= 0", self.weight_decay >= 0),
                ("momentum", self.momentum, "in [0, 1)", 0 <= self.momentum < 1),
                ("decay", self.decay, "in (0, 1]", 0 < self.decay <= 1),
                ("clip_norm", self.clip_norm, "> 0", self.clip_norm is None or self.clip_norm > 0),
            )
            if not is_good or (value is not None and not math.isfinite(value))
        ]
        problems += [
            unknown_name(key, value, known, where=f"train.{key}")
            for key, value, known in (
                ("optimizer", self.optimizer, OPTIMIZERS),
                ("schedule", self.schedule, SCHEDULES),
            )
            if value not in known
        ]
        if problems:
            raise ConfigError("\n".join(problems))
