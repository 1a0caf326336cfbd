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
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.layers.reversal import reverse_gradient

__all__ = ["GradientReversal"]

APPLIES_TO = ("all", "background", "signal")
SCHEDULES = ("constant", "sigmoid")


class GradientReversal(nn.Module):
    """The adversary's cross-entropy, with its gradient reversed towards the classifier.

    During the first ``warm_up`` epochs the strength is zero: the classifier learns to classify
    and the adversary learns to read its score, which is the pre-training of both.

    Args:
        strength: Weight of the reversed gradient against the classification; 0 only watches.
        nuisances: Names of the nuisances; empty means all that the events have.
        applies_to: ``"background"``, ``"signal"`` or ``"all"``.
        warm_up: Epochs before the penalty sets in; may be a fraction.
        schedule: ``"constant"``, or ``"sigmoid"``: 2 / (1 + exp(-10 p)) - 1 times the strength,
            with p the progress from the end of the warm-up to the end of the training.
        n_bins: Bins of each nuisance.
        hidden: Widths of the adversary's hidden layers.
        learning_rate: Of the adversary's own optimiser.
        inner_steps: Updates of the adversary for each one of the classifier.
    """

    edges: Tensor
    offset: Tensor

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
        super().__init__()
        self.strength = float(strength)
        self.nuisances = tuple(nuisances)
        self.applies_to = applies_to
        self.warm_up = float(warm_up)
        self.schedule = schedule
        self.n_bins = n_bins
        self.hidden = tuple(hidden)
        self.learning_rate = float(learning_rate)
        self.inner_steps = inner_steps
        self._check()
        # The nuisances are known when the penalty is built by name, else after fit_nuisance.
        self.current_strength = 0.0
        self.adversary = nn.Sequential()
        self.register_buffer("edges", torch.zeros(0, n_bins - 1))
        if self.nuisances:
            self._build(len(self.nuisances))

    def _check(self) -> None:
        problems = []
        if not (math.isfinite(self.strength) and self.strength >= 0):
            problems.append(f"strength must be a number >= 0, got {self.strength}")
        if not (math.isfinite(self.warm_up) and self.warm_up >= 0):
            problems.append(f"warm_up must be a number of epochs >= 0, got {self.warm_up}")
        if self.n_bins < 2:
            problems.append(f"n_bins must be at least 2, got {self.n_bins}")
        if not self.hidden or min(self.hidden) < 1:
            problems.append(f"hidden must be one or more widths >= 1, got {list(self.hidden)}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            problems.append(f"learning_rate must be a number > 0, got {self.learning_rate}")
        if self.inner_steps < 1:
            problems.append(f"inner_steps must be at least 1, got {self.inner_steps}")
        for key, value, known in (
            ("applies_to", self.applies_to, APPLIES_TO),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in known:
                problems.append(unknown_name(key, value, known, where=f"decorrelation.{key}"))
        if problems:
            message = "decorrelation by gradient_reversal: " + "; ".join(problems)
            raise ConfigError(message)

    def _build(self, n_nuisances: int) -> None:
        widths = (1, *self.hidden)
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.Tanh()]
        self.adversary = nn.Sequential(*layers, nn.Linear(widths[-1], n_nuisances * self.n_bins))
        self.edges = torch.zeros(n_nuisances, self.n_bins - 1)

    def extra_repr(self) -> str:
        """Return every option, so that a resume with another one is recognised."""
        return (
            f"strength={self.strength}, nuisances={self.nuisances}, applies_to={self.applies_to}, "
            f"warm_up={self.warm_up}, schedule={self.schedule}, n_bins={self.n_bins}, "
            f"learning_rate={self.learning_rate}, inner_steps={self.inner_steps}"
        )

    def fit_nuisance(self, nuisance: Tensor, event_weight: Tensor) -> None:
        """Set the edges of the bins to quantiles of the training events, weighted by |w|.

        Shapes:
            nuisance ``(n_events, n_nuisances)``, event_weight ``(n_events,)``.

        Raises:
            DataError: There is no nuisance, no weight, or a value that is not finite.
        """
        if nuisance.ndim != 2 or nuisance.shape[1] == 0:
            message = "decorrelation by gradient_reversal: the events have no nuisance; give a "
            message += "branch the role 'nuisance' in the schema, e.g. the jet mass"
            raise DataError(message)
        if not bool(torch.isfinite(nuisance).all()):
            bad = int(torch.nonzero(~torch.isfinite(nuisance))[0, 0])
            message = f"decorrelation by gradient_reversal: nuisance of entry {bad} is not finite: "
            message += f"{nuisance[bad].tolist()}; remove such events by a selection"
            raise DataError(message)
        if float(event_weight.abs().sum()) == 0:
            message = "decorrelation by gradient_reversal: no training event with a weight takes "
            message += f"part (applies_to: {self.applies_to})"
            raise DataError(message)
        if len(self.edges) != nuisance.shape[1]:
            self._build(nuisance.shape[1])
            self.to(nuisance.device)
        wanted = torch.arange(1, self.n_bins, dtype=torch.float64) / self.n_bins
        for row, values in enumerate(nuisance.detach().cpu().T):
            order = torch.argsort(values, stable=True)
            # In double precision: a float32 sum over millions of weights loses the last quantiles.
            total = torch.cumsum(event_weight.detach().cpu().double().abs()[order], 0)
            position = torch.searchsorted(total, wanted * total[-1]).clamp_max(len(values) - 1)
            self.edges[row] = values[order[position]].to(self.edges)

    def set_progress(self, epoch: float, n_epochs: int) -> None:
        """Set the strength for a position of the training, in epochs."""
        self.current_strength = 0.0
        if epoch >= self.warm_up:
            fraction = 1.0
            if self.schedule == "sigmoid":
                progress = (epoch - self.warm_up) / max(n_epochs - self.warm_up, 1e-9)
                fraction = 2 / (1 + math.exp(-10 * progress)) - 1
            self.current_strength = self.strength * fraction

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
            logits, event_weight, mask ``(n_events,)``; nuisance ``(n_events, n_nuisances)``;
            label is not used: the mask says who takes part.
        """
        if nuisance is None or not len(self.edges):
            message = "GradientReversal needs the nuisance, and fit_nuisance before the first step"
            raise DataError(message)
        if mask is not None:
            logits, nuisance, event_weight = logits[mask], nuisance[mask], event_weight[mask]
        weight = event_weight.abs()
        weight = weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)
        bins = torch.searchsorted(self.edges, nuisance.T.contiguous())
        seen = reverse_gradient(_standardised(logits, weight), strength=self.current_strength)
        # One row per event and nuisance: the two-dimensional loss has no deterministic CUDA form.
        predicted = self.adversary(seen[:, None]).view(-1, self.n_bins)
        losses = cross_entropy(predicted, bins.T.reshape(-1), reduction="none")
        # A minibatch may have nobody who takes part.
        return (losses.view(len(logits), len(self.edges)) * weight[:, None]).sum()


def _standardised(logits: Tensor, weight: Tensor) -> Tensor:
    """Return the logits with weighted mean 0 and variance 1; ``weight`` sums to 1."""
    centred = logits - (weight * logits).sum()
    # The constant keeps the gradient of equal logits finite.
    return centred * torch.rsqrt((weight * centred.square()).sum() + 1e-6)
