"""Decorrelation by an adversary behind a gradient reversal.

A small network, the adversary, reads the classifier's logit and predicts the nuisance, e.g. the jet
mass. It is trained to predict well; through the reversal the classifier is trained to make that
impossible, so that the score carries no information on the nuisance.

Choices, and why:

* The nuisance is cut into bins of equal weight, and the adversary is a softmax over them with the
  cross-entropy as its loss. Unlike a mixture density it needs no bounds on widths, has no
  unbounded likelihood, and knows its own ceiling: the entropy log(n_bins).
* The logit is centred and scaled within the minibatch before the adversary reads it: the
  classifier cannot escape by squeezing or stretching its scores, which carries no information.
* The adversary is smooth (tanh) and slow (learning rate 2e-3 with Adam, three updates per step of
  the classifier). On the toy of "Learning to pivot" a rate of 2e-2 or rectified units let it end
  at the ceiling while the score still knew the nuisance: a dead adversary.
* Weights enter with their absolute value: a cross-entropy with negative weights has no lower
  bound, and the adversary would find it.

The adversary's own loss is no measure of dependence: it says "decorrelated" whenever the adversary
is too weak. Measure the dependence on the finished scores (``hepdl.evaluate``).

Reference: Y. Ganin and V. Lempitsky, "Unsupervised domain adaptation by backpropagation",
arXiv:1409.7495 (reversal and its schedule); G. Louppe, M. Kagan and K. Cranmer, "Learning to pivot
with adversarial networks", arXiv:1611.01046 (nuisance of a physics analysis, background only,
pre-training); C. Shimmin et al., arXiv:1703.03507 (softmax over bins of the jet mass).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hepdl.errors import DataError
from hepdl.layers.reversal import reverse_gradient
from hepdl.losses.penalties.against import AgainstNuisances, standardised, taking_part
from hepdl.losses.penalties.bins import bin_numbers, quantile_edges

__all__ = ["GradientReversal"]


class GradientReversal(AgainstNuisances):
    """The adversary's cross-entropy, with its gradient reversed towards the classifier.

    During the first ``warm_up`` epochs the strength is zero: the classifier learns to classify
    and the adversary learns to read its score, which is the pre-training of both.

    Args:
        strength: Weight of the reversed gradient against the classification; 0 only watches.
        nuisances: Names of the nuisances; empty means all that the events have.
        applies_to: ``"background"``, ``"signal"``, ``"all"`` or ``"each_class"``.
        warm_up: Epochs before the penalty sets in; may be a fraction.
        schedule: ``"constant"``, ``"linear"`` or ``"sigmoid"``, see `AgainstNuisances`.
        n_bins: Bins of each nuisance.
        hidden: Widths of the adversary's hidden layers.
        learning_rate: Of the adversary's own optimiser.
        inner_steps: Updates of the adversary for each one of the classifier.
    """

    edges: Tensor

    def __init__(
        self,
        *,
        strength: float = 1.0,
        nuisances: Sequence[str] = (),
        applies_to: str = "background",
        warm_up: float = 2.0,
        schedule: str = "constant",
        n_bins: int = 16,
        hidden: Sequence[int] = (32, 32),
        learning_rate: float = 2e-3,
        inner_steps: int = 3,
    ) -> None:
        self.n_bins = n_bins
        self.hidden = tuple(hidden)
        self.learning_rate = float(learning_rate)
        self.inner_steps = inner_steps
        super().__init__(
            strength=strength,
            nuisances=nuisances,
            applies_to=applies_to,
            warm_up=warm_up,
            schedule=schedule,
            problems=self._problems(),
        )
        self.n_inputs = 1
        # The nuisances are known when the penalty is built by name, else after fit_nuisance.
        self.adversary = nn.Sequential()
        self.register_buffer("edges", torch.zeros(0, n_bins - 1))
        if self.nuisances:
            self._build(len(self.nuisances))

    def _problems(self) -> Iterator[str]:
        if self.n_bins < 2:
            yield f"n_bins must be at least 2, got {self.n_bins}"
        if not self.hidden or min(self.hidden) < 1:
            yield f"hidden must be one or more widths >= 1, got {list(self.hidden)}"
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            yield f"learning_rate must be a number > 0, got {self.learning_rate}"
        if self.inner_steps < 1:
            yield f"inner_steps must be at least 1, got {self.inner_steps}"

    def _build(self, n_nuisances: int) -> None:
        widths = (self.n_inputs, *self.hidden)
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.Tanh()]
        self.adversary = nn.Sequential(*layers, nn.Linear(widths[-1], n_nuisances * self.n_bins))
        self.edges = torch.zeros(n_nuisances, self.n_bins - 1)

    def set_width(self, n_features: int) -> None:
        """Read so many features of a hidden layer in the place of one logit.

        To be called before the first step; the adversary is drawn anew.
        """
        self.n_inputs = n_features
        if len(self.edges):
            self._build(len(self.edges))

    def options(self) -> dict[str, Any]:
        """Return every option by name."""
        return super().options() | {
            "n_bins": self.n_bins,
            "learning_rate": self.learning_rate,
            "inner_steps": self.inner_steps,
        }

    def fit_nuisance(self, nuisance: Tensor, event_weight: Tensor) -> None:
        """Set the edges of the bins to quantiles of the training events, weighted by |w|.

        Shapes:
            nuisance ``(n_events, n_nuisances)``, event_weight ``(n_events,)``.

        Raises:
            DataError: There is no nuisance, no weight, or a value that is constant or not finite.
        """
        self.check_nuisance(nuisance, event_weight)
        if len(self.edges) != nuisance.shape[1]:
            self._build(nuisance.shape[1])
            self.to(nuisance.device)
        for row, values in enumerate(nuisance.T):
            edges = quantile_edges(values, event_weight, n_bins=self.n_bins)
            self.edges[row] = edges.to(self.edges)

    def forward(
        self,
        logits: Tensor,
        label: Tensor,
        nuisance: Tensor | None,
        event_weight: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the adversary's cross-entropy [nats], summed over the nuisances.

        Shapes:
            logits ``(n_events,)``, after ``set_width`` the features of a layer
            ``(n_events, n_features)``; event_weight, mask ``(n_events,)``; nuisance ``(n_events, n_nuisances)``;
            label is not used: the mask says who takes part.
        """
        if nuisance is None or not len(self.edges):
            message = "GradientReversal needs the nuisance, and fit_nuisance before the first step"
            raise DataError(message)
        logits, nuisance, weight = taking_part(logits, nuisance, event_weight, mask)
        bins = bin_numbers(nuisance, self.edges)
        seen = reverse_gradient(standardised(logits, weight), strength=self.current_strength)
        # One row per event and nuisance: the two-dimensional loss has no deterministic CUDA form.
        predicted = self.adversary(seen.reshape(len(seen), self.n_inputs)).view(-1, self.n_bins)
        losses = cross_entropy(predicted, bins.T.reshape(-1), reduction="none")
        # A minibatch may have nobody who takes part.
        return (losses.view(len(logits), len(self.edges)) * weight[:, None]).sum()
