"""The weights of a run: what the loss uses, what the comparison uses, and whether they can be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.errors import DataError
from hepdl.events import Events
from hepdl.events.features import select_features
from hepdl.events.split import PARTS, hash_uniform
from hepdl.events.weights import Flattener, apply_negative_policy, balance
from hepdl.pipeline.config import TrainingWeights
from hepdl.train.probes import mean_weights

__all__ = ["CLASSES", "TrainingWeigher", "balanced_weights", "check_part"]

Array = npt.NDArray[np.float64]

CLASSES = {"signal": 1, "background": 0}
# Another stream of the hash than those of the parts and of the validation events.
_HALVES_STREAM = 0x68616C766573


@dataclass(frozen=True)
class TrainingWeigher:
    """Training weights for any division of the same events into parts.

    Attributes:
        events: All events; ``event_weight`` is the physical weight.
        wanted: The configuration.
        features: What the mean weight is regressed on, for the policy ``reweight``.
    """

    events: Events
    wanted: TrainingWeights
    features: tuple[str, ...]

    def weights(self, part: npt.NDArray[np.int8]) -> Array:
        """Return the weight of each event, ``(n_events,)``.

        Everything is fitted on the training part alone; each part is balanced in itself.

        Args:
            part: Index into ``PARTS`` of each event, ``(n_events,)``.

        Raises:
            DataError: The weights of a class of a part do not sum to something positive.
        """
        label = np.asarray(self.events.label.numpy())
        train = part == PARTS.index("train")
        weight = self._without_negative(label, train)
        if self.wanted.flatten:
            columns = {name: self.events.observers[name].numpy() for name in self.wanted.flatten}
            flattener = Flattener.fit(
                {name: column[train] for name, column in columns.items()},
                label[train],
                weight[train],
            )
            weight = weight * flattener.weights(columns, label)
        if self.wanted.balance:
            weight = weight.copy()
            for code in np.unique(part):
                inside = part == code
                weight[inside] = balance(label[inside], weight[inside])
        return weight

    def _without_negative(
        self, label: npt.NDArray[np.int64], train: npt.NDArray[np.bool_]
    ) -> Array:
        events = self.events
        weight = np.asarray(events.event_weight.numpy(), dtype=np.float64)
        if self.wanted.negative != "reweight":
            return apply_negative_policy(weight, self.wanted.negative)
        halves = hash_uniform(
            np.asarray(events.process_names)[events.process.numpy()],
            events.run_number.numpy(),
            events.event_number.numpy(),
            seed=_HALVES_STREAM,
        )
        return mean_weights(
            select_features(events, self.features).flat.numpy(),
            label,
            weight,
            is_train=train,
            half=(halves < 0.5).astype(np.int64),
        )


def check_part(events: Events, chosen: npt.NDArray[np.bool_], policy: str, *, where: str) -> None:
    """Check that both classes are in a part, with weights that can be used.

    Args:
        events: All events.
        chosen: Those of the part, ``(n_events,)``.
        policy: For negative weights; what is not ``absolute`` or ``drop`` needs positive sums.
        where: Name of the part, for messages.

    Raises:
        DataError: A class is missing, or its weights do not sum to something positive.
    """
    label = np.asarray(events.label.numpy())
    missing = [name for name, code in CLASSES.items() if not (chosen & (label == code)).any()]
    if missing:
        message = (
            f"{where} has no {' and no '.join(missing)} entry "
            f"({int(chosen.sum())} of {len(chosen)} entries are in it): "
            "more events are needed, or another split"
        )
        raise DataError(message)
    weight = np.asarray(events.event_weight.numpy(), dtype=np.float64)
    if policy in ("absolute", "drop"):
        weight = apply_negative_policy(weight, policy)
    for name, code in CLASSES.items():
        inside = weight[chosen & (label == code)]
        if not inside.sum() > 0:
            message = (
                f"{where}: the event weights of the {len(inside)} {name} entries sum to "
                f"{inside.sum():g}, which must be positive: more events are needed, another split"
                + (
                    ""
                    if where.endswith("test part")
                    else ", or another policy for negative weights"
                )
            )
            raise DataError(message)


def balanced_weights(
    columns: dict[str, Array], label: npt.NDArray[np.int64], event_weight: Array
) -> Array:
    """Return evaluation weights: spectra of ``columns`` flattened, equal sums of both classes.

    Shapes:
        All ``(n_events,)``.
    """
    weight = event_weight
    if columns:
        weight = weight * Flattener.fit(columns, label, weight).weights(columns, label)
    return balance(label, weight)
