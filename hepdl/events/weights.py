"""Event weights for training and comparison: flattened spectra, balanced classes, signs.

Kinematics that only reflect how the samples were made (a jet's pT and eta) must not help a tagger.
``Flattener`` finds a factor for each event so that the classes have one common spectrum in each of
the chosen columns: iterative proportional fitting ("raking") of the binned marginals of each class
to their mean over the classes.

Reference:
    W. E. Deming, F. F. Stephan, Ann. Math. Statist. 11 (1940) 427 (iterative proportional
    fitting).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, DataError, unknown_name

__all__ = ["CLASSES", "NEGATIVE_POLICIES", "Flattener", "apply_negative_policy", "balance"]

log = logging.getLogger(__name__)

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Columns = Mapping[str, npt.NDArray[Any]]

NEGATIVE_POLICIES = ("keep", "absolute", "drop")
CLASSES = (0, 1)

MAX_BINS = 50
# Of the smaller class: a factor is then known to about 14 %.
MIN_ENTRIES_PER_BIN = 50
MAX_ITERATIONS = 200
# Far below the statistical precision of a bin.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Flattener:
    """Factors that give both classes the same spectrum in each of some columns.

    The bins are quantiles of both classes together, each class counted alike, so that they are
    equally filled; values outside the range of the fit belong to the outermost bins. Where a bin
    holds only one class, no factor can help: its events get the factor 0.

    Attributes:
        edges: Inner edges of the bins of each column, ``(n_bins - 1,)``.
        factors: Factor of each class and bin of each column, ``(2, n_bins)``; an event's factor is
            the product over the columns.
    """

    edges: Mapping[str, Array]
    factors: Mapping[str, Array]

    @classmethod
    def fit(
        cls,
        columns: Columns,
        label: npt.ArrayLike,
        event_weight: npt.ArrayLike,
        *,
        n_bins: int = MAX_BINS,
    ) -> Flattener:
        """Find the factors.

        Args:
            columns: The columns to be flattened, ``(n_events,)`` each.
            label: 1 for signal, 0 for background.
            event_weight: May be negative as long as the bins' sums are not.
            n_bins: At most that many bins a column; fewer if the smaller class has fewer than
                50 events a bin.

        Shapes:
            label and event_weight ``(n_events,)``.

        Raises:
            DataError: A value is not finite, a class has no positive sum of weights, or the
                classes have no region in common.
        """
        label = np.asarray(label, dtype=np.int64)
        weight = np.asarray(event_weight, dtype=np.float64)
        _class_sums(label, weight)
        magnitude = np.abs(weight)
        smaller = min(_effective_number(magnitude[label == c]) for c in CLASSES)
        n_bins = max(1, min(n_bins, int(smaller // MIN_ENTRIES_PER_BIN)))
        alike = magnitude / np.array([magnitude[label == c].sum() for c in CLASSES])[label]
        edges = {}
        for name, values in columns.items():
            _check_finite(name, values)
            edges[name] = _quantile_edges(np.asarray(values, dtype=np.float64), alike, n_bins)
        bins = {name: _bins(columns[name], edges[name]) for name in columns}
        factors = _rake(bins, {name: len(edges[name]) + 1 for name in columns}, label, weight)
        flattener = cls(edges, factors)
        lost = int((flattener.weights(columns, label) == 0).sum())
        log.info(
            "flattened %s in %s bins; %d of %d entries are in bins that only one class fills "
            "and get the weight 0",
            ", ".join(columns),
            ", ".join(str(len(edges[name]) + 1) for name in columns),
            lost,
            len(label),
        )
        return flattener

    def weights(self, columns: Columns, label: npt.ArrayLike) -> Array:
        """Return the factor of each event, ``(n_events,)``, by which its weight is multiplied.

        Args:
            columns: At least the columns of the fit, ``(n_events,)`` each.
            label: 1 for signal, 0 for background, ``(n_events,)``.
        """
        label = np.asarray(label, dtype=np.int64)
        product = np.ones(len(label))
        for name, edges in self.edges.items():
            if name not in columns:
                message = unknown_name("column", name, columns, where="columns to be flattened")
                raise DataError(message)
            _check_finite(name, columns[name])
            product *= self.factors[name][label, _bins(columns[name], edges)]
        return product

    def as_dict(self) -> dict[str, Any]:
        """Return the factors as what JSON can hold."""
        return {
            name: {"edges": self.edges[name].tolist(), "factors": self.factors[name].tolist()}
            for name in self.edges
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Flattener:
        """Return the flattener that ``as_dict`` wrote down."""
        return cls(
            {name: np.array(entry["edges"], dtype=np.float64) for name, entry in content.items()},
            {name: np.array(entry["factors"], dtype=np.float64) for name, entry in content.items()},
        )


def _check_finite(name: str, values: npt.NDArray[Any]) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        message = (
            f"{name} is {values[bad[0]]} at entry {bad[0]} ({len(bad)} such entries); "
            "a column can be flattened where it is finite: cut the others away in the selection"
        )
        raise DataError(message)


def _effective_number(weight: Array) -> float:
    return float(weight.sum() ** 2 / np.square(weight).sum())


def _quantile_edges(values: Array, weight: Array, n_bins: int) -> Array:
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weight[order])
    wanted = cumulative[-1] * np.arange(1, n_bins) / n_bins
    # A value on an edge belongs to the bin above it; equal edges would only make empty bins.
    positions = np.minimum(np.searchsorted(cumulative, wanted, side="right"), len(order) - 1)
    edges: Array = np.unique(values[order][positions])
    return np.asarray(edges[edges > values.min()])


def _bins(values: npt.NDArray[Any], edges: Array) -> npt.NDArray[np.intp]:
    return np.searchsorted(edges, np.asarray(values, dtype=np.float64), side="right")


def _rake(
    bins: Mapping[str, npt.NDArray[np.intp]],
    n_bins: Mapping[str, int],
    label: Labels,
    weight: Array,
) -> dict[str, Array]:
    """Fit the factors of all columns, after bins without both classes have been emptied."""
    factors = {name: np.ones((len(CLASSES), n)) for name, n in n_bins.items()}
    current = _empty_lonely_bins(bins, factors, label, weight)
    targets = {}
    for name in bins:
        marginals = [_marginal(bins[name], n_bins[name], label == c, current) for c in CLASSES]
        targets[name] = np.mean([m / m.sum() for m in marginals], axis=0)
    for c in CLASSES:
        of_class = label == c
        rows = {name: bins[name][of_class] for name in bins}
        _rake_class(rows, targets, {name: factors[name][c] for name in bins}, current[of_class])
    if factors:
        # The factors of a class leave its sum of weights as it was.
        first = next(iter(factors))
        for c in CLASSES:
            of_class = label == c
            product = np.prod([factors[name][c][bins[name][of_class]] for name in bins], axis=0)
            total = (weight[of_class] * product).sum()
            factors[first][c] *= weight[of_class].sum() / total
    return factors


def _marginal(
    rows: npt.NDArray[np.intp], n_bins: int, chosen: npt.NDArray[np.bool_], weight: Array
) -> Array:
    sums = np.bincount(rows[chosen], weights=weight[chosen], minlength=n_bins)
    return np.asarray(sums, dtype=np.float64)


def _empty_lonely_bins(
    bins: Mapping[str, npt.NDArray[np.intp]],
    factors: Mapping[str, Array],
    label: Labels,
    weight: Array,
) -> Array:
    """Set the factors of bins that lack a class to 0; return the weights of what remains."""
    current = weight.copy()
    changed = True
    while changed:
        # Emptying a bin of one column may empty a bin of another.
        changed = False
        for name, factor in factors.items():
            marginals = [
                _marginal(bins[name], factor.shape[1], label == c, current) for c in CLASSES
            ]
            alive = np.all([m > 0 for m in marginals], axis=0)
            if (~alive & (factor[0] > 0)).any():
                changed = True
                factor[:, ~alive] = 0
                current[~alive[bins[name]]] = 0
            if not alive.any():
                message = (
                    f"signal and background have no range of {name} in common, so their spectra "
                    "cannot be flattened to a common one; choose a selection that both pass"
                )
                raise DataError(message)
    return current


def _rake_class(
    rows: Mapping[str, npt.NDArray[np.intp]],
    targets: Mapping[str, Array],
    factors: Mapping[str, Array],
    weight: Array,
) -> None:
    """Scale the factors of one class in place until every marginal is its target."""
    current = weight / weight.sum()
    off = 0.0
    for _ in range(MAX_ITERATIONS):
        off = 0.0
        for name, target in targets.items():
            marginal = np.bincount(rows[name], weights=current, minlength=len(target))
            ratio = np.divide(target, marginal, out=np.zeros_like(target), where=marginal > 0)
            off = max(off, float(np.abs(marginal - target).max()))
            factors[name][:] *= ratio
            current = current * ratio[rows[name]]
        if off < TOLERANCE or len(targets) == 1:
            return
    log.warning("flattening has not converged: a bin is off by %.1e of all events", off)


def _class_sums(label: Labels, weight: Array) -> Array:
    """Return the sum of weights of each class, or say which one cannot be used."""
    sums = np.array([weight[label == c].sum() for c in CLASSES])
    for name, total, c in zip(("background", "signal"), sums, CLASSES, strict=True):
        if not total > 0:
            count = int((label == c).sum())
            message = (
                f"the weights of the {count} {name} entries sum to {total:g}, which must be "
                "positive; "
                + (
                    "there is none: check the split and the selection"
                    if count == 0
                    else "choose another policy for negative weights (absolute, drop)"
                )
            )
            raise DataError(message)
    return sums


def balance(label: npt.ArrayLike, event_weight: npt.ArrayLike) -> Array:
    """Return weights with the same sum for each class and the mean 1.

    Args:
        label: 1 for signal, 0 for background.
        event_weight: The weights to be scaled; may be negative.

    Shapes:
        All ``(n_events,)``.

    Raises:
        DataError: The weights of a class do not sum to something positive.

    >>> balance([1, 0, 0], [5.0, 1.0, 1.0]).tolist()
    [1.5, 0.75, 0.75]
    """
    label = np.asarray(label, dtype=np.int64)
    weight = np.asarray(event_weight, dtype=np.float64)
    scale = len(label) / (len(CLASSES) * _class_sums(label, weight))
    return np.asarray(weight * scale[label])


def apply_negative_policy(event_weight: npt.ArrayLike, policy: str) -> Array:
    """Return the weights with negative ones kept, made positive, or set to 0.

    Args:
        event_weight: ``(n_events,)``.
        policy: ``"keep"`` (unbiased), ``"absolute"`` or ``"drop"`` (both biased where the share
            of negative weights depends on the features).

    >>> apply_negative_policy([1.0, -1.0], "drop").tolist()
    [1.0, 0.0]
    """
    weight = np.array(event_weight, dtype=np.float64)
    if policy == "keep":
        return weight
    if policy == "absolute":
        return np.abs(weight)
    if policy == "drop":
        return np.maximum(weight, 0.0)
    message = unknown_name("policy", policy, NEGATIVE_POLICIES, where="negative event weights")
    raise ConfigError(message)
