"""The rounds of a boosting: gradients, sampling of entries, and the state between two rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from hepdl.errors import ConfigError, DataError
from hepdl.evaluate.roc import auc
from hepdl.events import Events, flat_features
from hepdl.losses import Penalty
from hepdl.models.boosting.penalised import Penalised

__all__ = ["Boosting", "BoostingState", "feature_matrix"]

# Keeps the step of a leaf finite whose entries are all classified perfectly.
MIN_HESSIAN = 1e-6

Floats = npt.NDArray[np.float32]


@dataclass
class BoostingState:
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
    def from_dict(cls, content: dict[str, Any]) -> BoostingState:
        return cls(
            content["trees"].numpy().tobytes(),
            content["train_margin"].numpy(),
            content["validation_margin"].numpy(),
            [dict(entry) for entry in content["history"]],
        )


class Boosting:
    """Grows one tree after the other.

    Args:
        train: What the trees are grown on.
        validation: What each round is judged by.
        features: Their flat features.
        parameters: XGBoost's parameters.
        subsample: Share of the training entries drawn for each tree.
        seed: Of everything that is random.
        n_threads: None for all cores.
        penalty: Against nuisances of the training entries; None is none.
        n_rounds: Of the whole training, for the schedule of the penalty.
    """

    def __init__(
        self,
        train: Events,
        validation: Events,
        *,
        features: tuple[str, ...],
        parameters: Mapping[str, Any],
        subsample: float,
        seed: int,
        n_threads: int | None,
        penalty: Penalty | None = None,
        n_rounds: int = 1,
    ) -> None:
        self._penalised = None if penalty is None else Penalised(penalty, train)
        self._n_rounds = n_rounds
        self._subsample = subsample
        self._seed = seed
        self._parameters = {**parameters} | {"nthread": n_threads or 0, "verbosity": 0}
        # XGBoost draws features from a state that it neither saves nor seeds anew; a fresh
        # booster in each round makes the draw depend on (seed, round) alone.
        self._fresh_each_round = parameters["colsample_bytree"] < 1
        self._train_label, self._train_weight = _label_and_weight(train, "train")
        self._label, self._weight = _label_and_weight(validation, "validation")
        max_bin = parameters["max_bin"]
        self._train = feature_matrix(train, features, n_threads=n_threads, max_bin=max_bin)
        self._validation = feature_matrix(validation, features, n_threads=n_threads)
        self.booster: Any = None
        self.state = BoostingState(
            b"", np.zeros(len(train), np.float32), np.zeros(len(validation), np.float32)
        )

    def restore(self, state: BoostingState) -> None:
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

    def snapshot(self) -> BoostingState:
        """Return the state with the trees of now."""
        if self.booster is not None:
            self.state.trees = bytes(self.booster.save_raw("ubj"))
        return self.state

    def grow(self) -> dict[str, float]:
        """Add one tree and return what is observed after it."""
        state, n_done = self.state, len(self.state.history)
        if self.booster is None or self._fresh_each_round:
            self.booster = self._new_booster(self.snapshot().trees)
        gradient, hessian, watched = self._derivatives(n_done)
        self.booster.boost(self._train, iteration=n_done, grad=gradient, hess=hessian)
        state.train_margin += self._last_tree(self._train, n_done)
        state.validation_margin += self._last_tree(self._validation, n_done)
        values = {
            "train_loss": _loss(state.train_margin, self._train_label, self._train_weight),
            "validation_loss": _loss(state.validation_margin, self._label, self._weight),
            "validation_auc": float(auc(self._label, state.validation_margin, self._weight)),
        }
        values |= watched
        state.history.append(values)
        return values

    def _derivatives(self, n_done: int) -> tuple[Floats, Floats, dict[str, float]]:
        probability = expit(self.state.train_margin)
        gradient = self._train_weight * (probability - self._train_label)
        slope = np.maximum(probability * (1 - probability), np.float32(MIN_HESSIAN))
        hessian = np.abs(self._train_weight) * slope
        watched = {}
        if self._penalised is not None:
            slope, curvature, value = self._penalised.derivatives(
                self.state.train_margin, done=n_done, n_rounds=self._n_rounds
            )
            gradient, hessian = gradient + slope, hessian + curvature
            watched["train_penalty"] = value
        if self._subsample < 1:
            generator = np.random.default_rng((self._seed, n_done))
            left_out = generator.random(len(gradient), dtype=np.float32) >= self._subsample
            gradient[left_out] = hessian[left_out] = 0
        return gradient, hessian, watched

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


def feature_matrix(
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
