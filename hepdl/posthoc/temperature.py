"""Temperature: all logits divided by one number, so that scores become probabilities.

A network that is too sure of itself has a temperature above 1. The order of the events stays, and
with it every efficiency and every area under a ROC curve.

Reference:
    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks",
    ICML 2017, arXiv:1706.04599.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from hepdl.evaluate.inputs.scored import check_probabilities

__all__ = ["Temperature"]

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

# Scores are float32: those that were rounded to 0 or 1 are no further away than this.
NEAREST_TO_0_AND_1 = 2.0**-25
# Temperatures that no useful model needs; the loss has no minimum for scores without errors.
LOWEST, HIGHEST = 0.01, 100.0
N_TRIED = 41


@dataclass(frozen=True)
class Temperature:
    """``sigmoid(logit(score) / temperature)``.

    Attributes:
        temperature: Above 1 if the scores were too sure.
    """

    temperature: float

    @classmethod
    def fit(
        cls, scores: npt.ArrayLike, label: npt.ArrayLike, event_weight: npt.ArrayLike
    ) -> Temperature:
        """Return the temperature with the smallest weighted cross entropy.

        With weights of either sign the cross entropy may have several minima, so it is looked at
        over the whole range before the lowest one is refined.

        Args:
            scores: In [0, 1], of events that the model was not trained on.
            label: 1 for signal, 0 for background.
            event_weight: Of either sign.

        Shapes:
            All ``(n_events,)``.

        Raises:
            DataError: As `hepdl.evaluate.calibration.calibration_error`.
        """
        events = check_probabilities(label, scores, event_weight)
        inside = np.clip(events.scores, NEAREST_TO_0_AND_1, 1 - NEAREST_TO_0_AND_1)
        logits, weight = logit(inside), events.event_weight

        def cross_entropy(log_temperature: float) -> float:
            scaled = logits * np.exp(-log_temperature)
            return float(np.sum(weight * (np.logaddexp(0.0, scaled) - events.is_signal * scaled)))

        tried = np.linspace(np.log(LOWEST), np.log(HIGHEST), N_TRIED)
        best = int(np.argmin([cross_entropy(value) for value in tried]))
        if best in (0, N_TRIED - 1):
            found = float(np.exp(tried[best]))
            log.warning(
                "no temperature between %g and %g fits the validation events; %g is taken",
                LOWEST,
                HIGHEST,
                found,
            )
            return cls(found)
        around = (tried[best - 1], tried[best + 1])
        refined = minimize_scalar(
            cross_entropy, bounds=around, method="bounded", options={"xatol": 1e-9}
        )
        return cls(float(np.exp(refined.x)))

    def transform(self, scores: npt.ArrayLike) -> Floats:
        """Return the scores at this temperature; 0 and 1 stay what they are."""
        return np.asarray(
            expit(logit(np.asarray(scores, dtype=np.float64)) / self.temperature), dtype=np.float64
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""
        return {"temperature": self.temperature}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Temperature:
        """Return the map that ``as_dict`` wrote down."""
        return cls(float(content["temperature"]))
