"""Boosted trees that tell the right assignment of an event from its wrong ones.

They are trained on signal events in which truth knows every particle: the right assignments against
some wrong ones of the same event, drawn at random. An event counts the same however many of its
assignments are right (both solutions for a neutrino are).

Reference:
    ATLAS, arXiv:1712.08895: the reconstruction BDT of ttH(bb), trained on simulated ttH with the
    correct assignment as signal and all others as background.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, DataError

__all__ = ["RankingOptions", "RankingTrees"]

Floats = npt.NDArray[np.float32]
# Fewer right assignments than this teach trees nothing but noise.
FEWEST_RIGHT = 20


@dataclass(frozen=True)
class RankingOptions:
    """How the trees are grown, and how many times.

    Attributes:
        n_rounds: Number of trees.
        max_depth: Of each tree.
        learning_rate: Factor on each tree.
        subsample: Share of the assignments drawn for each tree.
        n_wrong: Wrong assignments drawn for each event.
        cross_fits: Sets of trees; an event is ranked by the one that has not seen it.
    """

    n_rounds: int = 250
    max_depth: int = 5
    learning_rate: float = 0.08
    subsample: float = 0.8
    n_wrong: int = 10
    cross_fits: int = 5

    def __post_init__(self) -> None:
        """Check all values.

        Raises:
            ConfigError: Names every value that cannot be used.
        """
        problems = [
            f"reconstruction.options.{name} is {value}; it must be a whole number of at least {least}"
            for name, value, least in (
                ("n_rounds", self.n_rounds, 1),
                ("max_depth", self.max_depth, 1),
                ("n_wrong", self.n_wrong, 1),
                ("cross_fits", self.cross_fits, 2),
            )
            if value < least
        ]
        problems += [
            f"reconstruction.options.{name} is {value}; it must be above 0 and at most 1"
            for name, value in (
                ("learning_rate", self.learning_rate),
                ("subsample", self.subsample),
            )
            if not 0 < value <= 1
        ]
        if problems:
            raise ConfigError("\n".join(problems))


class RankingTrees:
    """Trees on the features of single assignments; a larger margin is more likely right.

    Args:
        features: Names of the features, in order.
    """

    def __init__(self, features: Sequence[str]) -> None:
        self.features = tuple(features)
        self._booster: Any = None
        self._content = b""

    def fit(
        self,
        values: Floats,
        is_right: npt.NDArray[np.bool_],
        weight: Floats,
        *,
        options: RankingOptions,
        seed: int,
    ) -> None:
        """Grow the trees, on one thread: the same assignments give the same trees.

        Args:
            values: Features of right and wrong assignments.
            is_right: Which they are.
            weight: Of each, positive.
            options: How.
            seed: Of the drawing of assignments.

        Shapes:
            values ``(n_assignments, n_features)``, is_right, weight ``(n_assignments,)``.

        Raises:
            DataError: There are too few right assignments.
        """
        import xgboost

        n_right = int(is_right.sum())
        if n_right < FEWEST_RIGHT or n_right == len(is_right):
            message = (
                f"{n_right} right and {len(is_right) - n_right} wrong assignments to learn from; "
                f"trees that rank assignments need at least {FEWEST_RIGHT} right ones and some wrong "
                "ones: take more signal events with matched partons, or ranking: chi_square"
            )
            raise DataError(message)
        data = xgboost.QuantileDMatrix(
            values, is_right.astype(np.float32), weight=weight, feature_names=list(self.features)
        )
        parameters = {
            "objective": "binary:logistic",
            "base_score": 0.5,
            "tree_method": "hist",
            "max_depth": options.max_depth,
            "learning_rate": options.learning_rate,
            "subsample": options.subsample,
            "seed": seed,
            "nthread": 1,
            "verbosity": 0,
        }
        self._booster = xgboost.train(parameters, data, num_boost_round=options.n_rounds)
        self._content = bytes(self._booster.save_raw("json"))

    def margin(self, values: Floats) -> Floats:
        """Return log-odds of being right, ``(n_assignments, n_features)`` → ``(n_assignments,)``."""
        if self._booster is None:
            message = "these trees are not fitted: call fit or load first"
            raise DataError(message)
        return np.asarray(
            self._booster.inplace_predict(values, predict_type="margin"), dtype=np.float32
        )

    def save(self, path: Path) -> None:
        """Write the trees as XGBoost's native JSON."""
        path.write_bytes(self._content)

    def as_bytes(self) -> bytes:
        """Return what ``save`` writes."""
        return self._content

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            DataError: The file is missing, damaged, or of other features.
        """
        import xgboost

        try:
            content = path.read_bytes()
            json.loads(content)
            booster = xgboost.Booster(model_file=bytearray(content))
        except (OSError, ValueError, xgboost.core.XGBoostError) as error:
            message = f"cannot read the trees in {path} ({type(error).__name__}); fit again"
            raise DataError(message) from error
        if tuple(booster.feature_names or ()) != self.features:
            message = (
                f"{path} holds trees of the features {list(booster.feature_names or ())}, not of "
                f"{list(self.features)}"
            )
            raise DataError(message)
        # As after a fit: whoever ranks many events runs many of these side by side.
        booster.set_param({"nthread": 1})
        self._booster = booster
        self._content = content
