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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from hepdl.errors import ConfigError, DataError, StoppedError
from hepdl.evaluate.roc import auc
from hepdl.events import Events, Inputs, flat_features
from hepdl.models import Observe, RoundCheckpoint

__all__ = ["BoostedTrees"]

log = logging.getLogger(__name__)

FILE_NAME = "boosted_trees.json"
ROUNDS_PER_CHECKPOINT = 25
# Keeps the step of a leaf finite whose entries are all classified perfectly.
MIN_HESSIAN = 1e-6

Floats = npt.NDArray[np.float32]


@dataclass
class _State:
    """A boosting in progress: everything that the next round depends on.

    Attributes:
        trees: The trees so far, in XGBoost's binary format; empty before the first round.
        train_margin: Sum of the trees for each training entry.
        validation_margin: The same for each validation entry.
        history: What was observed in each round.
    """

    trees: bytes
    train_margin: Floats
    validation_margin: Floats
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def best_round(self) -> int:
        """The first of the rounds with the best validation AUC."""
        return int(np.argmax([entry["validation_auc"] for entry in self.history]))

    def as_dict(self) -> dict[str, Any]:
        return {
            "trees": torch.frombuffer(bytearray(self.trees), dtype=torch.uint8),
            "train_margin": torch.from_numpy(self.train_margin),
            "validation_margin": torch.from_numpy(self.validation_margin),
            "history": self.history,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> _State:
        return cls(
            content["trees"].numpy().tobytes(),
            content["train_margin"].numpy(),
            content["validation_margin"].numpy(),
            [dict(entry) for entry in content["history"]],
        )


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
    ) -> None:
        """Fit on ``train``, stop early on ``validation``; both weighted by ``event_weight``.

        Raises:
            DataError: The weights of a part or class do not sum to something positive.
            StoppedError: ``stop`` asked for it; the checkpoint is written.
        """
        boosting = _Boosting(self, train, validation, seed=seed, n_threads=n_threads)
        stored = checkpoint.load() if checkpoint is not None else None
        if stored is not None:
            boosting.restore(_State.from_dict(stored))
            log.info("boosted trees continue after round %d", len(boosting.state.history) - 1)
        while not self._is_finished(boosting.state):
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
        self._booster = boosting.booster[: boosting.state.best_round + 1]

    def _is_finished(self, state: _State) -> bool:
        n_done = len(state.history)
        if n_done >= self.n_rounds:
            return True
        if n_done == 0 or self.early_stopping_rounds is None:
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
        data = _matrix(events, self.inputs.features, n_threads=None)
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


