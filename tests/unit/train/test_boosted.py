from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hepdl.errors import ConfigError, DataError, DivergedError, StoppedError
from hepdl.events import Events, Inputs
from hepdl.losses import Penalty
from hepdl.models import Trees
from hepdl.train import CheckpointFolder, FitResult, StopRequest, TrainOptions, predict_scores
from hepdl.train.boosted import fit

Make = Callable[..., Any]


class CountingTrees:
    """Stands in for boosted trees: a round is a number, written down every second round."""

    inputs = Inputs(features=("a", "b"), scaled=False)

    def __init__(self, n_rounds: int = 6, *, poison: int | None = None) -> None:
        self.n_rounds = n_rounds
        self._poison = poison
        self._rounds: list[int] = []
        self.best_round = -1

    def fit(
        self,
        train: Events,
        validation: Events,
        *,
        seed: int,
        observe: Callable[[dict[str, float], int], None],
        n_threads: int | None = None,
        checkpoint: Any = None,
        stop: Callable[[], bool] | None = None,
        penalty: Penalty | None = None,
    ) -> None:
        self._n_threads = n_threads
        state = checkpoint.load() if checkpoint is not None else None
        self._rounds = list(state["rounds"]) if state else []
        while len(self._rounds) < self.n_rounds:
            number = len(self._rounds)
            self._rounds.append(number * (seed + 1))
            loss = math.nan if number == self._poison else 1.0 / (number + 1)
            observe({"validation_loss": loss, "validation_auc": 0.5 + 0.01 * number}, number)
            is_stopped = stop is not None and stop()
            if checkpoint is not None and (is_stopped or number % 2):
                checkpoint.save({"rounds": self._rounds})
            if is_stopped:
                raise StoppedError("trees stopped")
        self.best_round = self.n_rounds - 1

    @property
    def n_parameters(self) -> int:
        return 3 * len(self._rounds)

    def scores(self, events: Events) -> np.ndarray:
        return np.full(len(events), 0.25, dtype=np.float32)

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...


def run(model: Any, events: Make, **changes: Any) -> FitResult:
    options = TrainOptions(**changes.pop("options", {}))
    given = {"observe": lambda values, number: None} | changes
    return fit(model, events(40), events(20, seed=1), options=options, **given)


def test_the_stand_in_keeps_the_protocol() -> None:
    assert isinstance(CountingTrees(), Trees)


def test_the_result_speaks_of_rounds_as_epochs(events: Make) -> None:
    seen: list[int] = []
    result = run(CountingTrees(), events, observe=lambda values, number: seen.append(number))
    assert seen == list(range(6))
    assert result.best_epoch == 5
    assert result.best_validation_auc == pytest.approx(0.55)
    assert len(result.history) == 6
    assert result.n_parameters == 18
    assert not result.stopped_early


def test_deterministic_means_one_thread_unless_a_number_is_given(events: Make) -> None:
    for options, expected in (
        ({}, None),
        ({"deterministic": True}, 1),
        ({"deterministic": True, "n_threads": 2}, 2),
    ):
        model = CountingTrees()
        run(model, events, options=options)
        assert model._n_threads == expected


def test_a_stop_between_checkpoints_loses_no_round_and_no_history(
    events: Make, tmp_path: Path
) -> None:
    stop, folder = StopRequest(), CheckpointFolder(tmp_path)
    whole = CountingTrees()
    expected = run(whole, events)

    def request(values: dict[str, float], number: int) -> None:
        if number == 2:
            stop.request("SIGUSR1")

    with pytest.raises(StoppedError, match="stopped by SIGUSR1 after round 2; checkpoint written"):
        run(CountingTrees(), events, observe=request, stop=stop, checkpoint=folder)
    model, seen = CountingTrees(), []
    result = run(
        model,
        events,
        observe=lambda values, number: seen.append(number),
        checkpoint=folder,
        resume=True,
    )
    assert seen == [3, 4, 5]
    assert model._rounds == whole._rounds
    assert result.history == expected.history


def test_a_fresh_start_forgets_an_older_checkpoint(events: Make, tmp_path: Path) -> None:
    folder, seen = CheckpointFolder(tmp_path), []
    for _ in range(2):
        seen.clear()
        run(
            CountingTrees(),
            events,
            observe=lambda values, number: seen.append(number),
            checkpoint=folder,
        )
    assert seen == list(range(6))


def test_a_resume_of_another_fit_is_refused_by_name(events: Make, tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    run(CountingTrees(), events, checkpoint=folder)
    with pytest.raises(ConfigError, match=r"model options: .*n_rounds=6.*n_rounds=7"):
        run(CountingTrees(7), events, checkpoint=folder, resume=True)
    with pytest.raises(ConfigError, match=r"train\.seed: the checkpoint has 0, now it is 4"):
        run(CountingTrees(), events, checkpoint=folder, resume=True, options={"seed": 4})


def test_a_loss_that_is_not_finite_ends_the_fit(events: Make, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="diverged in round 3: validation_loss nan"):
        run(CountingTrees(poison=3), events, checkpoint=CheckpointFolder(tmp_path))
    stored = CheckpointFolder(tmp_path).load()
    assert stored is not None
    assert sorted(stored["rounds"]) == [0, 1]


def test_a_part_without_signal_is_refused(events: Make) -> None:
    background = events(40).take(torch.arange(0, 40, 2))
    with pytest.raises(DataError, match="training part: no signal events"):
        fit(
            CountingTrees(),
            background,
            events(20),
            options=TrainOptions(),
            observe=lambda values, number: None,
        )


def test_scores_come_from_the_trees_themselves(events: Make) -> None:
    assert predict_scores(CountingTrees(), events(5)).tolist() == [0.25] * 5
