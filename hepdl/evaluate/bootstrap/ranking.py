"""Area and background rejection with replicas: sorted once, then cumulated for each replica."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.evaluate.bootstrap import kernels
from hepdl.evaluate.bootstrap.intervals import Interval
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.inputs.scored import check_efficiencies, check_scored
from hepdl.evaluate.roc import rejection_lower_bound, roc_curve

__all__ = ["Ranking", "rank", "summarise"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """How well one set of scores separates signal from background, in the sample and in replicas.

    Attributes:
        auc: Area under the curve.
        auc_replicas: The area in each replica.
        signal_efficiencies: The working points, rising.
        background_rejection: 1 / background efficiency at each; may be infinite.
        rejection_replicas: The rejections in each replica; may be infinite.
        rejection_lower_bound: What no passing background would still exclude at 68 %.
        ks: Largest distance between signal and background efficiency.
        ks_replicas: That distance in each replica.
        fingerprint: That of the bootstrap; only rankings that share it can be paired.

    Shapes:
        auc_replicas, ks_replicas: ``(n_replicas,)``;
        signal_efficiencies, background_rejection: ``(n_efficiencies,)``;
        rejection_replicas: ``(n_replicas, n_efficiencies)``.
    """

    auc: float
    auc_replicas: Floats
    signal_efficiencies: Floats
    background_rejection: Floats
    rejection_replicas: Floats
    rejection_lower_bound: float
    ks: float
    ks_replicas: Floats
    fingerprint: int

    def auc_interval(self) -> Interval:
        """Return the area with its 68 % interval."""
        return Interval.from_replicas(self.auc, self.auc_replicas)

    def rejection_intervals(self) -> dict[str, Interval]:
        """Return the rejection with its 68 % interval for each signal efficiency, as in YAML.

        Where no background passes, the value and the upper end are infinite and the lower end is
        `hepdl.evaluate.roc.rejection_lower_bound`.
        """
        found = {}
        for k, efficiency in enumerate(self.signal_efficiencies):
            value = float(self.background_rejection[k])
            found[f"{efficiency:g}"] = (
                Interval.from_replicas(value, self.rejection_replicas[:, k])
                if np.isfinite(value)
                else Interval(value, self.rejection_lower_bound, value)
            )
        return found


def rank(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    bootstrap: Bootstrap,
    signal_efficiencies: Sequence[float] = (0.3, 0.5, 0.8),
) -> Ranking:
    """Return area and rejections with their replicas.

    Args:
        label: 1 for signal, 0 for background.
        scores: Finite scores, signal at large values.
        event_weight: Weights of either sign; None means 1.
        bootstrap: Replicas of the same events.
        signal_efficiencies: Working points in (0, 1].

    Shapes:
        label, scores, event_weight: ``(n_events,)``.

    Raises:
        DataError: As `hepdl.evaluate.roc.roc_curve`, or the bootstrap is of other events.
    """
    events = check_scored(label, scores, event_weight)
    bootstrap.check_length(len(events.scores))
    efficiencies = np.sort(check_efficiencies(signal_efficiencies))
    curve = roc_curve(events.is_signal, events.scores, events.event_weight)
    order = np.argsort(-events.scores, kind="stable")
    signal_weight = (events.event_weight * events.is_signal)[order]
    background_weight = (events.event_weight * ~events.is_signal)[order]
    areas, distances, passing = kernels.rank_replicas(
        bootstrap.keys[order],
        signal_weight,
        background_weight,
        np.append(np.diff(events.scores[order]) != 0.0, True),
        efficiencies,
        bootstrap.n_replicas,
    )
    return Ranking(
        auc=curve.area(),
        auc_replicas=areas,
        signal_efficiencies=efficiencies,
        background_rejection=_inverse(curve.background_efficiency_at(efficiencies)),
        rejection_replicas=_inverse(passing),
        rejection_lower_bound=rejection_lower_bound(events.is_signal, events.event_weight),
        ks=float(np.max(np.abs(curve.signal_efficiency - curve.background_efficiency))),
        ks_replicas=distances,
        fingerprint=bootstrap.fingerprint,
    )


def summarise(
    label: npt.ArrayLike,
    scores: npt.ArrayLike,
    event_weight: npt.ArrayLike | None = None,
    *,
    bootstrap: Bootstrap,
    signal_efficiencies: Sequence[float] = (0.3, 0.5, 0.8),
) -> dict[str, Interval | dict[str, Interval]]:
    """Return ``{"auc": Interval, "background_rejection": {"0.3": Interval, ...}}``.

    Args, shapes and errors are those of `rank`.
    """
    ranking = rank(
        label, scores, event_weight, bootstrap=bootstrap, signal_efficiencies=signal_efficiencies
    )
    return {
        "auc": ranking.auc_interval(),
        "background_rejection": ranking.rejection_intervals(),
    }


def _inverse(efficiency: Floats) -> Floats:
    """Return 1 / efficiency, infinite where it is not positive and nan where it is nan."""
    unbounded = np.where(np.isnan(efficiency), np.nan, np.inf)
    return np.divide(1.0, efficiency, out=unbounded, where=efficiency > 0.0)
