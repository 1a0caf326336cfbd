"""Domain adaptation: a hidden layer that does not tell data from simulation.

An adversary reads a layer of the network and says from which domain an event comes; through the gradient
reversal the layer learns features that are alike in both. Only simulated events have labels: the
classification learns from these, the penalty from both. In an analysis the events of the second
domain are processes with ``label: unlabelled``, and the nuisance is ``domain`` (0 for labelled, 1 for
unlabelled events); any switch that the events carry will do as well.

It is `GradientReversal` with the choices of the paper: on all events, with the sigmoid schedule
from the first step on, one update of the adversary for each one of the network, and rectified units. The layer is
named by ``decorrelation.layer``; without it the adversary reads the logit.

What the adversary says of itself is no measure: fit a fresh probe to the layer, before and after.

Reference: Y. Ganin and V. Lempitsky, "Unsupervised domain adaptation by backpropagation",
arXiv:1409.7495; Y. Ganin et al., JMLR 17 (2016) 59, arXiv:1505.07818.
"""

from __future__ import annotations

from collections.abc import Sequence

from hepdl.losses.gradient_reversal import GradientReversal

__all__ = ["DomainAdversarial"]


class DomainAdversarial(GradientReversal):
    """The cross-entropy of the domain, with its gradient reversed towards the layer.

    Args:
        strength: Weight of the reversed gradient against the classification.
        nuisances: The domain, or further switches.
        applies_to: ``"all"``, unlabelled events among them, or a class.
        warm_up: Epochs before the penalty sets in.
        schedule: See `AgainstNuisances`.
        n_bins: Most values of the nuisance; a continuous one is cut into so many bins.
        hidden: Widths of the adversary's hidden layers.
        learning_rate: Of the adversary's own optimiser.
        inner_steps: Updates of the adversary for each one of the network.
    """

    def __init__(
        self,
        *,
        strength: float = 1.0,
        nuisances: Sequence[str] = (),
        applies_to: str = "all",
        warm_up: float = 0.0,
        schedule: str = "sigmoid",
        n_bins: int = 2,
        hidden: Sequence[int] = (64, 64),
        learning_rate: float = 2e-3,
        inner_steps: int = 2,
    ) -> None:
        super().__init__(
            strength=strength,
            nuisances=nuisances,
            applies_to=applies_to,
            warm_up=warm_up,
            schedule=schedule,
            n_bins=n_bins,
            hidden=hidden,
            learning_rate=learning_rate,
            inner_steps=inner_steps,
        )
