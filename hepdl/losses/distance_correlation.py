"""Decorrelation by the distance correlation of score and nuisance: DisCo.

The squared distance correlation is zero only for independent numbers, whatever the shape of the dependence, needs
no adversary, no bins and no bandwidth, and does not change when scores or nuisance are shifted or scaled. It
looks at all pairs of the events of a minibatch: on a CPU by an exact algorithm in O(n log n), on a GPU pair by
pair in chunks of rows, both in double precision and with the exact gradient.

Choices, and why:

* The score is the sigmoid of the logit (``of: score``), as in the paper: few events with large logits do not
  decide. ``of: logits`` is for scores that are nearly all 0 or 1.
* The V-statistic is never negative and stable; its bias, 0.003 for 1024 independent events, moves the minimum little.
  ``estimator: u`` has none; for weights that are not equal it removes the bias to first order.
* Negative weights count with their absolute value: with signs, a distance variance could be negative.

Reference: G. Kasieczka and D. Shih, "DisCo fever: robust networks through distance correlation", Phys. Rev. Lett.
125 (2020) 122001, arXiv:2001.05310; G. J. Szekely, M. L. Rizzo and N. K. Bakirov, Ann. Statist. 35 (2007) 2769;
G. J. Szekely and M. L. Rizzo, Ann. Statist. 42 (2014) 2382 (U-statistic).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from hepdl.errors import DataError, unknown_name
from hepdl.losses.penalties.against import AgainstNuisances, taking_part
from hepdl.losses.penalties.pairs import squared_correlation

__all__ = ["DistanceCorrelation"]

ESTIMATORS = ("u", "v")
READS = ("logits", "score")
# Below this the U-statistic is not defined.
LEAST_EVENTS = 4


class DistanceCorrelation(AgainstNuisances):
    """Strength times the squared distance correlation, summed over the nuisances.

    Args:
        strength: Factor of the penalty.
        nuisances: Names of the nuisances; empty means all that the events have.
        applies_to: ``"background"``, ``"signal"``, ``"all"`` or ``"each_class"``.
        warm_up: Epochs before the penalty sets in; may be a fraction.
        schedule: See `AgainstNuisances`.
        estimator: ``"v"`` or ``"u"``.
        of: ``"score"`` or ``"logits"``.
        categorical: Names of nuisances whose values are categories: the distance of two of them
            is 0 or 1, not their difference.
        chunk: Rows of pairs at once on a GPU; fewer need less memory.
    """

    def __init__(
        self,
        *,
        strength: float = 1.0,
        nuisances: Sequence[str] = (),
        applies_to: str = "background",
        warm_up: float = 0.0,
        schedule: str = "constant",
        estimator: str = "v",
        of: str = "score",
        categorical: Sequence[str] = (),
        chunk: int = 2048,
    ) -> None:
        self.estimator = estimator
        self.of = of
        self.categorical = tuple(categorical)
        self.chunk = chunk
        super().__init__(
            strength=strength,
            nuisances=nuisances,
            applies_to=applies_to,
            warm_up=warm_up,
            schedule=schedule,
            problems=self._problems(tuple(nuisances)),
        )

    def _problems(self, nuisances: tuple[str, ...]) -> Iterator[str]:
        for key, value, known in (
            ("estimator", self.estimator, ESTIMATORS),
            ("of", self.of, READS),
        ):
            if value not in known:
                yield unknown_name(key, value, known, where=f"decorrelation.options.{key}")
        where = "decorrelation.options.categorical"
        for name in self.categorical:
            if name not in nuisances:
                yield unknown_name("nuisance", name, nuisances, where=where)
        if self.chunk < 1:
            yield f"chunk must be at least 1, got {self.chunk}"

    def options(self) -> dict[str, Any]:
        """Return every option by name."""
        own = ("estimator", "of", "categorical", "chunk")
        return super().options() | {key: getattr(self, key) for key in own}

    def fit_nuisance(self, nuisance: Tensor, event_weight: Tensor) -> None:
        """Check the nuisances; nothing depends on their spectrum.

        Shapes:
            nuisance ``(n_events, n_nuisances)``, event_weight ``(n_events,)``.

        Raises:
            DataError: There is no nuisance, no weight, or a value that is constant or not finite.
        """
        self.check_nuisance(nuisance, event_weight)

    def forward(
        self,
        logits: Tensor,
        label: Tensor,
        nuisance: Tensor | None,
        event_weight: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return strength times squared distance correlation, between 0 and the number of nuisances.

        Shapes:
            logits, event_weight, mask ``(n_events,)``; nuisance ``(n_events, n_nuisances)``;
            label is not used: the mask says who takes part.
        """
        if nuisance is None:
            message = "DistanceCorrelation needs the nuisance of the events, and there is none"
            raise DataError(message)
        logits, nuisance, weight = taking_part(logits, nuisance, event_weight, mask)
        seen = torch.sigmoid(logits) if self.of == "score" else logits
        total = seen.sum() * 0.0
        if len(seen) < LEAST_EVENTS:
            return total
        for column in range(nuisance.shape[1]):
            named = self.nuisances[column] if column < len(self.nuisances) else ""
            total = total + squared_correlation(
                seen,
                nuisance[:, column],
                weight,
                unbiased=self.estimator == "u",
                is_categorical=named in self.categorical,
                chunk=self.chunk,
            )
        return self.current_strength * total
