"""Maps fitted on finished scores: calibrations of one model, combinations of several, flattenings.

The file's name is the map's name in YAML; the map is the first name in the module's ``__all__``.
A map is a frozen object that is made by ``fit`` and travels as plain numbers with the model.
``hepdl.pipeline.config`` says which name is which of the three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["Calibration", "Combination", "Flattening"]


class Calibration(Protocol):
    """Turns scores into probabilities; a larger score never becomes a smaller one."""

    @classmethod
    def fit(
        cls, scores: npt.ArrayLike, label: npt.ArrayLike, event_weight: npt.ArrayLike
    ) -> Calibration:
        """Return the map that fits best to events that the model was not trained on.

        Args:
            scores: In [0, 1].
            label: 1 for signal, 0 for background.
            event_weight: Of either sign. The probability is that of the mixture they make.

        Shapes:
            All ``(n_events,)``.

        Raises:
            DataError: A class has no positive sum of weights, or a score is no probability.
        """

    def transform(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return calibrated scores, in [0, 1], of the same shape."""

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Calibration:
        """Return the map that ``as_dict`` wrote down."""


class Combination(Protocol):
    """Turns the scores of several models for one event into a single score."""

    @classmethod
    def fit(
        cls, scores: npt.ArrayLike, label: npt.ArrayLike, event_weight: npt.ArrayLike
    ) -> Combination:
        """Return the map for events that no member was trained on.

        Args:
            scores: In [0, 1], one column a member; the order of the columns is kept.
            label: 1 for signal, 0 for background.
            event_weight: Of either sign; the map stays as it is when all are scaled by one factor.

        Shapes:
            scores: ``(n_events, n_members)``, two members or more; label, event_weight:
            ``(n_events,)``.

        Raises:
            DataError: A class has no positive sum of weights, or a score is no probability.
        """

    def transform(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return one score in [0, 1] for each row.

        Shapes:
            ``(n_events, n_members)`` → ``(n_events,)``.

        Raises:
            DataError: Another number of members.
        """

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Combination:
        """Return the map that ``as_dict`` wrote down."""


@runtime_checkable
class Flattening(Protocol):
    """Turns the scores of one model into scores whose distribution no nuisance changes.

    At fixed nuisances a larger score never becomes a smaller one, so that no ROC curve at fixed
    nuisances changes. It is fitted to the class that shall be flat, the background.
    """

    @classmethod
    def fit(
        cls,
        scores: npt.ArrayLike,
        nuisance: npt.ArrayLike,
        event_weight: npt.ArrayLike | None = None,
        **options: Any,
    ) -> Flattening:
        """Return the map for background events that the model was not trained on.

        Args:
            scores: Finite numbers.
            nuisance: Known wherever the map is applied; one column each, or the values of one.
            event_weight: Of either sign; the map stays as it is when all are scaled by one factor.
                None means 1.
            options: Of the map; the same ones give the same map.

        Shapes:
            scores, event_weight: ``(n_events,)``; nuisance: ``(n_events, n_nuisances)`` or
            ``(n_events,)``.

        Raises:
            DataError: Too few events, no positive sum of weights, a nuisance that is constant or not
                finite, or an option that is refused.
        """

    @classmethod
    def option_problems(cls, options: Mapping[str, Any], *, where: str = "options") -> list[str]:
        """Return what is wrong with options of ``fit``, without events; an empty list if nothing is.

        Args:
            options: By name.
            where: The place that the user has to edit.
        """

    def transform(self, scores: npt.ArrayLike, nuisance: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return one score in [0, 1] for each event.

        Shapes:
            scores ``(n_events,)``, nuisance ``(n_events, n_nuisances)`` or ``(n_events,)`` →
            ``(n_events,)``.

        Raises:
            DataError: Another number of nuisances, or a value is not finite.
        """

    def as_dict(self) -> dict[str, Any]:
        """Return the map as what JSON can hold."""

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Flattening:
        """Return the map that ``as_dict`` wrote down."""
