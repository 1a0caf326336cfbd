"""Poisson bootstrap over independent groups of events.

All jets of one event are drawn together, and every model sees the same draws, so that the
difference of two models has the error of a paired comparison. Drawing a Poisson number of mean 1
for each group equals the ordinary bootstrap for large samples and needs no common count.

Reference:
    B. Efron, Ann. Statist. 7 (1979) 1; N. Chamandy et al., "Estimating uncertainty for massive
    data streams", Google 2012 (Poisson bootstrap); C. A. Field and A. H. Welsh, J. R. Stat. Soc.
    B 69 (2007) 369 (clustered data).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap import kernels

__all__ = ["Bootstrap"]


@dataclass(frozen=True)
class Bootstrap:
    """Replicas of a sample, the same for every model.

    The multiplicity of a group depends on ``seed``, the group and the number of the replica alone:
    not on the order of the events nor on which other events are there.

    Attributes:
        groups: Integers that name the independent group of each event: the event number, or the
            columns (process, run number, event number).
        n_replicas: Number of replicas; 200 give the 68 % interval to about 6 %.
        seed: Seed, zero or positive.

    Shapes:
        groups: ``(n_events,)`` or ``(n_events, n_columns)``.

    Raises:
        DataError: Groups are not integers, or there is not one per event.
    """

    groups: npt.NDArray[np.integer]
    n_replicas: int = 300
    seed: int = 0
    keys: npt.NDArray[np.uint64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        groups = np.asarray(self.groups)
        if groups.dtype.kind not in "iub" or groups.ndim not in (1, 2):
            message = (
                f"groups of the bootstrap have type {groups.dtype} and shape {groups.shape}; "
                "integers such as event numbers are needed, (n_events,) or (n_events, n_columns)"
            )
            raise DataError(message)
        if self.n_replicas < 1 or self.seed < 0:
            message = (
                f"n_replicas is {self.n_replicas} and seed is {self.seed}; "
                "use at least 1 replica and a seed of 0 or more"
            )
            raise DataError(message)
        columns = np.ascontiguousarray(groups.reshape(len(groups), -1).astype(np.int64))
        object.__setattr__(self, "keys", kernels.group_keys(columns, self.seed))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def fingerprint(self) -> int:
        """A number that two bootstraps share if they draw the same groups, in any order."""
        return int(self.keys.sum(dtype=np.uint64))

    def take(self, index: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Bootstrap:
        """Return the bootstrap of some of the events; their multiplicities stay the same."""
        return Bootstrap(np.asarray(self.groups)[index], self.n_replicas, self.seed)

    def multiplicities(self, replica: int) -> npt.NDArray[np.int64]:
        """Return how often each event occurs in replica 0, 1, ...; ``(n_events,)``."""
        counts: npt.NDArray[np.int64] = kernels.multiplicities(self.keys, replica)
        return counts

    def binned_sums(
        self,
        bins: npt.NDArray[np.integer],
        columns: npt.NDArray[np.float64],
        *,
        n_bins: int,
    ) -> npt.NDArray[np.float64]:
        """Return sums of columns in bins for each replica.

        Args:
            bins: Bin of each event; events with a negative bin are left out.
            columns: What to add up.
            n_bins: Number of bins.

        Shapes:
            bins: ``(n_events,)``; columns: ``(n_events, n_columns)``;
            returns ``(n_replicas, n_bins, n_columns)``.
        """
        self.check_length(len(bins))
        sums: npt.NDArray[np.float64] = kernels.binned_sums(
            self.keys,
            np.ascontiguousarray(bins, dtype=np.int64),
            np.ascontiguousarray(columns, dtype=np.float64),
            n_bins,
            self.n_replicas,
        )
        return sums

    def check_length(self, n_events: int) -> None:
        """Raise a DataError unless there is one group per event."""
        if len(self) != n_events:
            message = (
                f"the bootstrap has groups for {len(self)} events, the scores are {n_events}; "
                "build it from the same events (or use Bootstrap.take)"
            )
            raise DataError(message)
