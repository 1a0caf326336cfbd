"""The supervised loop: fit a network to labelled, weighted events, in plain torch.

Read `fit` from top to bottom: all data lie on the device, the order of an epoch is a function of
seed and epoch, each epoch ends in a checkpoint, and a stop request is heard before each minibatch.
A run that is stopped or killed and resumed ends in the parameters of the run that was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from hepdl.evaluate.roc import auc
from hepdl.events import Events
from hepdl.losses import Loss, Penalty
from hepdl.models import Network
from hepdl.train.state.checkpoint import CheckpointFolder
from hepdl.train.state.checks import check_parts
from hepdl.train.state.device import device_of, numerics
from hepdl.train.state.minibatches import boundaries, permutation
from hepdl.train.state.options import TrainOptions
from hepdl.train.state.result import FitResult, Hook, Observe, StepView
from hepdl.train.state.saver import Saver
from hepdl.train.state.scoring import predict_logits
from hepdl.train.state.signals import StopRequest
from hepdl.train.state.training_state import TrainingState, identity_of

__all__ = ["fit"]

log = logging.getLogger(__name__)


def fit(
    model: Network,
    train: Events,
    validation: Events,
    *,
    options: TrainOptions,
    loss: Loss,
    decorrelation: Penalty | None = None,
    observe: Observe,
    hooks: Sequence[Hook] = (),
    checkpoint: CheckpointFolder | None = None,
    resume: bool = False,
    stop: StopRequest | None = None,
) -> FitResult:
    """Fit the network in place, on the device where it is.

    At the end the network has the parameters of the epoch with the best weighted validation AUC.
    With a decorrelation penalty it has those of the last epoch, and ``patience`` is not used: the
    best AUC would always choose the epoch that is decorrelated least.

    Args:
        model: The network; also a ``torch.nn.Module``.
        train: Training part, scaled; its ``event_weight`` is the training weight.
        validation: Validation part, scaled, with weights of its own.
        options: See `TrainOptions`.
        loss: Loss of the classification.
        decorrelation: Penalty to be added to it.
        observe: Called after each epoch with train_loss, validation_loss, validation_auc,
            learning_rate, gradient_norm (mean over the steps, before clipping), seconds and, with
            a penalty, train_penalty; and the epoch. After a kill between ``observe`` and the
            checkpoint the resumed run observes that epoch again, with the same values.
        hooks: Called after each step with a `StepView`.
        checkpoint: Where to write the state after each epoch; None writes nothing.
        resume: Continue from the checkpoint if there is one.
        stop: Asked before each minibatch.

    Raises:
        ConfigError: The checkpoint belongs to another fit.
        DataError: A class is missing in a part, or its weights do not sum to a positive number.
        DivergedError: A loss or gradient is not finite; the last checkpoint is kept.
        StoppedError: A stop was requested; the exact position is in the checkpoint.
    """
    check_parts(train, validation)
    network = cast("nn.Module", model)
    device = device_of(network)
    train, validation = train.to(device), validation.to(device)
    parts = boundaries(len(train), minibatch_size=options.minibatch_size)
    with numerics(options, device):
        state = TrainingState.begin(model, train, options=options, decorrelation=decorrelation)
        saver = Saver(state, checkpoint, stop)
        if checkpoint is not None:
            saver.start(identity_of(state, loss, options, train, validation), resume=resume)
        progress = state.progress
        while not progress.is_finished:
            started = time.perf_counter()
            order = permutation(len(train), seed=options.seed, epoch=progress.epoch).to(device)
            for first, end in parts[progress.sums.minibatches :]:
                saver.stop_if_requested()
                minibatch = train.take(order[first:end])
                position = progress.epoch + progress.sums.minibatches / len(parts)
                _step(model, minibatch, state, loss, options, saver, position=position)
                view = StepView(progress.step, progress.epoch, network, minibatch)
                for hook in hooks:
                    hook(view)
                now = time.perf_counter()
                progress.sums.seconds += now - started
                started = now
            metrics = _metrics(model, validation, state, loss, options, saver)
            metrics["seconds"] = progress.sums.seconds + time.perf_counter() - started
            observe(metrics, progress.epoch)
            _finish_epoch(state, metrics, options, n_events=len(train))
            saver.save()
        network.load_state_dict(state.best_parameters)
    return FitResult(
        best_epoch=progress.best_epoch,
        best_validation_auc=progress.best_auc,
        history=progress.history,
        fit_seconds=progress.fit_seconds,
        events_per_second=progress.n_trained / max(progress.training_seconds, 1e-9),
        n_parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        stopped_early=progress.stopped_early,
    )


def _step(
    model: Network,
    minibatch: Events,
    state: TrainingState,
    loss: Loss,
    options: TrainOptions,
    saver: Saver,
    *,
    position: float,
) -> None:
    """Learn from one minibatch; ``position`` in the training in epochs, e.g. 2.5."""
    network = state.network
    network.train()
    logits = network(*model.prepare(minibatch))
    value = loss(logits, minibatch.label, None, minibatch.event_weight)
    penalty = torch.zeros_like(value)
    if state.decorrelator is not None:
        penalty = state.decorrelator.penalty(
            logits, minibatch, epoch=position, n_epochs=options.epochs
        )

    state.optimizer.zero_grad()
    (value + penalty).backward()
    norm = _limit_gradient(network, options.clip_norm)

    # The only place per step where the host waits for the device.
    weight = minibatch.event_weight.abs().sum()
    numbers = torch.stack([value.detach(), penalty.detach(), norm, weight]).tolist()
    if not all(math.isfinite(number) for number in numbers):
        what = "loss {:g}, penalty {:g}, gradient norm {:g}, sum of |weights| {:g}"
        saver.diverged(what.format(*numbers))

    state.optimizer.step()
    if state.decorrelator is not None:
        state.decorrelator.step()
    state.progress.step += 1
    state.progress.sums.add(
        loss=numbers[0], penalty=numbers[1], gradient_norm=numbers[2], weight=numbers[3]
    )


def _limit_gradient(network: nn.Module, limit: float | None) -> Tensor:
    """Return the norm of the whole gradient, and shorten the gradient to ``limit`` if longer."""
    parameters = [p for p in network.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if limit is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


def _metrics(
    model: Network,
    validation: Events,
    state: TrainingState,
    loss: Loss,
    options: TrainOptions,
    saver: Saver,
) -> dict[str, float]:
    """Return what is observed of the epoch that has just been trained."""
    size = options.evaluation_minibatch_size
    logits = predict_logits(model, validation, minibatch_size=size)
    weight = validation.event_weight
    with torch.no_grad():
        value = float(loss(logits, validation.label, None, weight))
    if not (math.isfinite(value) and bool(torch.isfinite(logits).all())):
        saver.diverged(f"after the epoch the validation loss is {value:g}")
    area = auc(validation.label.cpu().numpy(), logits.cpu().numpy(), weight.cpu().numpy())
    means = state.progress.sums.means()
    if state.decorrelator is None:
        del means["train_penalty"]
    rate = float(state.optimizer.param_groups[0]["lr"])
    return means | {"validation_loss": value, "validation_auc": area, "learning_rate": rate}


def _finish_epoch(
    state: TrainingState, metrics: dict[str, float], options: TrainOptions, *, n_events: int
) -> None:
    """Choose, decide whether to stop early, and move on to the next epoch."""
    progress = state.progress
    progress.history.append(metrics)
    chooses = state.decorrelator is None
    if not chooses or metrics["validation_auc"] > progress.best_auc:
        progress.best_epoch, progress.best_auc = progress.epoch, metrics["validation_auc"]
        state.keep_best()
    patience = options.patience if chooses else None
    waited = progress.epoch - progress.best_epoch
    progress.next_epoch(n_events)
    progress.stopped_early = patience is not None and waited >= patience
    progress.is_finished = progress.stopped_early or progress.epoch >= options.epochs
    state.schedule.step()
    log.debug("epoch %d: %s", progress.epoch - 1, metrics)
