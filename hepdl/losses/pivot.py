"""Learning to pivot: the adversary is the density of the nuisance, given the score.

Classifier and adversary play for ``E = L_f - strength * L_r``: L_r is minus the mean log density that the adversary gives
the nuisance. The adversary has ``inner_steps`` updates for each one of the classifier, the last of which shares the
backward pass of the classifier through a gradient reversal. At the end L_r cannot be larger than the entropy of the nuisance
(1.4189 for a unit Gaussian), where the score says nothing.

Choices, and why:

* Three densities (``head``): ``mixture`` of Gaussians, as in the paper; ``flow``, a monotone spline of the nuisance's rank, which
  needs no bounds and gives minus the mutual information itself; ``bins`` of equal weight.
* Widths of the Gaussians are at least 2 % of the nuisance's spread: the likelihood stays bounded.
* The adversary reads the logit, centred and scaled within the minibatch: squeezing the scores is no way out. It is smooth and slow, and
  ``refit_every`` lets it begin anew: on the toy of the paper a fast adversary died at a large strength, said "pivotal" (1.4199),
  and the score was as dependent as without it.
* The warm-up trains classifier and adversary with strength 0: the pre-training of both.
* Weights enter with their absolute value: a likelihood with negative weights has no upper bound.

The adversary's own loss is no measure of dependence. Measure the finished scores (``hepdl.evaluate``).

Reference: G. Louppe, M. Kagan and K. Cranmer, "Learning to pivot with adversarial networks", NeurIPS 2017,
arXiv:1611.01046; C. M. Bishop, "Mixture density networks", Aston University 1994.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hepdl.errors import DataError, unknown_name
from hepdl.layers.reversal import reverse_gradient
from hepdl.losses.penalties.against import AgainstNuisances, standardised, taking_part
from hepdl.losses.penalties.densities import DENSITIES, Density

__all__ = ["Pivot"]


class Pivot(AgainstNuisances):
    """Minus the mean log density of the nuisance, with its gradient reversed towards the classifier.

    Args:
        strength: Weight of the reversed gradient against the classification; 0 only watches.
        nuisances: Names of the nuisances; empty means all that the events have. Each has an
            adversary of its own.
        applies_to: ``"background"``, ``"signal"``, ``"all"`` or ``"each_class"``.
        warm_up: Epochs before the penalty sets in; may be a fraction.
        schedule: See `AgainstNuisances`.
        head: ``"mixture"``, ``"flow"`` or ``"bins"``.
        n_components: Gaussians, knots or bins.
        hidden: Widths of the adversary's hidden layers.
        learning_rate: Of the adversary's own optimiser.
        inner_steps: Updates of the adversary for each one of the classifier.
        refit_every: Epochs after which the adversary begins anew; 0 is never.
    """

    def __init__(
        self,
        *,
        strength: float = 1.0,
        nuisances: Sequence[str] = (),
        applies_to: str = "background",
        warm_up: float = 2.0,
        schedule: str = "constant",
        head: str = "mixture",
        n_components: int | None = None,
        hidden: Sequence[int] = (20, 20),
        learning_rate: float = 2e-3,
        inner_steps: int = 3,
        refit_every: float = 0.0,
    ) -> None:
        self.head = head
        self.n_components = n_components
        self.hidden = tuple(hidden)
        self.learning_rate = float(learning_rate)
        self.inner_steps = inner_steps
        self.refit_every = float(refit_every)
        super().__init__(
            strength=strength,
            nuisances=nuisances,
            applies_to=applies_to,
            warm_up=warm_up,
            schedule=schedule,
            problems=self._problems(),
        )
        self.densities = nn.ModuleList()
        self._build(len(self.nuisances))

    def _problems(self) -> Iterator[str]:
        if self.head not in DENSITIES:
            yield unknown_name("head", self.head, DENSITIES, where="decorrelation.options.head")
        if self.n_components is not None and self.n_components < 2:
            yield f"n_components must be at least 2, got {self.n_components}"
        if not self.hidden or min(self.hidden) < 1:
            yield f"hidden must be one or more widths >= 1, got {list(self.hidden)}"
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            yield f"learning_rate must be a number > 0, got {self.learning_rate}"
        if self.inner_steps < 1:
            yield f"inner_steps must be at least 1, got {self.inner_steps}"
        if not (math.isfinite(self.refit_every) and self.refit_every >= 0):
            yield f"refit_every must be a number of epochs >= 0, got {self.refit_every}"

    def _build(self, n_nuisances: int) -> None:
        kind = DENSITIES[self.head]
        given = {} if self.n_components is None else {"n_components": self.n_components}
        self.densities = nn.ModuleList(
            kind(hidden=self.hidden, **given) for _ in range(n_nuisances)
        )

    def options(self) -> dict[str, Any]:
        """Return every option by name."""
        own = ("head", "n_components", "learning_rate", "inner_steps", "refit_every")
        return super().options() | {key: getattr(self, key) for key in own}

    def fit_nuisance(self, nuisance: Tensor, event_weight: Tensor) -> None:
        """Let each density know the spectrum of its nuisance in the training part, weighted by |w|.

        Shapes:
            nuisance ``(n_events, n_nuisances)``, event_weight ``(n_events,)``.

        Raises:
            DataError: There is no nuisance, no weight, a value that is constant or not finite, or a
                nuisance of few values that a density cannot describe.
        """
        self.check_nuisance(nuisance, event_weight)
        if len(self.densities) != nuisance.shape[1]:
            self._build(nuisance.shape[1])
            self.to(nuisance.device)
        for column, values in enumerate(nuisance.T):
            n_values = len(torch.unique(values))
            if self.head != "bins" and n_values <= 10:
                message = f"{self._what}: nuisance {self._named(column)} has {n_values} different values, "
                message += f"which a {self.head} cannot describe; use head: bins"
                raise DataError(message)
            self._density(column).fit_nuisance(values, event_weight)

    def _density(self, column: int) -> Density:
        density = self.densities[column]
        assert isinstance(density, Density)
        return density

    def restart(self, generator: torch.Generator) -> None:
        """Draw the adversary's parameters anew.

        Args:
            generator: On the CPU; the only source of randomness.
        """
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = Pivot(
                nuisances=[str(k) for k in range(len(self.densities))],
                head=self.head,
                n_components=self.n_components,
                hidden=self.hidden,
            )
        with torch.no_grad():
            for old, new in zip(self.parameters(), fresh.parameters(), strict=True):
                old.copy_(new)

    def forward(
        self,
        logits: Tensor,
        label: Tensor,
        nuisance: Tensor | None,
        event_weight: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return L_r [nats], summed over the nuisances.

        Shapes:
            logits, event_weight, mask ``(n_events,)``; nuisance ``(n_events, n_nuisances)``;
            label is not used: the mask says who takes part.
        """
        if nuisance is None or not len(self.densities):
            message = "Pivot needs the nuisance, and fit_nuisance before the first step"
            raise DataError(message)
        logits, nuisance, weight = taking_part(logits, nuisance, event_weight, mask)
        seen = reverse_gradient(standardised(logits, weight), strength=self.current_strength)
        losses = [
            -self._density(column).log_density(values, seen[:, None])
            for column, values in enumerate(nuisance.T)
        ]
        return (torch.stack(losses, dim=1).sum(dim=1) * weight).sum()
