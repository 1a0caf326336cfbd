"""The k-NN kind: tables of the distribution function around centres, interpolated between them.

At each centre the distribution function is estimated from the nearest events by a local linear fit of
``1[score <= s]`` on the nuisances, so that a window that is cut off at the edge of a spectrum does not
pull the table towards the middle. Between centres the logits of the tables are mixed: a distribution that
only moves with the nuisance has nearly linear ones. The shares are those of a straight line between two
centres of one nuisance; with several nuisances they are ``1/d - 1/R`` of the nearest centres, R the distance
of the first one that is left out, balanced so that their mean is the place of the event: inverse distances
that are continuous, and linear where the tables are. Beyond the outermost centre its table holds. Tables are
coarse from three nuisances on: there a flow or quantile regression knows more.

Centres are quantiles of one nuisance, closer in its tails, and those of k-means of several standardised
ones. Tables are kept at common scores, dense in the tails. Each table has one more event, spread as all events are: so it rises
everywhere, and beyond the last of its own events the tail is that of all.

Weights of either sign enter as they are; a table that falls is made to rise as in
`hepdl.posthoc.conditional.ranks`.

Reference:
    ATLAS Collaboration, ATL-PHYS-PUB-2018-014 (fixed-efficiency k-NN regression); J. Fan, I. Gijbels,
    "Local polynomial modelling and its applications", Chapman & Hall 1996 (local linear fits);
    R. Franke, Math. Comp. 38 (1982) 181 (weights of neighbouring centres).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.special import expit, logit, ndtr, ndtri
from sklearn.cluster import KMeans

from hepdl.errors import DataError
from hepdl.evaluate.inputs.binning import weighted_quantiles
from hepdl.posthoc.conditional.ranks import Ranks, mid_ranks, rising
from hepdl.posthoc.conditional.standard import Standard
from hepdl.posthoc.inputs.nuisances import BackgroundEvents
from hepdl.posthoc.inputs.options import check_whole

__all__ = ["NeighbourOptions", "NeighbourTables"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Centres of one nuisance lie between these shares of the events: at the very ends there are outliers.
OUTERMOST = 0.005
# A local linear fit at the edge of a window has 4 times the variance of a mean; more is no estimate.
MOST_VARIANCE = 6.0
# Centres that are mixed besides two for each nuisance, and how much of R^2 is no variance of them.
EXTRA = 3
MOST_CENTRES = 160
RIDGE = 1e-3


@dataclass(frozen=True)
class NeighbourOptions:
    """How many events make a table, and how many tables there are; None means by the sample.

    Attributes:
        n_neighbours: Events of each table.
        n_centres: Number of tables.
    """

    n_neighbours: int | None = None
    n_centres: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_neighbours", "n_centres"):
            value = getattr(self, name)
            if value is not None:
                check_whole(name, value, least=2)

    def sizes(self, n_events: int, n_nuisances: int) -> tuple[int, int]:
        """Return events of a table and number of tables for a sample.

        Raises:
            DataError: The sample is too small.
        """
        # The best window of a local linear fit grows like this; the factor is measured.
        best = round(0.4 * n_events ** (4 / (4 + n_nuisances)))
        n_neighbours = self.n_neighbours or min(n_events, max(100, best))
        most = min(20 * 2**n_nuisances, MOST_CENTRES)
        n_centres = self.n_centres or max(2, min(most, n_events // 10))
        if max(n_neighbours, n_centres) > n_events:
            message = (
                f"{n_centres} centres of {n_neighbours} neighbours cannot be made of {n_events} background "
                "events; give smaller n_centres and n_neighbours, or enlarge the validation part"
            )
            raise DataError(message)
        return n_neighbours, n_centres


@dataclass(frozen=True)
class NeighbourTables:
    """Distribution functions at centres.

    Attributes:
        ranks: Of all events; the tables are functions of this rank, linear between its points.
        standard: Where the nuisances lie.
        centres: In standardised nuisances; of a single one in rising order.
        tables: The distribution function at the points of the ranks.

    Shapes:
        centres ``(n_centres, n_nuisances)``; tables
        ``(n_centres, n_points)``.
    """

    ranks: Ranks
    standard: Standard
    centres: Floats
    tables: Floats

    @classmethod
    def fit(
        cls, events: BackgroundEvents, options: NeighbourOptions, *, seed: int
    ) -> NeighbourTables:
        """Return the tables of some events.

        Args:
            events: Those to be made flat.
            options: Sizes.
            seed: Of k-means.

        Raises:
            DataError: There are too few events.
        """
        n_neighbours, n_centres = options.sizes(*events.nuisance.shape)
        standard = Standard.of(events)
        x = standard.apply(events.nuisance)
        centres = _centres(x, np.abs(events.event_weight), n_centres, seed=seed)
        ranks = Ranks.of(events.scores, events.event_weight)
        nearest = _nearest(x, centres, n_neighbours)[1]
        tables = [
            _table(events, index, x[index] - centre, ranks)
            for centre, index in zip(centres, nearest, strict=True)
        ]
        return cls(ranks, standard, centres, np.array(tables))

    def cdf(self, scores: Floats, nuisance: Floats) -> Floats:
        """Return the distribution function of each score at its nuisances.

        Shapes:
            scores ``(n_events,)``, nuisance ``(n_events, n_nuisances)`` → ``(n_events,)``.
        """
        index, share = _mixture(self.centres, self.standard.apply(nuisance))
        ranks = self.ranks.at(scores)
        points = np.concatenate([[0.0], self.ranks.ranks, [1.0]])
        after = np.clip(np.searchsorted(points, ranks, side="right"), 1, len(points) - 1)
        part = (ranks - points[after - 1]) / (points[after] - points[after - 1])
        tables = np.pad(self.tables, ((0, 0), (1, 1)), constant_values=((0.0, 0.0), (0.0, 1.0)))
        found = np.zeros(len(ranks))
        for centre, weight in zip(index.T, share.T, strict=True):
            low, high = tables[centre, after - 1], tables[centre, after]
            found += weight * logit(low + part * (high - low))
        return np.asarray(expit(found), dtype=np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""
        return {
            "ranks": self.ranks.as_dict(),
            "standard": self.standard.as_dict(),
            "centres": self.centres.tolist(),
            "tables": self.tables.tolist(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> NeighbourTables:
        """Return the map that ``as_dict`` wrote down."""
        ranks, standard = Ranks.from_dict(content["ranks"]), Standard.from_dict(content["standard"])
        return cls(ranks, standard, np.array(content["centres"]), np.array(content["tables"]))


def _centres(x: Floats, size: Floats, n_centres: int, *, seed: int) -> Floats:
    """Return centres of standardised nuisances, ``(n_centres, n_nuisances)``; fewer if they coincide."""
    if x.shape[1] == 1:
        end = ndtri(OUTERMOST)
        shares = ndtr(np.linspace(end, -end, n_centres))
        return np.unique(weighted_quantiles(x[:, 0], size, shares))[:, np.newaxis]
    different = len(np.unique(x, axis=0))
    made = KMeans(min(n_centres, different), n_init=1, random_state=seed).fit(x, sample_weight=size)
    return np.asarray(made.cluster_centers_, dtype=np.float64)


def _table(events: BackgroundEvents, index: Integers, offset: Floats, ranks: Ranks) -> Floats:
    """Return the distribution function at one centre, ``(n_points,)``.

    Args:
        events: All events.
        index: Those around the centre.
        offset: Their place relative to the centre.
        ranks: Of all events.
    """
    weight = _at_centre(events.event_weight[index], offset)
    own = rising(mid_ranks(events.scores[index], weight, ranks.scores))
    share = 1.0 / (len(index) + 1)
    return np.asarray((1 - share) * own + share * ranks.ranks, dtype=np.float64)


def _at_centre(weight: Floats, offset: Floats) -> Floats:
    """Return weights whose sums are those of a linear fit, taken at the centre.

    They are ``w (1 - (x - mean) . V^-1 mean)`` with mean and covariance V of the offsets. Where the
    centre is so far from its events that this would be mostly noise, part of the way is gone.
    """
    total = weight.sum()
    if not total > 0.0:
        return np.abs(weight)
    mean = weight @ offset / total
    centred = offset - mean
    covariance = (centred.T * weight) @ centred / total
    pull = np.linalg.pinv(covariance, hermitian=True) @ mean
    # The variance of the fitted value, in units of that of a mean.
    excess = float(mean @ pull)
    if excess <= 0.0:
        return weight
    step = min(1.0, np.sqrt((MOST_VARIANCE - 1.0) / excess))
    return np.asarray(weight * (1.0 - step * centred @ pull), dtype=np.float64)


def _nearest(places: Floats, x: Floats, n_near: int) -> tuple[Floats, Integers]:
    """Return distances and positions of the nearest places, nearest first, both ``(n_x, n_near)``."""
    distance, index = cKDTree(places).query(x, k=n_near)
    return np.asarray(distance, dtype=np.float64), np.asarray(index, dtype=np.int64)


def _mixture(centres: Floats, x: Floats) -> tuple[Integers, Floats]:
    """Return which tables are mixed for each event and with which shares, ``(n_events, n_mixed)``."""
    if len(centres) == 1:
        return np.zeros((len(x), 1), dtype=np.int64), np.ones((len(x), 1))
    if centres.shape[1] == 1:
        line = centres[:, 0]
        inside = np.clip(x[:, 0], line[0], line[-1])
        after = np.clip(np.searchsorted(line, inside, side="right"), 1, len(line) - 1)
        part = (inside - line[after - 1]) / (line[after] - line[after - 1])
        return np.stack([after - 1, after], axis=1), np.stack([1.0 - part, part], axis=1)
    n_near = min(len(centres), 2 * centres.shape[1] + EXTRA)
    distance, index = _nearest(centres, x, n_near)
    tiny = np.finfo(np.float64).tiny ** 0.5
    inverse = 1.0 / np.maximum(distance, tiny)
    share = inverse[:, :-1] - inverse[:, -1:]
    # All at one distance: then they are all alike.
    share = np.where(share.sum(axis=1, keepdims=True) > 0.0, share, 1.0)
    share = share / share.sum(axis=1, keepdims=True)
    offset = centres[index[:, :-1]] - x[:, np.newaxis]
    return index[:, :-1], _balanced(share, offset, distance[:, -1])


def _balanced(share: Floats, offset: Floats, radius: Floats) -> Floats:
    """Return shares whose mean centre is the event itself, as far as none of them is negative.

    Shapes:
        share ``(n_events, n_mixed)``, offset of the centres ``(n_events, n_mixed, n_nuisances)``, radius
        ``(n_events,)``.
    """
    mean = np.einsum("em,emd->ed", share, offset)
    centred = offset - mean[:, np.newaxis]
    covariance = np.einsum("em,emd,emf->edf", share, centred, centred)
    # At a centre, which has all the share, there is nothing to balance.
    least = (RIDGE * radius**2 + np.finfo(np.float64).tiny)[:, np.newaxis, np.newaxis]
    pull = np.linalg.solve(covariance + least * np.eye(offset.shape[2]), mean[:, :, np.newaxis])
    found = share * np.maximum(1.0 - np.einsum("emd,ed->em", centred, pull[:, :, 0]), 0.0)
    return np.asarray(found / found.sum(axis=1, keepdims=True), dtype=np.float64)
