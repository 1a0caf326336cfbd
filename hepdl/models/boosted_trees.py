"""Boosted decision trees: XGBoost's histogram trees under a boosting loop of our own.

XGBoost grows each tree; gradients, sampling of entries and early stopping are done here, so that

* negative event weights work: XGBoost refuses them, but a signed gradient ``w (p - y)`` with the
  hessian ``|w| p (1 - p)`` is the unbiased estimate of the gradient of the expected loss;
* a fit that was killed continues to the very same trees: all randomness of a round comes from
  (seed, round), and the margins and the early-stopping history are part of the checkpoint.

What is saved is a plain XGBoost model in its native JSON, with the real names of the features.

Reference:
    T. Chen, C. Guestrin, "XGBoost: a scalable tree boosting system", KDD 2016, arXiv:1603.02754.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, DataError, StoppedError
from hepdl.events import Events, Inputs
from hepdl.losses import Penalty
from hepdl.models import Observe, RoundCheckpoint
from hepdl.models.boosting.rounds import Boosting, BoostingState, feature_matrix

__all__ = ["BoostedTrees"]

log = logging.getLogger(__name__)

FILE_NAME = "boosted_trees.json"
ROUNDS_PER_CHECKPOINT = 25


class BoostedTrees:
    """Gradient-boosted decision trees.

    The score is the logistic function of the sum of the trees.

    Args:
        features: Names of the flat features, in the model's order.
        n_rounds: At most that many trees.
        early_stopping_rounds: Stop when the weighted validation AUC has not improved for so many
            rounds; None never stops. Either way ``scores`` uses the trees up to the best round.
        max_depth: Of each tree.
        learning_rate: Factor on each tree.
        subsample: Share of the training entries drawn for each tree.
        colsample_bytree: Share of the features drawn for each tree.
        min_child_weight: Least sum of hessians in a leaf (training weights have mean 1).
        reg_lambda: L2 penalty on the values of the leaves.
        reg_alpha: L1 penalty on the values of the leaves.
        gamma: Least gain of a split.
        max_bin: Number of bins of each feature.

    """

    def __init__(
        self,
        features: Sequence[str],
        *,
        n_rounds: int = 1000,
        early_stopping_rounds: int | None = 30,
        max_depth: int = 4,
        learning_rate: float = 0.1,
        subsample: float = 1.0,
        colsample_bytree: float = 1.0,
        min_child_weight: float = 1.0,
        reg_lambda: float = 1.0,
        reg_alpha: float = 0.0,
        gamma: float = 0.0,
        max_bin: int = 256,
    ) -> None:
        if not features:
            message = "boosted_trees has no features; name at least one flat feature of the schema"
            raise ConfigError(message)
        for name, share in (("subsample", subsample), ("colsample_bytree", colsample_bytree)):
            if not 0 < share <= 1:
                message = f"{name} is {share}; it is a share, 0 < {name} <= 1"
                raise ConfigError(message)
        for name, count in (
            ("n_rounds", n_rounds),
            ("early_stopping_rounds", early_stopping_rounds),
        ):
            if count is not None and count < 1:
                message = f"{name} is {count}; it must be at least 1"
                raise ConfigError(message)
        self.inputs = Inputs(features=tuple(features), scaled=False)
        self.n_rounds = n_rounds
        self.early_stopping_rounds = early_stopping_rounds
        self.subsample = subsample
        self.parameters: dict[str, Any] = {
            "objective": "binary:logistic",
            # Margins then start at 0.
            "base_score": 0.5,
            "tree_method": "hist",
            "max_depth": max_depth,
            "learning_rate": learning_rate,
            "colsample_bytree": colsample_bytree,
            "min_child_weight": min_child_weight,
            "reg_lambda": reg_lambda,
            "reg_alpha": reg_alpha,
            "gamma": gamma,
            "max_bin": max_bin,
        }
        self._history: list[dict[str, float]] = []
        self._booster: Any = None

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

        With a penalty all rounds are grown and kept: the best AUC would always choose the round that
        is decorrelated least.

        Raises:
            ConfigError: The penalty is an adversary.
            DataError: The weights of a part or class do not sum to something positive.
            StoppedError: ``stop`` asked for it; the checkpoint is written.
        """
        boosting = Boosting(
            train,
            validation,
            features=self.inputs.features,
            parameters=self.parameters,
            subsample=self.subsample,
            seed=seed,
            n_threads=n_threads,
            penalty=penalty,
            n_rounds=self.n_rounds,
        )
        chooses = penalty is None
        stored = checkpoint.load() if checkpoint is not None else None
        if stored is not None:
            boosting.restore(BoostingState.from_dict(stored))
            log.info("boosted trees continue after round %d", len(boosting.state.history) - 1)
        while not self._is_finished(boosting.state, chooses=chooses):
            n_done = len(boosting.state.history)
            if stop is not None and stop():
                if checkpoint is not None:
                    checkpoint.save(boosting.snapshot().as_dict())
                message = f"stopped before round {n_done} of the boosted trees; " + (
                    "run again with --resume" if checkpoint is not None else "nothing was kept"
                )
                raise StoppedError(message)
            values = boosting.grow()
            observe(dict(values), n_done)
            if checkpoint is not None and (n_done + 1) % ROUNDS_PER_CHECKPOINT == 0:
                checkpoint.save(boosting.snapshot().as_dict())
        self._history = boosting.state.history
        last = boosting.state.best_round + 1 if chooses else len(boosting.state.history)
        self._booster = boosting.booster[:last]

    def _is_finished(self, state: BoostingState, *, chooses: bool) -> bool:
        n_done = len(state.history)
        if n_done >= self.n_rounds:
            return True
        if n_done == 0 or self.early_stopping_rounds is None or not chooses:
            return False
        return n_done - 1 - state.best_round >= self.early_stopping_rounds

    def __repr__(self) -> str:
        options = self.parameters | {
            "n_rounds": self.n_rounds,
            "early_stopping_rounds": self.early_stopping_rounds,
            "subsample": self.subsample,
        }
        shown = ", ".join(f"{name}={value!r}" for name, value in options.items())
        return f"BoostedTrees({list(self.inputs.features)}, {shown})"

    @property
    def history(self) -> list[dict[str, float]]:
        """``train_loss``, ``validation_loss`` and ``validation_auc`` of each round of the fit."""
        return self._history

    @property
    def best_round(self) -> int:
        """The last round that ``scores`` uses, from 0; -1 before the fit."""
        return -1 if self._booster is None else int(self._booster.num_boosted_rounds()) - 1

    @property
    def n_parameters(self) -> int:
        """Number of fitted numbers: a threshold for each split, a value for each leaf."""
        if self._booster is None:
            return 0
        model = json.loads(bytes(self._booster.save_raw("json")))
        trees = model["learner"]["gradient_booster"]["model"]["trees"]
        return sum(int(tree["tree_param"]["num_nodes"]) for tree in trees)

    def scores(self, events: Events) -> npt.NDArray[np.float32]:
        """Return the score of each event, ``(n_events,)``, in [0, 1]."""
        if len(events) == 0:
            return np.zeros(0, dtype=np.float32)
        data = feature_matrix(events, self.inputs.features, n_threads=None)
        return np.asarray(self._fitted().predict(data), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write the trees up to the best round as XGBoost's native JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE_NAME
        temporary = path.with_name(f".{FILE_NAME}.{os.getpid()}.tmp")
        temporary.write_bytes(bytes(self._fitted().save_raw("json")))
        temporary.replace(path)

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            DataError: The file is missing, damaged, or of other features.
        """
        import xgboost

        path = folder / FILE_NAME
        try:
            content = path.read_bytes()
            json.loads(content)
            booster = xgboost.Booster(model_file=bytearray(content))
        except (OSError, ValueError, xgboost.core.XGBoostError) as error:
            message = f"cannot read the boosted trees in {path} ({type(error).__name__}); fit again"
            raise DataError(message) from error
        if tuple(booster.feature_names or ()) != self.inputs.features:
            message = (
                f"{path} holds trees of the features {list(booster.feature_names or ())}, "
                f"the model is described with {list(self.inputs.features)}"
            )
            raise DataError(message)
        self._booster = booster

    def _fitted(self) -> Any:
        if self._booster is None:
            message = "these boosted trees are not fitted: call fit or load first"
            raise DataError(message)
        return self._booster
