"""A reconstruction: assigns objects to the leaves of a decay, and ranks the assignments.

``chi_square`` needs no training. ``boosted_trees`` are grown several times, each time without a
share of the training events, and every event, of training or not, is ranked by the set of trees
that belongs to its share (a hash of run and event number). So no event is ever ranked by trees that
have seen it, and what a model learns from is made the same way as what it is applied to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.events import AssignedEvents, AssignmentInputs, Events
from hepdl.events.assigned import Truth, join_assigned
from hepdl.events.candidates import CandidateEvents, assignment_feature_names, candidates_of
from hepdl.events.cores import available_cores
from hepdl.events.reconstruction import ReconstructionRecipe
from hepdl.events.split import hash_uniform
from hepdl.kinematics import RECONSTRUCTION_FEATURES, Decay, chi_square, k_best
from hepdl.models.reconstruction.ranking_trees import RankingOptions, RankingTrees

__all__ = ["FILE_NAME", "RANKINGS", "Reconstruction", "known_features"]

Floats = npt.NDArray[np.float32]
Progress = Callable[[int], None]
Task = TypeVar("Task")
Result = TypeVar("Result")

RANKINGS = ("chi_square", "boosted_trees")
FORMAT_VERSION = 1
FILE_NAME = "reconstruction.json"
# The features of all assignments of an event of ttH take some 30 kB.
_EVENTS_AT_ONCE = 2000
# Another stream of the hash than those of parts, validation events and weights.
_SHARES_STREAM = 0x72616E6B


class Reconstruction:
    """Ranks the assignments of events.

    Args:
        recipe: What is assigned to what.
        ranking: ``chi_square`` or ``boosted_trees``.
        features: What trees look at; empty takes a list for the decay.
        options: Of the trees.

    Raises:
        ConfigError: There is no such ranking or feature, or nothing to rank by.
    """

    def __init__(
        self,
        recipe: ReconstructionRecipe,
        *,
        ranking: str = "boosted_trees",
        features: tuple[str, ...] = (),
        options: RankingOptions | None = None,
    ) -> None:
        if ranking not in RANKINGS:
            raise ConfigError(
                unknown_name("ranking", ranking, RANKINGS, where="reconstruction.ranking")
            )
        if ranking == "boosted_trees" and recipe.truth_column is None:
            message = (
                f"reconstruction.ranking is {ranking}: they learn from matched events, and "
                "reconstruction.truth is not given; give it, or take ranking: chi_square"
            )
            raise ConfigError(message)
        known = known_features(recipe)
        for name in features:
            if name not in known:
                raise ConfigError(
                    unknown_name("feature", name, known, where="reconstruction.features")
                )
        self.recipe = recipe
        self.ranking = ranking
        self.features = features or _default_features(recipe.decay, known)
        self.options = options or RankingOptions()
        self.trees: tuple[RankingTrees, ...] = ()

    @cached_property
    def key(self) -> str:
        """What tells this reconstruction from another one: a hash of everything in it."""
        digest = hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode())
        for trees in self.trees:
            digest.update(trees.as_bytes())
        return digest.hexdigest()

    @property
    def is_fitted(self) -> bool:
        """Whether events can be ranked."""
        return self.ranking == "chi_square" or bool(self.trees)

    def fit(self, train: Events, *, seed: int, progress: Progress | None = None) -> None:
        """Grow the trees; a χ² has nothing to fit.

        Args:
            train: The training part; its signal with matched objects is what trees learn from.
            seed: Of everything that is random.
            progress: Called after each set of trees with 1.

        Raises:
            DataError: Events have no truth, or too few of them are matched.
        """
        if self.ranking == "chi_square":
            return
        values, is_right, weight, share = self._examples(train, seed)

        def without(number: int) -> RankingTrees:
            kept = share != number
            grown = RankingTrees(self.features)
            grown.fit(
                values[kept], is_right[kept], weight[kept], options=self.options, seed=seed + number
            )
            return grown

        self.trees = tuple(_on_all_cores(without, range(self.options.cross_fits), progress))
        self.__dict__.pop("key", None)

    def assign(
        self, events: Events, wanted: AssignmentInputs, *, progress: Progress | None = None
    ) -> AssignedEvents:
        """Return the best assignments of each event.

        Args:
            events: With the collections and fields of the recipe; truth is used where it is there.
            wanted: How many, with which features.
            progress: Called after each piece of the events with 1.

        Raises:
            DataError: A collection or field is missing, or there are no trees yet.
        """

        def assigned(some: Events) -> AssignedEvents:
            candidates = candidates_of(some, self.recipe)
            score = self.scores(some, candidates)
            best = k_best(-score, wanted.n_best)
            return candidates.assigned(best, _taken(score, best), wanted.features)

        parts = list(_on_all_cores(assigned, _in_pieces(events), progress))
        if not parts:
            empty = events.slice(0, 0)
            candidates = candidates_of(empty, self.recipe)
            nothing = np.zeros((0, wanted.n_best))
            return candidates.assigned(nothing.astype(np.int64), nothing, wanted.features)
        return join_assigned(parts)

    def verdict(self, events: Events) -> Truth | None:
        """Return how right all assignments of each event are, the best first; None without truth.

        Of ttH with 50 000 events momenta of all assignments would take gigabytes; this takes none.
        """

        def judged(some: Events) -> Truth | None:
            candidates = candidates_of(some, self.recipe)
            score = self.scores(some, candidates)
            right = candidates.correctness(k_best(-score, score.shape[1]))
            if right is None:
                return None
            return Truth(torch.from_numpy(right.is_right), torch.from_numpy(right.is_known))

        pieces = _in_pieces(events) if len(events) else (events,)
        found = [truth for truth in _on_all_cores(judged, pieces, None) if truth is not None]
        if not found:
            return None
        return Truth(
            torch.cat([truth.is_right for truth in found]),
            torch.cat([truth.is_known for truth in found]),
        )

    def scores(self, events: Events, candidates: CandidateEvents) -> npt.NDArray[np.float64]:
        """Return what assignments are ranked by, larger is better; -inf where there is none.

        Shapes:
            ``(n_events, n_assignments)``.
        """
        mask = candidates.assignments.mask
        if self.ranking == "chi_square":
            return -0.5 * chi_square(candidates.assignments, candidates.momenta)
        if not self.trees:
            message = "the reconstruction is not fitted: call fit first"
            raise DataError(message)
        found = np.full(mask.shape, -np.inf)
        values = candidates.features(self.features).astype(np.float32)
        share = self._share(events)
        for number, trees in enumerate(self.trees):
            ours = mask & (share == number)[:, None]
            if ours.any():
                found[ours] = trees.margin(values[ours])
        return found

    def save(self, folder: Path) -> list[Path]:
        """Write everything into a folder, and return its files."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, trees in enumerate(self.trees):
            paths.append(folder / f"reconstruction_{number}.json")
            trees.save(paths[-1])
        paths.append(folder / FILE_NAME)
        paths[-1].write_text(json.dumps(self._content(), indent=1), encoding="utf-8")
        return paths

    def _content(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "recipe": self.recipe.as_mapping(),
            "ranking": self.ranking,
            "features": list(self.features),
            "options": asdict(self.options),
            "n_trees": len(self.trees),
        }

    @classmethod
    def load(cls, folder: Path) -> Reconstruction:
        """Read what ``save`` wrote.

        Raises:
            DataError: A file is missing or damaged.
        """
        path = folder / FILE_NAME
        try:
            content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            message = (
                f"cannot read the reconstruction in {path} ({type(error).__name__}); fit again"
            )
            raise DataError(message) from error
        found = cls(
            ReconstructionRecipe.from_mapping(content["recipe"]),
            ranking=content["ranking"],
            features=tuple(content["features"]),
            options=RankingOptions(**content["options"]),
        )
        trees = [RankingTrees(found.features) for _ in range(content["n_trees"])]
        for number, grown in enumerate(trees):
            grown.load(folder / f"reconstruction_{number}.json")
        found.trees = tuple(trees)
        return found

    def _share(self, events: Events) -> npt.NDArray[np.int64]:
        """Return which set of trees has not seen each event: a hash that data have, too."""
        numbers = events.run_number.cpu().numpy(), events.event_number.cpu().numpy()
        uniform = hash_uniform([""] * len(events), *numbers, seed=_SHARES_STREAM)
        return (uniform * self.options.cross_fits).astype(np.int64)

    def _examples(
        self, train: Events, seed: int
    ) -> tuple[Floats, npt.NDArray[np.bool_], Floats, npt.NDArray[np.int64]]:
        """Return features, which are right, weights and shares of right and wrong assignments."""
        generator = np.random.default_rng(seed)
        signal = train.take(torch.nonzero(train.label == 1).squeeze(1))
        found: list[tuple[Any, ...]] = []
        for some in _in_pieces(signal):
            candidates = candidates_of(some, self.recipe)
            right = candidates.correctness()
            if right is None:
                message = (
                    f"no collection has the column {self.recipe.truth_column!r} with truth; trees "
                    "cannot learn to rank assignments: take ranking: chi_square"
                )
                raise DataError(message)
            mask = candidates.assignments.mask
            # The root is right if all leaves are of which truth can tell.
            whole = np.asarray(right.is_right[:, :, -1] & mask)
            usable = np.asarray(whole.any(axis=1))[:, None]
            wrong = mask & ~whole & usable
            # The first few of a random order of the wrong ones.
            order = np.where(wrong, generator.random(wrong.shape), np.inf)
            drawn = wrong & (order.argsort(axis=1).argsort(axis=1) < self.options.n_wrong)
            n_right = np.maximum(whole.sum(axis=1), 1)
            weight = np.where(whole, 1 / n_right[:, None], 1.0)
            chosen = whole | drawn
            share = np.broadcast_to(self._share(some)[:, None], chosen.shape)
            values = candidates.features(self.features).astype(np.float32)
            found.append((values[chosen], whole[chosen], weight[chosen], share[chosen]))
        if not found:
            message = "there is no signal event to learn from: trees rank by truth-matched signal"
            raise DataError(message)
        values, is_right, weight, share = (
            np.concatenate(part) for part in zip(*found, strict=True)
        )
        return values, is_right, weight.astype(np.float32), share


