"""The loop of boosted trees: the same contract as the networks', the rounds are the trees' own."""

from __future__ import annotations

import math
from typing import Any

from hepdl.errors import ConfigError, DivergedError, StoppedError
from hepdl.events import Events
from hepdl.losses import Penalty
from hepdl.models import Trees
from hepdl.models.boosting.penalised import refuse_adversary
from hepdl.train.state.checkpoint import CheckpointFolder
from hepdl.train.state.checks import check_parts
from hepdl.train.state.decorrelator import Decorrelation, as_decorrelation
from hepdl.train.state.identity import data_fingerprint, describe
from hepdl.train.state.options import TrainOptions
from hepdl.train.state.result import FitResult, Observe
from hepdl.train.state.rounds import RoundKeeper
from hepdl.train.state.signals import StopRequest

__all__ = ["fit"]


def fit(
    model: Trees,
    train: Events,
    validation: Events,
    *,
    options: TrainOptions,
    observe: Observe,
    checkpoint: CheckpointFolder | None = None,
    resume: bool = False,
    stop: StopRequest | None = None,
    decorrelation: Decorrelation | Penalty | None = None,
) -> FitResult:
    """Fit boosted trees in place; "epoch" means round in everything that is handed out.

    Args:
        model: The trees; number of rounds and early stopping are theirs.
        train: Training part; its ``event_weight`` is the training weight.
        validation: Validation part, with weights of its own.
        options: ``seed`` and ``n_threads`` are used (one thread if ``deterministic`` and no number
            is given), the rest is for networks.
        observe: Called after each round with what the trees report, and the round. A resumed run
            observes the rounds after the checkpoint again, with the same values.
        checkpoint: Where the trees write their state every few rounds; None writes nothing.
        resume: Continue from the checkpoint if there is one.
        stop: Asked after each round.
        decorrelation: Penalty to be added to the loss; its epochs are rounds.

    Raises:
        ConfigError: The checkpoint belongs to another fit.
        DataError: A class is missing in a part, or its weights do not sum to a positive number.
        DivergedError: A loss is not finite; the last checkpoint is kept.
        StoppedError: A stop was requested; the last complete round is in the checkpoint.
    """
    check_parts(train, validation)
    penalty = _penalty(decorrelation)
    keeper = RoundKeeper(checkpoint)
    if checkpoint is not None:
        keeper.start(_identity(model, train, validation, options, penalty), resume=resume)

    def watch(values: dict[str, float], number: int) -> None:
        if not all(math.isfinite(value) for value in values.values()):
            shown = ", ".join(f"{key} {value:g}" for key, value in values.items())
            message = f"training diverged in round {number}: {shown}; use a smaller learning_rate "
            message += "of the trees, or look at the event weights (negative: absolute or drop)"
            raise DivergedError(message)
        keeper.rounds[number] = dict(values)
        observe(values, number)

    try:
        model.fit(
            train,
            validation,
            seed=options.seed,
            observe=watch,
            n_threads=options.n_threads or (1 if options.deterministic else None),
            checkpoint=None if checkpoint is None else keeper,
            stop=None if stop is None else lambda: stop.is_requested,
            penalty=penalty,
        )
    except StoppedError as error:
        raise StoppedError(_stopped(stop, checkpoint, len(keeper.rounds))) from error
    history = keeper.history
    best = model.best_round
    seconds = keeper.fit_seconds
    return FitResult(
        best_epoch=best,
        best_validation_auc=keeper.rounds.get(best, {}).get("validation_auc", math.nan),
        history=history,
        fit_seconds=seconds,
        events_per_second=len(train) * len(history) / max(seconds, 1e-9),
        n_parameters=model.n_parameters,
        stopped_early=len(history) < getattr(model, "n_rounds", len(history)),
    )


def _penalty(wanted: Decorrelation | Penalty | None) -> Penalty | None:
    found = as_decorrelation(wanted)
    if found is None:
        return None
    for key, value in (("target", found.target), ("layer", found.layer)):
        if value is not None:
            message = (
                f"decorrelation.{key} is {value}: it is for networks; boosted trees have a strength"
            )
            raise ConfigError(message)
    refuse_adversary(found.penalty)
    return found.penalty


def _identity(
    model: Trees,
    train: Events,
    validation: Events,
    options: TrainOptions,
    penalty: Penalty | None,
) -> dict[str, Any]:
    return describe(model) | {
        "decorrelation": "none" if penalty is None else repr(penalty),
        "train.seed": options.seed,
        "training data": data_fingerprint(train),
        "validation data": data_fingerprint(validation),
    }


def _stopped(stop: StopRequest | None, checkpoint: CheckpointFolder | None, rounds: int) -> str:
    reason = "request" if stop is None else stop.reason
    where = f"stopped by {reason} after round {rounds - 1}"
    if checkpoint is None:
        return f"{where}; no checkpoint was asked for, so the fit is lost"
    return f"{where}; checkpoint written to {checkpoint.file}: run again with --resume"