class _Boosting:
    """Grows one tree after the other."""

    def __init__(
        self,
        model: BoostedTrees,
        train: Events,
        validation: Events,
        *,
        seed: int,
        n_threads: int | None,
    ) -> None:
        features = model.inputs.features
        self._subsample = model.subsample
        self._seed = seed
        self._parameters = model.parameters | {"nthread": n_threads or 0, "verbosity": 0}
        # XGBoost draws features from a state that it neither saves nor seeds anew; a fresh
        # booster in each round makes the draw depend on (seed, round) alone.
        self._fresh_each_round = model.parameters["colsample_bytree"] < 1
        self._train_label, self._train_weight = _label_and_weight(train, "train")
        self._label, self._weight = _label_and_weight(validation, "validation")
        max_bin = model.parameters["max_bin"]
        self._train = _matrix(train, features, n_threads=n_threads, max_bin=max_bin)
        self._validation = _matrix(validation, features, n_threads=n_threads)
        self.booster: Any = None
        self.state = _State(
            b"", np.zeros(len(train), np.float32), np.zeros(len(validation), np.float32)
        )

    def restore(self, state: _State) -> None:
        """Continue from a state."""
        sizes = (len(state.train_margin), len(state.validation_margin))
        expected = (len(self._train_label), len(self._label))
        if sizes != expected:
            message = (
                f"the checkpoint belongs to a fit with {sizes[0]} training and {sizes[1]} "
                f"validation entries, here are {expected[0]} and {expected[1]}; start afresh"
            )
            raise ConfigError(message)
        self.state = state
        self.booster = self._new_booster(state.trees)

    def snapshot(self) -> _State:
        """Return the state with the trees of now."""
        if self.booster is not None:
            self.state.trees = bytes(self.booster.save_raw("ubj"))
        return self.state

    def grow(self) -> dict[str, float]:
        """Add one tree and return what is observed after it."""
        state, n_done = self.state, len(self.state.history)
        if self.booster is None or self._fresh_each_round:
            self.booster = self._new_booster(self.snapshot().trees)
        gradient, hessian = self._derivatives(n_done)
        self.booster.boost(self._train, iteration=n_done, grad=gradient, hess=hessian)
        state.train_margin += self._last_tree(self._train, n_done)
        state.validation_margin += self._last_tree(self._validation, n_done)
        values = {
            "train_loss": _loss(state.train_margin, self._train_label, self._train_weight),
            "validation_loss": _loss(state.validation_margin, self._label, self._weight),
            "validation_auc": float(auc(self._label, state.validation_margin, self._weight)),
        }
        state.history.append(values)
        return values

    def _derivatives(self, n_done: int) -> tuple[Floats, Floats]:
        probability = expit(self.state.train_margin)
        gradient = self._train_weight * (probability - self._train_label)
        slope = np.maximum(probability * (1 - probability), np.float32(MIN_HESSIAN))
        hessian = np.abs(self._train_weight) * slope
        if self._subsample < 1:
            generator = np.random.default_rng((self._seed, n_done))
            left_out = generator.random(len(gradient), dtype=np.float32) >= self._subsample
            gradient[left_out] = hessian[left_out] = 0
        return gradient, hessian

    def _last_tree(self, data: Any, n_done: int) -> Floats:
        margin = self.booster.predict(
            data, output_margin=True, iteration_range=(n_done, n_done + 1)
        )
        return np.asarray(margin, dtype=np.float32)

    def _new_booster(self, trees: bytes) -> Any:
        import xgboost

        n_done = len(self.state.history)
        # XGBoost takes a 32-bit seed.
        seed = int(np.random.SeedSequence((self._seed, n_done)).generate_state(1)[0]) >> 1
        parameters = self._parameters | {"seed": seed}
        model_file = bytearray(trees) if trees else None
        return xgboost.Booster(parameters, [self._train], model_file=model_file)


def _label_and_weight(events: Events, part: str) -> tuple[Floats, Floats]:
    label = events.label.cpu().numpy().astype(np.float32)
    weight = events.event_weight.cpu().numpy().astype(np.float32)
    for value, name in ((0, "background"), (1, "signal")):
        total = weight[label == value].sum(dtype=np.float64)
        if not total > 0:
            message = (
                f"the event weights of the {int((label == value).sum())} {name} entries of the "
                f"{part} part sum to {total:g}; they must sum to something positive"
            )
            raise DataError(message)
    return label, weight


def _matrix(
    events: Events, features: tuple[str, ...], *, n_threads: int | None, max_bin: int | None = None
) -> Any:
    """Return XGBoost's form of the features, with ``max_bin`` binned for training."""
    import xgboost

    flat = flat_features(events, features).cpu().numpy()
    options: dict[str, Any] = {"feature_names": list(features), "nthread": n_threads}
    if max_bin is None:
        return xgboost.DMatrix(flat, **options)
    # The weight only places the edges of the bins, where XGBoost has no use for a sign.
    weight = np.abs(events.event_weight.cpu().numpy())
    return xgboost.QuantileDMatrix(flat, weight=weight, max_bin=max_bin, **options)


def _loss(margin: Floats, label: Floats, weight: Floats) -> float:
    loss = np.logaddexp(0, margin) - label * margin
    return float(np.average(loss.astype(np.float64), weights=weight))
