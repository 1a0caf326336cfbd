"""The linear kind: what a straight line in the nuisances says of the score is taken away.

``s - slope . z`` is ranked among all events: the designed decorrelated tagger. It makes the
mean of the score independent of the nuisance where it is linear in it, and no other moment. Weights of
either sign enter the fit as they are. Outside of the range of the fitted nuisances the line is flat.

Reference:
    J. Dolen, P. Harris, S. Marzani, S. Rappoccio, N. Tran, "Thinking outside the ROCs: designing
    decorrelated taggers (DDT) for jet substructure", JHEP 05 (2016) 156, arXiv:1603.00027.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.posthoc.conditional.ranks import Ranks
from hepdl.posthoc.conditional.standard import Standard
from hepdl.posthoc.inputs.nuisances import BackgroundEvents

__all__ = ["Line", "LineOptions"]

Floats = npt.NDArray[np.float64]

# A variance below this, of standardised nuisances, is rounding.
SAME = 1e-9


@dataclass(frozen=True)
class LineOptions:
    """There are none."""


@dataclass(frozen=True)
class Line:
    """A slope for each nuisance, and the ranks of what is left of the score.

    Attributes:
        standard: Where the nuisances lie.
        slope: Change of the score with each standardised nuisance.
        ranks: Of the scores without the line.

    Shapes:
        slope: ``(n_nuisances,)``.
    """

    standard: Standard
    slope: Floats
    ranks: Ranks

    @classmethod
    def fit(cls, events: BackgroundEvents, options: LineOptions, *, seed: int) -> Line:
        """Return the line of least weighted squares.

        Args:
            events: Those to be made flat.
            options: None.
            seed: Not needed.

        Raises:
            DataError: The weights leave the nuisances without a positive variance.
        """
        standard = Standard.of(events)
        x, weight = standard.apply(events.nuisance), events.event_weight / events.event_weight.sum()
        centred = x - weight @ x
        covariance = (centred.T * weight) @ centred
        least = float(np.linalg.eigvalsh(covariance)[0])
        if not least > SAME:
            message = (
                f"the weighted covariance of {x.shape[1]} standardised nuisances has the eigenvalue "
                f"{least:.3g}: a line needs nuisances that are not functions of each other, and weights "
                "that are not mostly negative"
            )
            raise DataError(message)
        slope = np.linalg.solve(covariance, centred.T @ (weight * events.scores))
        ranks = Ranks.of(events.scores - x @ slope, events.event_weight)
        return cls(standard, np.asarray(slope, dtype=np.float64), ranks)

    def cdf(self, scores: Floats, nuisance: Floats) -> Floats:
        """Return the rank of each score without the line.

        Shapes:
            scores ``(n_events,)``, nuisance ``(n_events, n_nuisances)`` → ``(n_events,)``.
        """
        return self.ranks.at(scores - self.standard.apply(nuisance) @ self.slope)

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""
        return {
            "standard": self.standard.as_dict(),
            "slope": self.slope.tolist(),
            "ranks": self.ranks.as_dict(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Line:
        """Return the map that ``as_dict`` wrote down."""
        standard, ranks = content["standard"], content["ranks"]
        slope = np.array(content["slope"])
        return cls(Standard.from_dict(standard), slope, Ranks.from_dict(ranks))
