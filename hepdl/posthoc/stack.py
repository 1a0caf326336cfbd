"""Stacking: logistic regression of the label on the logits of several models.

The score is ``sigmoid(b + sum_k c_k logit(s_k))``. Where the members' logits are log-likelihood
ratios of independent features, all ``c_k`` are 1; a member that knows nothing gets 0; two members
that say the same share their part.

Each member's logits are first brought to the scale on which they are right, by a regression of their
own: trees that stopped after one round are as shy as networks are loud. Then what is minimised is
the weighted mean of the cross entropy plus ``|r - 1/n_members|^2 / (2 n_eff width^2)``, where ``r``
are the shares of the members on these scales, and ``n_eff = (sum w)^2 / sum w^2``: a normal prior
around the plain mean. It counts for little from a few hundred events on, and decides where members
are so alike that the events cannot. Nothing changes when all weights are scaled, or when a member's
logits are stretched and moved. The constant is free, so that the score is a probability of the
mixture that the weights make.

Weights of either sign enter as they are. The loss may then have several minima; the one downhill of
the plain mean is taken.

Reference:
    D. H. Wolpert, "Stacked generalization", Neural Networks 5 (1992) 241; K. M. Ting,
    I. H. Witten, "Issues in stacked generalization", J. Artif. Intell. Res. 10 (1999) 271,
    arXiv:1105.5466 (a linear model of the members' probabilities); J. Platt, Advances in Large
    Margin Classifiers (2000) 61 (the scale of one member); L. Kish, "Survey Sampling", Wiley 1965
    (effective number of events).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit

from hepdl.errors import DataError
from hepdl.posthoc.inputs.members import as_columns, check_members

__all__ = ["Stack", "regress"]

Floats = npt.NDArray[np.float64]

# A score nearer to 0 or 1 counts as this near: one in a million is more than any sample can show,
# and a calibration that says exactly 0 or 1 must not decide alone.
NEAREST_TO_0_AND_1 = 1e-6
# Of the prior around the plain mean: for two members, one alone is one width away.
PRIOR_WIDTH = 0.5
# Of the prior of a member's scale around 0, in units of the spread of its logits. A member that is
# right has a scale of about its separation in standard deviations, so this only bounds it.
SCALE_WIDTH = 10.0
# A spread of logits below this is rounding: scores are float32.
SAME = 1e-6
MAX_ITERATIONS = 500
# Largest component of the gradient of the mean cross entropy that counts as zero.
FLAT = 1e-7


@dataclass(frozen=True)
class Stack:
    """``sigmoid(intercept + logit(scores) @ coefficients)``.

    Attributes:
        intercept: The constant.
        coefficients: One for each member, in the order of the columns.

    Shapes:
        coefficients: ``(n_members,)``.
    """

    intercept: float
    coefficients: Floats

    @classmethod
    def fit(cls, scores: npt.ArrayLike, label: npt.ArrayLike, event_weight: npt.ArrayLike) -> Stack:
        """Return the regression that fits best to events that no member was trained on.

        Args:
            scores: In [0, 1], one column a member.
            label: 1 for signal, 0 for background.
            event_weight: Of either sign.

        Shapes:
            scores: ``(n_events, n_members)``; label, event_weight: ``(n_events,)``.

        Raises:
            DataError: As `hepdl.posthoc.inputs.members.check_members`, or no minimum was found.
        """
        events = check_members(scores, label, event_weight)
        logits, is_signal = _logits(events.scores), events.is_signal
        weight = events.event_weight / events.event_weight.sum()
        n_effective = 1.0 / float(np.sum(weight**2))
        strength = 1.0 / (n_effective * SCALE_WIDTH**2)
        scales = np.array([_scale(x, is_signal, weight, strength=strength) for x in logits.T])
        intercept, shares = regress(
            logits * scales,
            is_signal,
            weight,
            centre=1.0 / len(scales),
            strength=1.0 / (n_effective * PRIOR_WIDTH**2),
        )
        return cls(intercept, shares * scales)

    def transform(self, scores: npt.ArrayLike) -> Floats:
        """Return one score for each row.

        Shapes:
            ``(n_events, n_members)`` → ``(n_events,)``.
        """
        logits = _logits(as_columns(scores, len(self.coefficients)))
        return np.asarray(expit(self.intercept + logits @ self.coefficients), dtype=np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""
        return {"intercept": self.intercept, "coefficients": self.coefficients.tolist()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Stack:
        """Return the map that ``as_dict`` wrote down."""
        return cls(float(content["intercept"]), np.array(content["coefficients"]))


def regress(
    features: Floats,
    is_signal: npt.NDArray[np.bool_],
    event_weight: Floats,
    *,
    centre: float,
    strength: float,
) -> tuple[float, Floats]:
    """Return constant and coefficients of a regularised logistic regression.

    They minimise the weighted sum of the cross entropy plus ``strength |c - centre|^2 / 2``; the
    constant is not regularised. With weights of either sign there is a minimum as long as each
    class has a positive sum: the constant is bounded by that, the coefficients by the second term.

    Args:
        features: One column a coefficient.
        is_signal: True for signal.
        event_weight: Of either sign.
        centre: What all coefficients are drawn to, and where the search begins.
        strength: How much; above 0.

    Shapes:
        features: ``(n_events, n_features)``; is_signal, event_weight: ``(n_events,)``.

    Raises:
        DataError: The search does not end in a minimum.
    """
    design = np.column_stack([np.ones(len(features)), features])
    pull = np.full(design.shape[1], strength)
    pull[0] = 0.0
    start = np.full(design.shape[1], centre)
    start[0] = 0.0
    centres = start.copy()

    def loss(parameters: Floats) -> float:
        logits = design @ parameters
        entropy = np.sum(event_weight * (np.logaddexp(0.0, logits) - is_signal * logits))
        return float(entropy + np.sum(pull * (parameters - centres) ** 2) / 2)

    def gradient(parameters: Floats) -> Floats:
        residual = event_weight * (expit(design @ parameters) - is_signal)
        return np.asarray(residual @ design + pull * (parameters - centres), dtype=np.float64)

    def hessian(parameters: Floats) -> Floats:
        p = expit(design @ parameters)
        curvature = (design.T * (event_weight * p * (1 - p))) @ design
        return np.asarray(curvature + np.diag(pull), dtype=np.float64)

    scale = float(np.abs(event_weight).sum())
    found = minimize(
        loss,
        start,
        jac=gradient,
        hess=hessian,
        method="trust-exact",
        options={"gtol": 1e-3 * FLAT * scale, "maxiter": MAX_ITERATIONS},
    )
    slope = float(np.abs(gradient(found.x)).max()) / scale
    if not slope < FLAT:
        message = (
            f"logistic regression on {features.shape[1]} columns and {len(features)} events did not "
            f"converge in {found.nit} steps: the gradient is still {slope:.2g}; more validation "
            "events or another policy for negative weights are needed"
        )
        raise DataError(message)
    return float(found.x[0]), np.asarray(found.x[1:], dtype=np.float64)


def _scale(
    logits: Floats, is_signal: npt.NDArray[np.bool_], event_weight: Floats, *, strength: float
) -> float:
    """Return what the logits of one member are to be multiplied by; 0 if they are all the same."""
    size = np.abs(event_weight) / np.abs(event_weight).sum()
    mean = float(np.sum(size * logits))
    spread = float(np.sqrt(np.sum(size * (logits - mean) ** 2)))
    if spread < SAME:
        return 0.0
    standardised = ((logits - mean) / spread)[:, np.newaxis]
    _, slope = regress(standardised, is_signal, event_weight, centre=0.0, strength=strength)
    return float(slope[0]) / spread


def _logits(scores: Floats) -> Floats:
    return np.asarray(
        logit(np.clip(scores, NEAREST_TO_0_AND_1, 1 - NEAREST_TO_0_AND_1)), dtype=np.float64
    )