def known_features(recipe: ReconstructionRecipe) -> tuple[str, ...]:
    """Return the names of the features that assignments of a recipe have."""
    of = {source.kind: source.of for source in recipe.candidates}
    objects = [of[kind] for kind in recipe.decay.kinds]
    tagged = {source.name for source in recipe.objects if source.b_tag is not None}
    return assignment_feature_names(recipe.decay, objects, tagged=tagged)


def _default_features(decay: Decay, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return ATLAS' list where the decay has it; else masses, momenta and distances."""
    if set(RECONSTRUCTION_FEATURES) <= set(known):
        return RECONSTRUCTION_FEATURES
    return known


def _on_all_cores(
    function: Callable[[Task], Result], tasks: Iterable[Task], progress: Progress | None
) -> Iterator[Result]:
    """Yield the result of each task in their order; NumPy, Numba and XGBoost leave Python's lock."""
    with ThreadPoolExecutor(available_cores()) as pool:
        for found in pool.map(function, tasks):
            if progress is not None:
                progress(1)
            yield found


def _in_pieces(events: Events) -> Iterator[Events]:
    for first in range(0, len(events), _EVENTS_AT_ONCE):
        yield events.slice(first, min(first + _EVENTS_AT_ONCE, len(events)))


def _taken(score: npt.NDArray[np.float64], best: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    if score.shape[1] == 0:
        return np.zeros(best.shape)
    return np.take_along_axis(score, np.maximum(best, 0), axis=1)
